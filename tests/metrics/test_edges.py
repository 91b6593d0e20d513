"""Metrics at the edges: absent classes, NaN, empty batches, disagreeing shapes, small integers."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from backpass import metrics
from backpass.errors import BackpassError, MetricError, MissingDependencyError

SCALAR_NAMES = [name for name in metrics.names() if metrics.get(name).scalar]
REGRESSION_NAMES = ["mse", "mae", "rmse", "r2"]
CLASSIFICATION_NAMES = [n for n in metrics.names() if n not in REGRESSION_NAMES]


def batch(name: str, samples: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A small two-class, or regression, batch in float32."""
    rng = np.random.default_rng(samples)
    if name in REGRESSION_NAMES:
        return rng.normal(size=samples).astype(np.float32), rng.normal(size=samples)
    return rng.normal(size=(samples, 2)).astype(np.float32), np.arange(samples) % 2


@pytest.mark.parametrize("name", SCALAR_NAMES)
def test_no_samples_is_nan_with_a_reason(name: str) -> None:
    metric = metrics.get(name)
    assert math.isnan(metric.compute())
    assert metric.note
    predictions, targets = batch(name, 0)
    metric.update(predictions, targets)
    assert math.isnan(metric.compute())


@pytest.mark.parametrize("name", SCALAR_NAMES)
def test_samples_of_no_weight_count_for_nothing(name: str) -> None:
    metric = metrics.get(name)
    predictions, targets = batch(name)
    metric.update(predictions, targets, np.zeros(len(targets)))
    metric.update(predictions[:0], targets[:0])
    assert math.isnan(metric.compute())
    assert metric.note


@pytest.mark.parametrize("name", metrics.names())
def test_reset_forgets(name: str) -> None:
    used, fresh = metrics.get(name), metrics.get(name)
    used.update(*batch(name, 12))
    used.compute()
    used.reset()
    for metric in (used, fresh):
        metric.update(*batch(name, 9))
    assert np.array_equal(used.compute(), fresh.compute(), equal_nan=True)


@pytest.mark.parametrize("name", metrics.names())
def test_state_goes_on_with_the_same_bits(name: str) -> None:
    whole, first, second = (metrics.get(name) for _ in range(3))
    parts = [batch(name, 5), batch(name, 7), batch(name, 9)]
    for part in parts:
        whole.update(*part)
    first.update(*parts[0])
    first.update(*parts[1])
    second.load_state_dict(first.state_dict())
    second.update(*parts[2])
    assert np.asarray(whole.compute()).tobytes() == np.asarray(second.compute()).tobytes()
    for key, value in second.state_dict().items():
        assert value.tobytes() == whole.state_dict()[key].tobytes()


def test_state_is_a_copy_and_is_checked() -> None:
    accuracy = metrics.get("accuracy")
    accuracy.update(*batch("accuracy"))
    before = accuracy.compute()
    accuracy.state_dict()["correct"][:] = 0
    assert accuracy.compute() == before
    with pytest.raises(MetricError, match=r"accuracy: the state has the keys .*'error'"):
        accuracy.load_state_dict(metrics.get("mse").state_dict())
    wrong = {key: value[0] for key, value in accuracy.state_dict().items()}
    with pytest.raises(MetricError, match="Was it saved by another metric"):
        accuracy.load_state_dict(wrong)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_one_class_alone_cannot_be_ranked(name: str) -> None:
    metric = metrics.get(name)
    metric.update(np.zeros((3, 4)), [2, 2, 2])
    assert math.isnan(metric.compute())
    assert metric.note == "undefined: all samples are of class 2"


def test_an_absent_class_is_left_out_of_the_ranking_and_named() -> None:
    auc = metrics.RocAuc()
    auc.update(np.eye(4)[[0, 1, 2, 1]], [0, 1, 2, 1])
    assert auc.compute() == 1.0
    assert auc.note == "left out, for want of samples: 1 classes (3)"
    assert sorted(auc.curves()) == [0, 1, 2]
    false_rate, true_rate, area = auc.curves()[0]
    assert (false_rate[0], true_rate[-1], area) == (0.0, 1.0, 1.0)


