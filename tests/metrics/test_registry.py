"""Metrics by name or by object, and what each says of itself."""

from typing import Any

import pytest

import backpass.metrics as module
from backpass import metrics
from backpass.errors import MetricError


def test_public_names() -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
    public = {name for name, value in vars(module).items() if isinstance(value, type)}
    assert public <= set(module.__all__)


@pytest.mark.parametrize("name", metrics.names())
def test_a_metric_knows_its_name_and_direction(name: str) -> None:
    metric, info = metrics.get(name), metrics.describe(name)
    assert metric.name == info.name == name
    assert metric.display_name == info.display_name
    assert metric.higher_is_better == info.higher_is_better
    assert name in repr(metric)


def test_directions() -> None:
    lower = {n for n in metrics.names() if metrics.describe(n).higher_is_better is False}
    assert lower == {"mse", "mae", "rmse", "cross_entropy", "log_loss"}
    assert metrics.describe("confusion_matrix").higher_is_better is None


def test_lists_mix_names_and_objects() -> None:
    mine = metrics.F1(average="micro")
    found = metrics.get(["accuracy", mine, "roc_auc"])
    assert [metric.name for metric in found] == ["accuracy", "f1_micro", "roc_auc"]
    assert found[1] is mine
    assert metrics.get(mine) is mine
    assert metrics.get([]) == []


def test_each_call_makes_a_fresh_metric() -> None:
    assert metrics.get("accuracy") is not metrics.get("accuracy")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("acuracy", "accuracy"),
        ("auc", "roc_auc"),
        ("F1", "f1"),
        ("ROC-AUC", "roc_auc"),
        ("mean_squared_error", "mse"),
        ("f1_score", "f1"),
        ("recal", "recall"),
    ],
)
def test_unknown_names_get_the_closest(wrong: str, right: str) -> None:
    for function in (metrics.get, metrics.describe):
        with pytest.raises(MetricError, match=f"'{wrong}'. Did you mean '{right}'"):
            function(wrong)


def test_names_without_likeness_get_the_list() -> None:
    with pytest.raises(MetricError, match=r"'zzz'\. The names are: accuracy, "):
        metrics.get("zzz")


def test_repeated_metrics_are_refused() -> None:
    with pytest.raises(MetricError, match=r"\['f1'\] are given more than once"):
        metrics.get(["f1", "accuracy", "f1"])


@pytest.mark.parametrize("wrong", [None, 3, [3], ["accuracy", None]])
def test_things_that_are_no_metrics_are_refused(wrong: Any) -> None:
    with pytest.raises(MetricError, match="by name or as a Metric object"):
        metrics.get(wrong)
