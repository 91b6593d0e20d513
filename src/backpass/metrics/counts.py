"""Metrics that count decisions: accuracy, precision, recall, F1, the confusion matrix.

Accuracy holds two sums. Precision, recall and F1 hold true positives, false positives and false
negatives of each class, which is O(classes) however long the stream is, and are quotients of sums
of them. Averages and the rules for absent classes are scikit-learn's (`precision_score` and its
kin with zero_division=0), which the tests hold them against; a division 0/0 gives 0.
"""

from abc import abstractmethod
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from backpass.errors import MetricError
from backpass.metrics import sums
from backpass.metrics.inputs import decide, score_batch
from backpass.metrics.metric import Metric

Average = Literal["auto", "binary", "macro", "micro", "weighted"]

#: A confusion matrix above this many classes (128 MiB of counts) is refused.
MOST_CLASSES = 4096


class Accuracy(Metric[float]):
    """The share of samples whose highest score is that of the true class.

    >>> accuracy = Accuracy()
    >>> accuracy.update([2.0, -1.0, 3.0, 1.0], [1, 0, 0, 1])
    >>> accuracy.compute()
    0.75
    """

    name = "accuracy"
    display_name = "Accuracy"
    higher_is_better: bool | None = True

    def __init__(self, *, from_logits: bool = True) -> None:
        """Take logits, or with `from_logits=False` probabilities."""
        self.from_logits = from_logits
        super().__init__()

    def initial_state(self) -> dict[str, np.ndarray]:
        return {"correct": sums.nothing(1), "weight": sums.nothing(1)}

    def update(
        self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        """Take one batch of scores; see `Metric.update`."""
        batch = score_batch(self.name, predictions, targets, weights, from_logits=self.from_logits)
        decided = decide(batch.scores, from_logits=self.from_logits)
        correct = np.where(decided == batch.targets, batch.weights, 0.0)
        self._state["correct"] = sums.add_rows(self._state["correct"], correct[:, None])
        self._state["weight"] = sums.add_rows(self._state["weight"], batch.weights[:, None])

    def compute(self) -> float:
        """The share of correct decisions, from 0 to 1."""
        self.note = None
        weight = sums.value(self._state["weight"])[0]
        if not weight > 0:
            return self._empty()
        return float(sums.value(self._state["correct"])[0] / weight)


class _ClassCounts(Metric[float]):
    """State: the true positives, false positives and false negatives of each class."""

    higher_is_better: bool | None = True

    def __init__(self, *, from_logits: bool = True) -> None:
        """Take logits, or with `from_logits=False` probabilities."""
        self.from_logits = from_logits
        super().__init__()

    def initial_state(self) -> dict[str, np.ndarray]:
        weights = ("true_positive", "false_positive", "false_negative")
        counts = ("seen_true", "seen_predicted")
        return {
            **{key: sums.nothing() for key in weights},
            **{key: np.zeros(0, np.int64) for key in counts},
        }

    @property
    def classes(self) -> int:
        """The number of classes, 0 before the first batch."""
        return len(self._state["seen_true"])

    def update(
        self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        """Take one batch of scores; see `Metric.update`."""
        batch = score_batch(self.name, predictions, targets, weights, from_logits=self.from_logits)
        if not batch.targets.size:
            return
        classes, truth = batch.classes, batch.targets
        decided = decide(batch.scores, from_logits=self.from_logits)
        right = np.where(decided == truth, batch.weights, 0.0)
        wrong = np.where(decided == truth, 0.0, batch.weights)
        self._check_classes(classes)
        for key, labels, weight in (
            ("true_positive", truth, right),
            ("false_positive", decided, wrong),
            ("false_negative", truth, wrong),
        ):
            by_class = np.bincount(labels, weights=weight, minlength=classes)
            running = sums.fit_outputs(self.name, self._state[key], classes)
            self._state[key] = sums.add_rows(running, by_class[None])
        for key, labels in (("seen_true", truth), ("seen_predicted", decided)):
            seen = np.bincount(labels, minlength=classes)
            self._state[key] = seen + (self._state[key] if self._state[key].size else 0)

    def compute(self) -> float:
        """The metric, from 0 to 1; nan without samples."""
        self.note = None
        found, missed = self._state["true_positive"], self._state["false_negative"]
        if not np.sum(sums.value(found) + sums.value(missed)) > 0:
            return self._empty()
        return float(self._score())

    @abstractmethod
    def _score(self) -> float:
        """The metric of the counts in the state."""

    def _check_classes(self, classes: int) -> None:
        if self.classes not in (0, classes):
            raise MetricError(
                f"{self.name}: a batch has {classes} classes, but those before it had "
                f"{self.classes}."
            )

    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(classes,) float64 each: true positives, false positives, false negatives."""
        tp, fp, fn = (
            sums.value(self._state[key])
            for key in ("true_positive", "false_positive", "false_negative")
        )
        return tp, fp, fn


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


class BalancedAccuracy(_ClassCounts):
    """The mean over classes of the share of its samples that were found;
    classes without samples are left out.

    >>> balanced = BalancedAccuracy()
    >>> balanced.update([1.0, 1.0, 1.0, -1.0], [1, 1, 0, 0])
    >>> balanced.compute()
    0.75
    """

    name = "balanced_accuracy"
    display_name = "Balanced accuracy"

    def _score(self) -> float:
        tp, _, fn = self._counts()
        present = tp + fn > 0
        return float(np.mean(_shares(tp, tp + fn)[present]))


class _Averaged(_ClassCounts):
    """A metric of each class and an average over classes.

    Args:
        average: `"auto"` is `"binary"` (class 1) for two classes and `"macro"` for more. `"macro"`
            is the plain mean over classes that occur in targets or decisions, `"weighted"` weighs
            by the targets, `"micro"` counts all classes together.
        from_logits: whether predictions are logits or probabilities.

    A subclass says in `_parts` of what the metric is the quotient.
    """

    def __init__(self, *, average: Average = "auto", from_logits: bool = True) -> None:
        """Choose the average over classes."""
        if average not in get_args(Average):
            raise MetricError(
                f"{type(self).name}: average={average!r} is unknown; choose one of "
                f"{get_args(Average)}."
            )
        self.average: Average = average
        if average != "auto":
            self.name = f"{type(self).name}_{average}"
            self.display_name = f"{type(self).display_name} ({average})"
        super().__init__(from_logits=from_logits)

    @abstractmethod
    def _parts(
        self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of each class."""

    def _score(self) -> float:
        tp, fp, fn = self._counts()
        part, whole = self._parts(tp, fp, fn)
        average = self.average
        if average == "auto":
            average = "binary" if self.classes == 2 else "macro"
        if average == "binary":
            return float(self._of_class_1(part, whole))
        present = (self._state["seen_true"] + self._state["seen_predicted"]) > 0
        part, whole, truth = part[present], whole[present], (tp + fn)[present]
        if average == "micro":
            return float(_shares(np.sum(part), np.sum(whole)))
        weights = truth if average == "weighted" else np.ones(len(part))
        return float(np.average(_shares(part, whole), weights=weights))

    def _of_class_1(self, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        if self.classes != 2:
            raise MetricError(
                f"{self.name}: average='binary' needs two classes, but there are {self.classes}. "
                "Use 'macro', 'micro' or 'weighted'."
            )
        return _shares(part, whole)[1]


class Precision(_Averaged):
    """tp / (tp + fp): of the samples that were given a class, the share that belongs to it.

    >>> precision = Precision()
    >>> precision.update([1.0, 1.0, 1.0, -1.0], [1, 1, 0, 1])
    >>> round(precision.compute(), 4)
    0.6667
    """

    name = "precision"
    display_name = "Precision"

    def _parts(
        self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return tp, tp + fp


class Recall(_Averaged):
    """tp / (tp + fn): of the samples that belong to a class, the share that was found.

    >>> recall = Recall()
    >>> recall.update([1.0, 1.0, 1.0, -1.0], [1, 1, 0, 1])
    >>> round(recall.compute(), 4)
    0.6667
    """

    name = "recall"
    display_name = "Recall"

    def _parts(
        self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return tp, tp + fn


class F1(_Averaged):
    """2 tp / (2 tp + fp + fn): the harmonic mean of precision and recall.

    >>> f1 = F1()
    >>> f1.update([1.0, 1.0, 1.0, -1.0], [1, 1, 0, 1])
    >>> round(f1.compute(), 4)
    0.6667
    """

    name = "f1"
    display_name = "F1"

    def _parts(
        self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return 2 * tp, 2 * tp + fp + fn


class ConfusionMatrix(Metric[np.ndarray]):
    """How many samples of class i (row) were taken for class j (column).

    `compute` gives int64 (classes, classes), or float64 once a batch had weights; shape (0, 0)
    without samples.

    >>> matrix = ConfusionMatrix()
    >>> matrix.update([1.0, 1.0, -1.0], [1, 0, 0])
    >>> matrix.compute().tolist()
    [[1, 1], [0, 1]]
    """

    name = "confusion_matrix"
    display_name = "Confusion matrix"
    higher_is_better: bool | None = None
    scalar: bool = False

    def __init__(self, *, from_logits: bool = True) -> None:
        """Take logits, or with `from_logits=False` probabilities."""
        self.from_logits = from_logits
        super().__init__()

    def initial_state(self) -> dict[str, np.ndarray]:
        return {"counts": np.zeros((0, 0), np.int64)}

    def update(
        self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        """Take one batch of scores; see `Metric.update`."""
        batch = score_batch(self.name, predictions, targets, weights, from_logits=self.from_logits)
        if not batch.targets.size:
            return
        counts, classes = self._state["counts"], batch.classes
        if classes > MOST_CLASSES:
            raise MetricError(
                f"{self.name}: {classes} classes would take {classes**2 * 8 / 2**30:.1f} GiB; the "
                "most is "
                f"{MOST_CLASSES} classes. Accuracy, precision, recall and F1 have no such limit."
            )
        if counts.shape[0] not in (0, classes):
            raise MetricError(
                f"{self.name}: a batch has {classes} classes, but those before it had "
                f"{counts.shape[0]}."
            )
        cells = batch.targets * classes + decide(batch.scores, from_logits=self.from_logits)
        given = None if weights is None else batch.weights
        new = np.bincount(cells, given, classes * classes).reshape(classes, classes)
        self._state["counts"] = new + counts if counts.size else new

    def compute(self) -> np.ndarray:
        """The matrix, rows true and columns decided."""
        self.note = None if self._state["counts"].size else "no samples"
        return self._state["counts"].copy()
