"""Metrics by name: one table of names, and errors that name the closest one.

`get` makes a fresh metric, so that training and validation never share state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, overload

from backpass.errors import MetricError
from backpass.metrics.counts import (
    F1,
    Accuracy,
    BalancedAccuracy,
    ConfusionMatrix,
    Precision,
    Recall,
)
from backpass.metrics.likelihood import CrossEntropy, LogLoss
from backpass.metrics.metric import Metric
from backpass.metrics.ranking import AveragePrecision, RocAuc
from backpass.metrics.regression import MAE, MSE, R2, RMSE
from backpass.wording import closest, meant

_TABLE: Mapping[str, Callable[[], Metric[Any]]] = MappingProxyType(
    {
        "cross_entropy": CrossEntropy,
        "log_loss": LogLoss,
        "mse": MSE,
        "mae": MAE,
        "rmse": RMSE,
        "r2": R2,
        "accuracy": Accuracy,
        "balanced_accuracy": BalancedAccuracy,
        "confusion_matrix": ConfusionMatrix,
        "roc_auc": RocAuc,
        "average_precision": AveragePrecision,
        **{
            f"{kind.name}{suffix}": partial(kind, average=average)
            for kind in (Precision, Recall, F1)
            for suffix, average in (
                ("", "auto"),
                ("_binary", "binary"),
                ("_macro", "macro"),
                ("_micro", "micro"),
                ("_weighted", "weighted"),
            )
        },
    }
)

#: What other libraries call these metrics: for the hint of an error, not as further names.
_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "acc": "accuracy",
        "accuracy_score": "accuracy",
        "ap": "average_precision",
        "auc": "roc_auc",
        "auroc": "roc_auc",
        "roc_auc_ovr": "roc_auc",
        "ce": "cross_entropy",
        "f1_score": "f1",
        "logloss": "log_loss",
        "neg_log_loss": "log_loss",
        "mean_absolute_error": "mae",
        "mean_squared_error": "mse",
        "root_mean_squared_error": "rmse",
        "l1": "mae",
        "r2_score": "r2",
        "r_squared": "r2",
    }
)


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What is known of a metric by its name alone."""

    name: str
    display_name: str
    higher_is_better: bool | None


def names() -> tuple[str, ...]:
    """All names that `get` knows, in alphabetical order."""
    return tuple(sorted(_TABLE))


def describe(name: str) -> MetricInfo:
    """The display name and direction of a metric, without making it.

    >>> describe("roc_auc")
    MetricInfo(name='roc_auc', display_name='AUC-ROC', higher_is_better=True)

    Raises:
        MetricError: the name is unknown; the error has the closest name.
    """
    maker = _lookup(name)
    if not isinstance(maker, partial):
        kind: Any = maker
        return MetricInfo(name, kind.display_name, kind.higher_is_better)
    kind, average = maker.func, maker.keywords["average"]
    suffix = "" if average == "auto" else f" ({average})"
    return MetricInfo(name, kind.display_name + suffix, kind.higher_is_better)


@overload
def get(which: "str | Metric[Any]") -> Metric[Any]: ...
@overload
def get(which: "Sequence[str | Metric[Any]]") -> list[Metric[Any]]: ...
def get(
    which: "str | Metric[Any] | Sequence[str | Metric[Any]]",
) -> "Metric[Any] | list[Metric[Any]]":
    """A metric by name, or a list of them; an object is handed through.

    >>> [metric.name for metric in get(["accuracy", RMSE()])]
    ['accuracy', 'rmse']

    Raises:
        MetricError: a name is unknown (with the closest name) or stands twice in the list.
        MissingDependencyError: the metric needs scikit-learn, which is not installed.
    """
    if isinstance(which, Metric):
        return which
    if isinstance(which, str):
        return _lookup(which)()
    if not isinstance(which, Sequence):
        raise MetricError(
            f"a metric is given by name or as a Metric object, not as {type(which).__name__}."
        )
    found = [get(entry) for entry in which]
    repeated = sorted({m.name for m in found if sum(o.name == m.name for o in found) > 1})
    if repeated:
        raise MetricError(f"metrics {repeated} are given more than once.")
    return found


def _lookup(name: str) -> Callable[[], Metric[Any]]:
    if name in _TABLE:
        return _TABLE[name]
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    near = meant(_ELSEWHERE.get(plain) or closest(plain, _TABLE))
    raise MetricError(f"no metric is called {name!r}.{near} The names are: {', '.join(names())}.")
