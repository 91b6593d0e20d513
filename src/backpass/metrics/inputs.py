"""What metrics accept, stated and checked in one place.

Classification metrics take raw scores. With `from_logits=True` (the default) these are logits:
shape (n, classes), where the largest one decides and a tie goes to the lowest class; or (n,) or (n,
1) for two classes, where a logit above 0 decides for class 1. With `from_logits=False` they are
probabilities of the same shapes, and above 0.5 decides. Targets are class numbers. So a trainer
feeds what the model gives, as it is. Regression metrics take values. Everything is widened to
float64 or int64 before any arithmetic.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from backpass.errors import MetricError


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """A checked classification batch: scores (n, columns) as given, targets int64 (n,),
    weights float64 (n,).

    One column stands for two classes.
    """

    scores: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    @property
    def classes(self) -> int:
        """The number of classes: two for a single column."""
        return max(self.scores.shape[1], 2)


@dataclass(frozen=True, slots=True)
class ValueBatch:
    """A checked regression batch: predictions and targets float64 (n, outputs),
    weights float64 (n,).
    """

    predictions: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def score_batch(
    name: str,
    predictions: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None,
    *,
    from_logits: bool,
) -> ScoreBatch:
    """Check a classification batch and bring it to one form. `name` starts the error messages."""
    scores, labels = _real(name, "predictions", predictions), np.asarray(targets)
    if scores.ndim not in (1, 2) or (scores.ndim == 2 and scores.shape[1] == 0):
        raise MetricError(
            f"{name}: predictions have shape {scores.shape}; expected (samples, classes), or "
            "(samples,) or "
            f"(samples, 1) for two classes. Flatten further axes into samples."
        )
    if scores.size and scores.dtype.kind in "biu" and scores.reshape(len(scores), -1).shape[1] == 1:
        raise MetricError(
            f"{name}: predictions have dtype {scores.dtype} and shape {scores.shape}, so they "
            "look like class "
            f"numbers. Metrics take scores: logits or probabilities, shape (samples, classes)."
        )
    scores = scores.reshape(len(scores), -1) if scores.size else scores.reshape(0, _columns(scores))
    classes = max(scores.shape[1], 2)
    labels = _class_numbers(name, labels, np.shape(predictions), classes)
    _refuse_bad_scores(name, scores, from_logits)
    return ScoreBatch(scores, labels, _weights(name, weights, len(scores)))


def value_batch(
    name: str, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None
) -> ValueBatch:
    """Check a regression batch and bring it to one form. `name` starts the error messages."""
    values, truth = _real(name, "predictions", predictions), _real(name, "targets", targets)
    for what, array in (("predictions", values), ("targets", truth)):
        if array.ndim == 0:
            raise MetricError(
                f"{name}: {what} have shape (); expected (samples,) or (samples, outputs)."
            )
    flat_values, flat_truth = _as_columns(values), _as_columns(truth)
    if flat_values.shape != flat_truth.shape:
        raise MetricError(_shapes_differ(name, values.shape, truth.shape))
    flat_values, flat_truth = flat_values.astype(np.float64), flat_truth.astype(np.float64)
    _refuse_where(name, "predictions", flat_values, ~np.isfinite(flat_values))
    _refuse_where(name, "targets", flat_truth, ~np.isfinite(flat_truth))
    return ValueBatch(flat_values, flat_truth, _weights(name, weights, len(flat_values)))


def decide(scores: np.ndarray, *, from_logits: bool) -> np.ndarray:
    """The class numbers, int64 (n,), that scores of shape (n, columns) decide for."""
    if scores.shape[1] > 1:
        return np.argmax(scores, axis=1).astype(np.int64)
    return (scores[:, 0] > (0.0 if from_logits else 0.5)).astype(np.int64)


def two_columns(scores: np.ndarray, *, from_logits: bool) -> np.ndarray:
    """Scores as float64 (n, classes): a single column z becomes the logits (0,
    z) or probabilities (1-z, z).
    """
    wide = scores.astype(np.float64)
    if wide.shape[1] > 1:
        return wide
    first = np.zeros_like(wide) if from_logits else 1.0 - wide
    return np.concatenate([first, wide], axis=1)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log(exp(z) / sum(exp(z))) along the last axis,
    shifted by the largest so that nothing overflows.
    """
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def _columns(scores: np.ndarray) -> int:
    return scores.shape[1] if scores.ndim == 2 else 1


