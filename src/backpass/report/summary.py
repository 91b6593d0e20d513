"""What a report shows, as pure data: the trainer or the command line fills it, the report draws it.

Nothing here computes. Every field but the title may be empty, and the report then leaves its
section out. Strings may be hostile (column names, labels): the page escapes them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Task = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True)
class NormalizationRow:
    """What was done to one input column: x' = (x - mean) / std, or one-hot over categories.

    `missing` counts the cells that were empty in the training part, `imputed` is what stands there
    now (a number or a category; None where nothing was missing).
    """

    column: str
    kind: str
    mean: float | None = None
    std: float | None = None
    categories: tuple[str, ...] = ()
    missing: int = 0
    imputed: float | str | None = None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One layer of the model table; the output shape has None for the batch axis."""

    layer: str
    type: str
    output_shape: tuple[int | None, ...] | None
    parameters: int


@dataclass(frozen=True, slots=True, eq=False)
class ConfusionCounts:
    """counts[i, j]: how many samples of class i were taken for class j; one label a class."""

    labels: tuple[str, ...]
    counts: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """One class against the rest: rates from 0 to 1, rising, of the same length, and the area."""

    label: str
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    auc: float


@dataclass(frozen=True, slots=True, eq=False)
class RegressionFit:
    """True and predicted values, both of shape (n,), in units of the target."""

    true: np.ndarray
    predicted: np.ndarray
    target: str = "target"


@dataclass(frozen=True, slots=True, eq=False)
class RunSummary:
    """All that report.html shows of one run.

    Attributes:
        title: the headline, for example `"digits"`.
        task: `"classification"` or `"regression"`.
        source: the data set or file that was trained on.
        history: the objects of history.jsonl, one for each epoch.
        metrics: the object of metrics.json: train, validation, test, seconds, stopped_epoch.
        best_epoch: the epoch whose weights were kept, counted from 1.
        monitor: what made it the best, for example `"validation loss"`.
        splits: the number of samples of each part, for example `{"train": 1077, "test": 360}`.
        evaluated_on: the part that the confusion matrix, ROC curves and residuals are of.
        normalization: one row for each input column.
        confusion, roc, regression: the evaluation; None or empty where it does not apply.
        model: one row for each layer.
        environment, config: nested mappings of plain values.
        messages: warnings to show first, beside those of the history.
    """

    title: str
    task: Task
    source: str = ""
    history: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    best_epoch: int | None = None
    monitor: str | None = None
    splits: Mapping[str, int] = field(default_factory=dict)
    evaluated_on: str = "test"
    normalization: Sequence[NormalizationRow] = ()
    confusion: ConfusionCounts | None = None
    roc: Sequence[RocCurve] = ()
    regression: RegressionFit | None = None
    model: Sequence[ModelRow] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[str] = ()
