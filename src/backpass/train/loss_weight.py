"""How much a batch counts in a mean over batches, and targets in the shape of the predictions.

A mean loss over n samples counts n times. A loss that weights classes or ignores some targets
divides by the sum of the weights instead (as torch's does), so that sum is what its batch counts;
else the mean over accumulated batches would not be the loss of one big batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.trace import Cell


def aligned(targets: Any, predictions: Any) -> Any:
    """Targets of as many elements as the predictions, in their shape and dtype; others as they are.

    (n,) targets beside (n, 1) predictions would broadcast to (n, n) and give a wrong loss without
    an error. Targets that are class numbers, (n,) beside (n, classes), stay.
    """
    if isinstance(predictions, (tuple, list, dict)):
        return targets  # of a model with several outputs
    if np.shape(targets) == np.shape(predictions) or np.size(targets) != np.size(predictions):
        same = np.shape(targets) == np.shape(predictions)
        return _cast(targets, predictions.dtype) if same else targets
    return _cast(targets.reshape(np.shape(predictions)), predictions.dtype)


def _cast(x: Any, dtype: Any) -> Any:
    return x if x.dtype == dtype else x.astype(dtype)


def batch_weight(loss: Any, predictions: Any, targets: Any) -> Any:
    """The weight of a batch in a mean over batches, a float64 scalar: its samples, or their class
    weights' sum.

    A loss that is neither a plain mean over samples nor one with torch's `weight` and
    `ignore_index` may say its own weight with a method `batch_weight(predictions, targets)`.
    """
    own = getattr(loss, "batch_weight", None)
    if own is not None:
        return own(predictions, targets)
    samples = np.shape(targets)[0] if np.ndim(targets) else 1
    if not divides_by_weights(loss) or targets.dtype.kind not in "iu":
        return np.asarray(float(samples))
    counted = targets != loss.ignore_index
    weight: Any = getattr(loss, "weight", None)
    if weight is None:
        return np.sum(counted.astype(np.float64))
    table = weight.read() if isinstance(weight, Cell) else np.asarray(weight)
    of_sample = table[np.clip(targets, 0, np.shape(predictions)[1] - 1)].astype(np.float64)
    return np.sum(np.where(counted, of_sample, 0.0))


def divides_by_weights(loss: Any) -> bool:
    """Whether a mean loss divides by the weights of the classes that count, as torch's do."""
    return hasattr(loss, "ignore_index") and getattr(loss, "reduction", "mean") == "mean"


__all__ = ["aligned", "batch_weight", "divides_by_weights"]