def _as_columns(array: np.ndarray) -> np.ndarray:
    outputs = int(np.prod(array.shape[1:]))
    return array.reshape(len(array), outputs)


def _real(name: str, what: str, array: ArrayLike) -> np.ndarray:
    try:
        result = np.asarray(array)
    except ValueError as error:
        raise MetricError(f"{name}: {what} are no rectangular array: {error}.") from error
    if result.dtype.kind not in "biuf":
        raise MetricError(f"{name}: {what} have dtype {result.dtype}; expected real numbers.")
    return result


def _shapes_differ(name: str, predictions: tuple[int, ...], targets: tuple[int, ...]) -> str:
    return f"{name}: predictions have shape {predictions} but targets have shape {targets}."


def _class_numbers(
    name: str, labels: np.ndarray, shape: tuple[int, ...], classes: int
) -> np.ndarray:
    """Targets as int64 (n,), or an error that names what is wrong with them."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise MetricError(
            f"{_shapes_differ(name, shape, labels.shape)} Targets are class numbers of shape "
            "(samples,): "
            f"for one-hot targets give targets.argmax(axis=1)."
        )
    if labels.ndim not in (1, 2) or labels.size != shape[0]:
        raise MetricError(f"{_shapes_differ(name, shape, labels.shape)} Expected ({shape[0]},).")
    labels = labels.reshape(-1)
    if not labels.size:
        return np.zeros(0, np.int64)
    if labels.dtype.kind not in "biuf" or not np.all(labels == np.floor(labels)):
        raise MetricError(
            f"{name}: targets of dtype {labels.dtype} hold values that are no class numbers, for "
            "example "
            f"{labels[_first_odd(labels)].item()!r}. Number the classes 0..{classes - 1}."
        )
    outside = (labels < 0) | (labels >= classes)
    if np.any(outside):
        raise MetricError(
            f"{name}: targets hold class {int(labels[np.argmax(outside)])} at sample "
            f"{int(np.argmax(outside))}, but predictions of shape {shape} stand for the classes "
            f"0..{classes - 1}."
        )
    return labels.astype(np.int64)


def _first_odd(labels: np.ndarray) -> int:
    return int(np.argmax(labels != np.floor(labels))) if labels.dtype.kind == "f" else 0


def _refuse_bad_scores(name: str, scores: np.ndarray, from_logits: bool) -> None:
    """NaN never; an infinite logit only as -inf of a masked class beside a finite one."""
    if from_logits and scores.shape[1] > 1:
        bad = (
            np.isnan(scores) | (scores == np.inf) | np.all(scores == -np.inf, axis=1, keepdims=True)
        )
    else:
        bad = ~np.isfinite(scores)
    _refuse_where(name, "predictions", scores, bad)
    if not from_logits and np.any((scores < 0) | (scores > 1)):
        worst = scores.ravel()[np.argmax(np.abs(scores.astype(np.float64) - 0.5))]
        raise MetricError(
            f"{name}: from_logits=False takes probabilities, but predictions hold "
            f"{worst.item():.6g}. "
            f"For raw model outputs use from_logits=True."
        )


def _refuse_where(name: str, what: str, array: np.ndarray, bad: np.ndarray) -> None:
    if not np.any(bad):
        return
    row, column = np.unravel_index(int(np.argmax(bad)), bad.shape)
    raise MetricError(
        f"{name}: {what} hold {int(np.sum(bad))} values that are NaN or infinite among "
        f"{array.size}; the "
        f"first is {array[row, column]} at sample {row}, column {column}. Has the training "
        "diverged? "
        f"A lower learning rate or gradient clipping may help."
    )


def _weights(name: str, weights: ArrayLike | None, samples: int) -> np.ndarray:
    if weights is None:
        return np.ones(samples)
    given = _real(name, "weights", weights)
    if given.shape not in ((samples,), (samples, 1)):
        raise MetricError(
            f"{name}: weights have shape {given.shape}, but there are {samples} samples; expected "
            f"({samples},)."
        )
    flat = given.reshape(-1).astype(np.float64)
    if not np.all(np.isfinite(flat) & (flat >= 0)):
        bad = flat[np.argmin(np.isfinite(flat) & (flat >= 0))]
        raise MetricError(f"{name}: weights must be finite and at least 0, but hold {bad}.")
    return flat