def test_sure_logits_are_ranked_where_probabilities_would_tie() -> None:
    auc = metrics.RocAuc()
    auc.update(np.array([40.0, 50.0, 60.0, 70.0], np.float32), [0, 0, 1, 1])
    assert auc.compute() == 1.0


def test_masked_classes_may_have_logits_of_minus_infinity() -> None:
    logits = np.array([[0.0, -np.inf, 1.0], [2.0, -np.inf, 1.0], [0.0, 3.0, -np.inf]])
    for name in ("accuracy", "cross_entropy", "f1", "roc_auc"):
        metric = metrics.get(name)
        metric.update(logits, [2, 0, 1])
        assert math.isfinite(metric.compute())


def test_an_impossible_true_class_costs_infinity_or_the_clipped_loss() -> None:
    for name, expected in (("cross_entropy", math.inf), ("log_loss", 36.04365338911715)):
        metric: Any = metrics.get(name)
        metric.update([[0.0, -np.inf]], [1])
        assert metric.compute() == pytest.approx(expected, rel=1e-12)
    assert metrics.get("log_loss").note is None


@pytest.mark.parametrize("name", metrics.names())
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_predictions_that_are_no_numbers_are_refused(name: str, bad: float) -> None:
    metric = metrics.get(name)
    predictions, targets = batch(name)
    predictions[3, ...] = bad
    with pytest.raises(MetricError, match=r"predictions hold \d values that are NaN or infinite.*"):
        metric.update(predictions, targets)


@pytest.mark.parametrize("name", metrics.names())
def test_lengths_that_differ_are_named(name: str) -> None:
    predictions, targets = batch(name)
    with pytest.raises(MetricError) as caught:
        metrics.get(name).update(predictions, targets[:5])
    assert str(predictions.shape) in str(caught.value)
    assert "(5,)" in str(caught.value)


CASES: list[tuple[str, Any, Any, Any, str]] = [
    ("accuracy", np.zeros((2, 3, 4)), [0, 1], None, r"shape \(2, 3, 4\)"),
    ("accuracy", 1.0, [0], None, r"shape \(\)"),
    ("accuracy", [0, 1, 1], [0, 1, 1], None, "look like class numbers"),
    ("accuracy", np.zeros((2, 3)), np.eye(3)[:2], None, r"targets.argmax\(axis=1\)"),
    ("accuracy", np.zeros((2, 3)), [0, 3], None, r"class 3 at sample 1.*0\.\.2"),
    ("accuracy", np.zeros((2, 3)), [0, -1], None, "class -1 at sample 1"),
    ("accuracy", np.zeros((2, 3)), [0.5, 1], None, r"no class numbers.*0\.5"),
    ("accuracy", np.zeros((2, 3)), ["a", "b"], None, r"no class numbers.*'a'"),
    ("accuracy", np.zeros((2, 3)), [np.nan, 1], None, "no class numbers.*nan"),
    ("accuracy", np.zeros((2, 3), complex), [0, 1], None, "dtype complex128"),
    ("accuracy", [[1.0], [1.0, 2.0]], [0, 1], None, "rectangular"),
    ("accuracy", np.zeros((2, 3)), [0, 1], [1.0], r"weights have shape \(1,\).*2 samples"),
    ("accuracy", np.zeros((2, 3)), [0, 1], [1.0, -2.0], "hold -2.0"),
    ("mse", np.zeros((4, 1)), np.zeros((4, 2)), None, r"\(4, 1\).*\(4, 2\)"),
    ("mse", np.zeros((1, 4)), np.zeros((4, 1)), None, r"\(1, 4\).*\(4, 1\)"),
    ("mse", 1.0, 1.0, None, r"shape \(\)"),
    ("mse", [1.0], [np.nan], None, "targets hold 1 values"),
]


@pytest.mark.parametrize(("name", "predictions", "targets", "weights", "message"), CASES)
def test_bad_batches_get_one_clear_sentence(
    name: str, predictions: Any, targets: Any, weights: Any, message: str
) -> None:
    with pytest.raises(MetricError, match=message):
        metrics.get(name).update(predictions, targets, weights)


