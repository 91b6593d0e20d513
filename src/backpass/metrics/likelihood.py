"""Cross-entropy and log loss: how probable the model held what was true. State: two sums.

Both are the mean of -log p(true class) in nats. `CrossEntropy` is computed from the logits without
ever forming the probability, so it is exact where the model is sure, and inf where p is 0.
`LogLoss` is scikit-learn's number: the probability is clipped to [eps, 1 - eps], eps = 2^-52, so
one sample costs at most 36.04.
"""

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from backpass.errors import MetricError
from backpass.metrics import sums
from backpass.metrics.inputs import ScoreBatch, log_softmax, score_batch, two_columns
from backpass.metrics.metric import Metric


class _NegativeLogLikelihood(Metric[float]):
    """A weighted mean of one number of each sample."""

    higher_is_better: bool | None = False

    def __init__(self, *, from_logits: bool = True) -> None:
        """Take logits, or with `from_logits=False` probabilities whose rows sum to one."""
        self.from_logits = from_logits
        super().__init__()

    def initial_state(self) -> dict[str, np.ndarray]:
        return {"loss": sums.nothing(1), "weight": sums.nothing(1)}

    @abstractmethod
    def _losses(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The loss of each sample, from float64 scores (n, classes)."""

    def update(
        self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        """Take one batch of scores; see `Metric.update`."""
        batch = score_batch(self.name, predictions, targets, weights, from_logits=self.from_logits)
        if not batch.targets.size:
            return
        self._refuse_unnormalised(batch)
        losses = self._losses(
            two_columns(batch.scores, from_logits=self.from_logits), batch.targets
        )
        # A sample of weight 0 counts for nothing, also where its loss is inf.
        weighted = np.where(batch.weights > 0, losses, 0.0) * batch.weights
        self._state["loss"] = sums.add_rows(self._state["loss"], weighted[:, None])
        self._state["weight"] = sums.add_rows(self._state["weight"], batch.weights[:, None])

    def compute(self) -> float:
        """The mean loss in nats."""
        self.note = None
        weight = sums.value(self._state["weight"])[0]
        if not weight > 0:
            return self._empty()
        result = float(sums.value(self._state["loss"])[0] / weight)
        if np.isinf(result):
            self.note = "a sample's true class had the probability 0"
        return result

    def _refuse_unnormalised(self, batch: ScoreBatch) -> None:
        if self.from_logits or batch.scores.shape[1] == 1:
            return
        total = np.sum(batch.scores.astype(np.float64), axis=1)
        floating = batch.scores.dtype.kind == "f"
        epsilon = np.finfo(batch.scores.dtype if floating else np.float64).eps
        off = np.abs(total - 1.0) > np.sqrt(epsilon)
        if np.any(off):
            row = int(np.argmax(off))
            raise MetricError(
                f"{self.name}: the probabilities of sample {row} sum to {total[row]:.6g}, not to "
                "1. "
                f"Divide each row by its sum, or give logits with from_logits=True."
            )


class CrossEntropy(_NegativeLogLikelihood):
    """Cross-entropy: mean of -log softmax(z)[y], in nats; perplexity is its exponential.

    >>> loss = CrossEntropy()
    >>> loss.update([[0.0, 0.0]], [1])
    >>> round(loss.compute(), 6)
    0.693147
    """

    name = "cross_entropy"
    display_name = "Cross-entropy"

    def _losses(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        rows = np.arange(len(targets))
        if self.from_logits:
            return -log_softmax(scores)[rows, targets]
        with np.errstate(divide="ignore"):
            return -np.log(scores[rows, targets])


class LogLoss(_NegativeLogLikelihood):
    """scikit-learn's `log_loss`: mean of -log p(true class), p clipped to [2^-52, 1 - 2^-52].

    >>> loss = LogLoss(from_logits=False)
    >>> loss.update([[0.0, 1.0]], [0])
    >>> round(loss.compute(), 2)
    36.04
    """

    name = "log_loss"
    display_name = "Log loss"

    def _losses(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        probabilities = np.exp(log_softmax(scores)) if self.from_logits else scores
        epsilon = np.finfo(np.float64).eps
        chosen = probabilities[np.arange(len(targets)), targets]
        return -np.log(np.clip(chosen, epsilon, 1.0 - epsilon))
