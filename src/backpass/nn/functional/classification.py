"""Losses of classification, with torch's names, options and reductions: cross-entropy in its
several forms.

Class scores have their classes on axis 1, or axis 0 for a single sample: (N, C), (C,) or
(N, C, d1, ...). Labels are integers of the same shape without that axis. All are built on a stable
log-softmax or log-sigmoid.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.errors import ConfigError, DTypeError, ShapeError
from backpass.flow import custom_vjp
from backpass.nn.functional.activations import log_softmax
from backpass.nn.functional.values import (
    check_reduction,
    floating,
    integers,
    one_shape,
    reduced,
    rows,
    value,
)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """-log softmax(input)[target].

    Args:
        input: unnormalized scores, floating, (N, C), (C,) or (N, C, d1, ...).
        target: integer labels in [0, C) of the shape without axis C, or floating class
            probabilities of the full one.
        weight: (C,) a factor for each class.
        ignore_index: a label whose samples count for nothing (integer labels only).
        reduction: "none", "sum", or "mean": over the samples that count, weighted by their class
            weights.
        label_smoothing: the share of the target spread evenly over all classes, in [0, 1].

    Returns:
        A scalar, or with "none" an array of the labels' shape.

    Raises:
        ValueError: shapes that do not fit, an unknown reduction.
        IndexError: a label outside of [0, C).

    >>> float(cross_entropy(np.zeros((2, 4)), np.array([0, 3]))) == float(np.log(4.0))
    True

    (Szegedy et al. 2016 for label smoothing.)
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ConfigError(f"cross_entropy: label_smoothing={label_smoothing!r} must lie in [0, 1]")
    x, labels = floating(input), value(target)
    axis = _class_axis("cross_entropy", x)
    logs = log_softmax(x, axis)
    if labels.shape == x.shape and labels.dtype.kind == "f":
        return _soft(logs, labels, weight, axis, reduction, label_smoothing)
    hard = _Labels("cross_entropy", x, labels, weight, ignore_index, axis)
    loss = hard.picked(logs)
    if label_smoothing:
        classes = x.shape[axis]
        spread = -np.sum(logs * hard.class_weights(x.ndim), axis=axis) / classes
        spread = np.where(hard.ignored, 0.0, spread)
        loss = loss * (1.0 - label_smoothing) + spread * label_smoothing
    return hard.reduced(loss, reduction)


def _class_axis(function: str, x: Any) -> int:
    if not x.ndim:
        raise ShapeError(f"{function}: the input is a scalar; it needs an axis of classes")
    return 1 if x.ndim > 1 else 0


def _soft(
    logs: Any, probabilities: Any, weight: Any, axis: int, reduction: str, smoothing: float
) -> Any:
    """Cross-entropy against class probabilities; its mean is over the samples."""
    check_reduction("cross_entropy", reduction)
    classes = logs.shape[axis]
    if smoothing:
        probabilities = probabilities * (1.0 - smoothing) + smoothing / classes
    factors = _class_weights(weight, classes, axis, logs.ndim)
    loss = -np.sum(logs * probabilities * factors, axis=axis)
    return reduced("cross_entropy", loss, reduction)


def _class_weights(weight: Any, classes: int, axis: int, ndim: int) -> Any:
    """The class weights along the axis of classes; 1 where there are none."""
    if weight is None:
        return 1.0
    w = value(weight)
    if w.shape != (classes,):
        raise ShapeError(f"class weights of shape {w.shape} for {classes} classes")
    return w.reshape((-1,) + (1,) * (ndim - 1 - axis))