# Sums over samples that do not depend on the number of classes.
ANY_WIDTH = ("accuracy", "cross_entropy", "log_loss")


@pytest.mark.parametrize("name", [n for n in metrics.names() if n not in ANY_WIDTH])
def test_a_batch_of_another_width_is_refused(name: str) -> None:
    metric = metrics.get(name)
    regression = name in REGRESSION_NAMES
    metric.update(np.zeros((2, 3)), np.zeros((2, 3)) if regression else [0, 1])
    with pytest.raises(MetricError, match="those before"):
        metric.update(np.zeros((2, 4)), np.zeros((2, 4)) if regression else [0, 1])


def test_probabilities_are_checked() -> None:
    with pytest.raises(MetricError, match=r"hold 3\.2.*from_logits=True"):
        metrics.Accuracy(from_logits=False).update([[3.2, 0.1]], [0])
    with pytest.raises(MetricError, match=r"sample 1 sum to 0\.9"):
        metrics.CrossEntropy(from_logits=False).update([[0.5, 0.5], [0.5, 0.4]], [0, 1])


def test_small_integers_do_not_overflow() -> None:
    mse = metrics.MSE()
    mse.update(np.array([0, 255], np.uint8), np.array([255, 0], np.uint8))
    assert mse.compute() == 255.0**2
    matrix = metrics.ConfusionMatrix()
    matrix.update(np.eye(100, dtype=np.float32), np.arange(100, dtype=np.int8))
    assert np.array_equal(matrix.compute(), np.eye(100))


def test_a_constant_target_has_no_spread() -> None:
    r2 = metrics.R2()
    r2.update([0.1] * 7, [0.1] * 7)
    assert r2.compute() == 1.0
    r2.update([0.2], [0.1])
    assert r2.compute() == 0.0


def test_one_sample_has_no_r2() -> None:
    r2 = metrics.R2()
    r2.update([1.0], [2.0])
    assert math.isnan(r2.compute())
    assert r2.note == "needs at least two samples with weight, but there are 1"


@pytest.mark.parametrize("name", ["accuracy", "f1", "mse", "r2", "cross_entropy", "log_loss"])
def test_sums_stay_small_however_long_the_stream(name: str) -> None:
    metric = metrics.get(name)
    metric.update(*batch(name))
    size = sum(value.nbytes for value in metric.state_dict().values())
    for _ in range(50):
        metric.update(*batch(name))
    assert sum(value.nbytes for value in metric.state_dict().values()) == size <= 400


def test_scores_are_kept_in_their_own_dtype_and_copied() -> None:
    auc = metrics.RocAuc()
    predictions, targets = batch("roc_auc")
    auc.update(predictions, targets)
    before = metrics.RocAuc()
    before.update(predictions.copy(), targets)
    predictions[:] = 0
    assert auc.compute() == before.compute()
    assert auc.state_dict()["scores"].dtype == np.float32


def test_huge_confusion_matrices_are_refused() -> None:
    with pytest.raises(MetricError, match=r"5000 classes would take 0\.2 GiB"):
        metrics.ConfusionMatrix().update(np.zeros((1, 5000)), [0])


def test_binary_average_needs_two_classes() -> None:
    f1 = metrics.F1(average="binary")
    f1.update(np.zeros((2, 3)), [0, 1])
    with pytest.raises(MetricError, match="needs two classes, but there are 3"):
        f1.compute()
    with pytest.raises(MetricError, match="average='median' is unknown"):
        metrics.F1(average="median")  # pyright: ignore[reportArgumentType]


def test_a_missing_scikit_learn_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backpass.metrics.sklearn_bridge.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'backpass\[train\]'"):
        metrics.get("roc_auc")
    assert [metrics.get(name).name for name in ("accuracy", "f1")] == ["accuracy", "f1"]


def test_importing_metrics_does_not_import_scikit_learn() -> None:
    code = "import sys; from backpass import metrics; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_errors_are_value_errors() -> None:
    with pytest.raises(ValueError, match="no metric is called"):
        metrics.get("accurracy")
    assert issubclass(MetricError, BackpassError)
