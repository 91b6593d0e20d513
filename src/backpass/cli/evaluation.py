"""How good a network is on a part of the data: metrics, confusion matrix, ROC curves, residuals.

Classifiers give logits; a regression's values are turned back into the unit of the target before
anything is measured, so a mean absolute error is in that unit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from backpass import metrics
from backpass.data import Preprocessor
from backpass.metrics import Metric
from backpass.report import ConfusionCounts, RegressionFit, RocCurve
from backpass.wording import optional_package

_MOST_ROC_CLASSES = 30
_MOST_ROC_POINTS = 500


class InTargetUnit(Metric[float]):
    """A regression metric of values that are brought back to the unit of the target first."""

    def __init__(self, inner: Metric[float], preprocessor: Preprocessor) -> None:
        """Wrap a metric of standardised values."""
        self._inner, self._preprocessor = inner, preprocessor
        self.name, self.display_name = inner.name, inner.display_name
        self.higher_is_better = inner.higher_is_better
        self.scalar = inner.scalar
        super().__init__()

    def initial_state(self) -> dict[str, np.ndarray]:
        return self._inner.initial_state()

    def reset(self) -> None:
        """Forget all samples."""
        self._inner.reset()
        self.note = None

    def update(
        self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        """Take one batch of standardised predictions and targets."""
        unit = self._preprocessor.inverse_target
        values, wanted = np.asarray(predictions), np.asarray(targets)
        self._inner.update(unit(values), unit(wanted.reshape(values.shape)), weights)

    def compute(self) -> float:
        """The metric in the unit of the target."""
        found = self._inner.compute()
        self.note = self._inner.note
        return found

    def state_dict(self) -> dict[str, np.ndarray]:
        """The state of the wrapped metric."""
        return self._inner.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Go on from that state."""
        self._inner.load_state_dict(state)


def metrics_of(names: Sequence[str], preprocessor: Preprocessor) -> list[Metric[Any]]:
    """Fresh metrics by name, in the unit of the target for a regression."""
    found = metrics.get(list(names))
    if preprocessor.task == "classification":
        return found
    return [InTargetUnit(metric, preprocessor) for metric in found]


def titles(names: Sequence[str]) -> dict[str, str]:
    """What a person reads for each metric."""
    return {"loss": "loss", **{name: metrics.describe(name).display_name for name in names}}


def probabilities(logits: np.ndarray) -> np.ndarray:
    """(n, classes) float64: softmax, shifted by the largest logit so that nothing overflows."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def confusion(logits: np.ndarray, y: np.ndarray, labels: tuple[str, ...]) -> ConfusionCounts:
    """How many samples of each class were taken for each."""
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (y, logits.argmax(axis=1)), 1)
    return ConfusionCounts(labels, counts)


def roc_curves(logits: np.ndarray, y: np.ndarray, labels: tuple[str, ...]) -> list[RocCurve]:
    """One class against the rest for each class that has samples and is not alone.

    Two classes need one curve; of very many only the most frequent are drawn.
    """
    library = optional_package("sklearn.metrics", "scikit-learn", "The ROC curve")
    shares = probabilities(logits)
    sizes = np.bincount(y, minlength=len(labels))
    wanted = [1] if len(labels) == 2 else np.argsort(-sizes, kind="stable")[:_MOST_ROC_CLASSES]
    curves = []
    for k in sorted(int(k) for k in wanted):
        if not 0 < sizes[k] < len(y):
            continue
        false, true, _ = library.roc_curve(y == k, shares[:, k])
        area = float(library.roc_auc_score(y == k, shares[:, k]))
        kept = np.unique(np.linspace(0, len(false) - 1, _MOST_ROC_POINTS).round().astype(int))
        curves.append(RocCurve(labels[k], false[kept], true[kept], area))
    return curves


def fit_of(predicted: np.ndarray, y: np.ndarray, preprocessor: Preprocessor) -> RegressionFit:
    """True and predicted values in the unit of the target."""
    name = "target" if preprocessor.target is None else preprocessor.target.name
    true = preprocessor.inverse_target(y).reshape(-1)
    return RegressionFit(true, preprocessor.inverse_target(predicted).reshape(-1), name)