class _Labels:
    """Checked integer labels: which samples are ignored, and what each one weighs."""

    def __init__(
        self, function: str, x: Any, target: Any, weight: Any, ignore_index: int, axis: int
    ) -> None:
        expected = x.shape[:axis] + x.shape[axis + 1 :]
        if target.dtype.kind == "f":
            raise DTypeError(
                f"{function}: the target is {target.dtype}{list(target.shape)}; for class labels "
                "use integers "
                f"(y.astype(int)) of shape {expected}"
                + (f", for probabilities shape {x.shape}" if function == "cross_entropy" else "")
            )
        if target.shape != expected:
            raise ShapeError(
                f"{function}: scores of shape {x.shape} need labels of shape {expected}, got "
                f"{target.shape}"
            )
        labels = integers(function, target, "labels")
        self.function, self.axis, self.classes, self.weight = function, axis, x.shape[axis], weight
        self.ignored = labels == ignore_index
        # A negative label would count from the end; sent past the end it raises, eager and
        # compiled.
        sound = np.where(labels < 0, self.classes, labels)
        self.labels = np.where(self.ignored, 0, sound)
        self._check_range(labels, ignore_index)
        own = np.ones((), x.dtype) if weight is None else rows(value(weight), self.labels)
        self.weights = np.where(self.ignored, 0.0, own)

    def _check_range(self, labels: Any, ignore_index: int) -> None:
        """A good message where the labels are known; the lookup itself refuses them otherwise."""
        if type(labels) is not np.ndarray:
            return
        wrong = labels[((labels < 0) | (labels >= self.classes)) & (labels != ignore_index)]
        if wrong.size:
            raise IndexError(
                f"{self.function}: label {int(wrong[0])} is outside of [0, {self.classes}), the "
                "classes that the "
                f"scores have; {wrong.size} of {labels.size} labels are"
            )

    def class_weights(self, ndim: int) -> Any:
        """The class weights along the axis of classes."""
        return _class_weights(self.weight, self.classes, self.axis, ndim)

    def picked(self, logs: Any) -> Any:
        """Minus the weighted log-probability of each sample's label."""
        _class_weights(self.weight, self.classes, self.axis, logs.ndim)
        index = np.expand_dims(self.labels, self.axis)
        chosen = np.take_along_axis(logs, index, axis=self.axis)
        own = chosen.reshape(self.labels.shape)
        # The ignored are left out by where, not by a weight of 0, which would make -inf a NaN.
        return np.where(self.ignored, 0.0, -own * self.weights)

    def reduced(self, loss: Any, reduction: str) -> Any:
        """The reduction; a mean divides by the sum of the weights, NaN if no sample counts."""
        check_reduction(self.function, reduction)
        if reduction != "mean":
            return reduced(self.function, loss, reduction)
        with np.errstate(invalid="ignore"):
            return np.sum(loss) / np.sum(np.broadcast_to(self.weights, loss.shape))


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """-input[target] for log-probabilities; arguments as in `cross_entropy`."""
    x = floating(input)
    axis = _class_axis("nll_loss", x)
    hard = _Labels("nll_loss", x, value(target), weight, ignore_index, axis)
    return hard.reduced(hard.picked(x), reduction)


@custom_vjp
def _binary(x: Any, t: Any) -> Any:
    """-t log x - (1 - t) log(1 - x), each logarithm at least -100."""
    with np.errstate(divide="ignore"):
        one, other = np.log(x), np.log1p(-x)
    one = np.where(one < -100.0, -100.0, one)
    other = np.where(other < -100.0, -100.0, other)
    return (t - 1.0) * other - t * one


def _binary_back(residuals: Any, ct: Any) -> Any:
    """PyTorch's derivative: finite at 0 and 1, where the denominator is at least 1e-12."""
    x, t = residuals
    spread = (1.0 - x) * x
    dx = ct * (x - t) / np.where(spread < 1e-12, 1e-12, spread)
    with np.errstate(divide="ignore"):
        dt = ct * (np.log1p(-x) - np.log(x))
    return dx, dt


_binary.defvjp(lambda x, t: (_binary.function(x, t), (x, t)), _binary_back)


def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Any:
    """-t log p - (1 - t) log(1 - p) for probabilities p; logarithms are at least -100, as in
    PyTorch.

    `input` and `target` have one shape; `weight` broadcasts to it. Scores without a sigmoid belong
    in `binary_cross_entropy_with_logits`, which is exact where p rounds to 0 or 1.
    """
    x = floating(input)
    t = _targets("binary_cross_entropy", x, target)
    if type(x) is np.ndarray and ((x < 0) | (x > 1)).any():
        raise ConfigError(
            "binary_cross_entropy: the input must be probabilities in [0, 1]; for scores use "
            "binary_cross_entropy_with_logits"
        )
    loss = _binary(x, t)
    return reduced(
        "binary_cross_entropy", loss if weight is None else loss * value(weight), reduction
    )


def _targets(function: str, x: Any, target: Any) -> Any:
    """Targets of the input's shape, of its dtype if they were integers or booleans."""
    own = value(target)
    one_shape(function, input=x, target=own)
    return own if own.dtype.kind == "f" else own.astype(x.dtype)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """-w (p t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))) for scores x, without loss at either
    end.

    Args:
        input: scores of any shape.
        target: of the same shape, in [0, 1]; integers and booleans are taken as such.
        weight: broadcasts to the input: w.
        reduction: "none", "mean" or "sum".
        pos_weight: broadcasts to the input: p, a factor for positives.
    """
    x = floating(input)
    t = _targets("binary_cross_entropy_with_logits", x, target)
    positive = 1.0 if pos_weight is None else (value(pos_weight) - 1.0) * t + 1.0
    loss = (1.0 - t) * x + positive * np.logaddexp(-x, 0.0)
    return reduced(
        "binary_cross_entropy_with_logits",
        loss if weight is None else loss * value(weight),
        reduction,
    )
