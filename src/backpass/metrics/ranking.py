"""AUC-ROC and average precision: how well scores put the samples of a class above the others.

They need all scores at once, so the scores are kept, in the dtype they came in (n x classes
values), and decoded in float64 when the result is wanted. For two classes the samples are ranked by
z1 - z0; for more, each class is ranked against the rest by log softmax and the classes are averaged
plainly (one-vs-rest, macro). Ranking logits rather than probabilities keeps apart what a sigmoid
would round to 1.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from backpass.errors import MetricError
from backpass.metrics import sklearn_bridge
from backpass.metrics.inputs import log_softmax, score_batch
from backpass.metrics.metric import Metric


class _Ranking(Metric[float]):
    """Keeps all scores, targets and weights;
    the result is a mean over classes that can be ranked.
    """

    higher_is_better: bool | None = True

    def __init__(self, *, from_logits: bool = True) -> None:
        """Take logits, or with `from_logits=False` probabilities."""
        sklearn_bridge.require(self.name)
        self.from_logits = from_logits
        self._batches: list[dict[str, np.ndarray]] = []
        super().__init__()

    def initial_state(self) -> dict[str, np.ndarray]:
        return {
            "scores": np.zeros((0, 0), np.float32),
            "targets": np.zeros(0, np.int32),
            "weights": np.zeros(0),
        }

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self._batches = []

    def update(
        self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        """Take one batch of scores; see `Metric.update`.
        A float32 score takes 4 bytes until `reset`.
        """
        batch = score_batch(self.name, predictions, targets, weights, from_logits=self.from_logits)
        if not batch.targets.size:
            return
        before = self._batches[-1] if self._batches else self._state
        columns = before["scores"].shape[1]
        if columns not in (0, batch.scores.shape[1]):
            raise MetricError(
                f"{self.name}: a batch has predictions with {batch.scores.shape[1]} columns, but "
                "those before "
                f"it had {columns}."
            )
        # Copies: a training step may write into the arrays it gave.
        self._batches.append(
            {
                "scores": batch.scores.copy(),
                "targets": batch.targets.astype(np.int32),
                "weights": batch.weights.copy(),
            }
        )

    def state_dict(self) -> dict[str, np.ndarray]:
        """All scores, targets and weights so far."""
        self._join()
        return super().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the state that `state_dict` gave."""
        super().load_state_dict(state)
        self._batches = []

    def compute(self) -> float:
        """The mean over classes that have samples of both kinds; nan, with a note,
        where there are none.
        """
        self.note = None
        values, left_out = [], []
        for positive_class, truth, scores, weights in self._rankings():
            if np.any(weights[truth] > 0) and np.any(weights[~truth] > 0):
                values.append(float(self._score(truth, scores, weights)))
            else:
                left_out.append(positive_class)
        if not values:
            return self._undefined()
        if left_out:
            shown = ", ".join(map(str, left_out[:10])) + (", ..." if len(left_out) > 10 else "")
            self.note = f"left out, for want of samples: {len(left_out)} classes ({shown})"
        return float(np.mean(values))

    @abstractmethod
    def _score(self, truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
        """The metric of one class against the rest."""

    def _undefined(self) -> float:
        present = np.unique(self._state["targets"][self._state["weights"] > 0])
        if not present.size:
            return self._empty()
        self.note = f"undefined: all samples are of class {present[0]}"
        return float("nan")

    def _join(self) -> None:
        """Bring the kept batches into the one state."""
        if not self._batches:
            return
        parts = [self._state, *self._batches] if self._state["targets"].size else self._batches
        self._state = {key: np.concatenate([part[key] for part in parts]) for key in self._state}
        self._batches = []

    def _rankings(self) -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Of each class that is ranked: its number, whether a sample is of it,
        scores and weights.
        """
        self._join()
        raw, targets, weights = (self._state[key] for key in ("scores", "targets", "weights"))
        if not targets.size:
            return []
        wide = raw.astype(np.float64)
        if wide.shape[1] <= 2:
            single = wide[:, 0] if wide.shape[1] == 1 else self._difference(wide)
            return [(1, targets == 1, _finite(single), weights)]
        ranked = _finite(log_softmax(wide) if self.from_logits else wide)
        return [(c, targets == c, ranked[:, c], weights) for c in range(wide.shape[1])]

    def _difference(self, wide: np.ndarray) -> np.ndarray:
        """One score from two columns; a probability is the second column as it is."""
        return wide[:, 1] - wide[:, 0] if self.from_logits else wide[:, 1]


class RocAuc(_Ranking):
    """Area under the ROC curve:
    the chance that a sample of the class scores above one that is not; ties count half.

    >>> auc = RocAuc()
    >>> auc.update([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    >>> auc.compute()
    0.75
    """

    name = "roc_auc"
    display_name = "AUC-ROC"

    def _score(self, truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
        return sklearn_bridge.load().roc_auc_score(truth, scores, sample_weight=weights)

    def curves(self) -> dict[int, tuple[np.ndarray, np.ndarray, float]]:
        """Of each class with samples of both kinds: false-positive rates,
        true-positive rates (float64, from 0
        to 1, rising) and the area. Two classes have one curve, that of class 1.
        """
        module, found = sklearn_bridge.load(), {}
        for positive_class, truth, scores, weights in self._rankings():
            if np.any(weights[truth] > 0) and np.any(weights[~truth] > 0):
                false_rate, true_rate, _ = module.roc_curve(truth, scores, sample_weight=weights)
                area = float(self._score(truth, scores, weights))
                found[positive_class] = (false_rate, true_rate, area)
        return found


class AveragePrecision(_Ranking):
    """Average precision:
    the sum of precision x gain in recall along the ranking (scikit-learn's step-wise sum).

    >>> precision = AveragePrecision()
    >>> precision.update([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    >>> round(precision.compute(), 4)
    0.8333
    """

    name = "average_precision"
    display_name = "Average precision"

    def _score(self, truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
        return sklearn_bridge.load().average_precision_score(truth, scores, sample_weight=weights)


def _finite(scores: np.ndarray) -> np.ndarray:
    """Infinite scores of masked classes as the largest finite ones: the same ranking,
    and scikit-learn takes it.
    """
    return np.nan_to_num(scores)
