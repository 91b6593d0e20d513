"""What the update rules share: scalars in the dtype of an array, moving averages, bias corrections,
decay.

Scalars (learning rates, bias corrections) are computed in float64 and cast to the dtype of the
parameter where they meet it, so that a float32 parameter stays float32. A scalar is a Python float
outside of transforms, and a traced float64 of rank 0 inside; nothing here branches on its value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.trace import Tracer


def cast(x: Any, like: Any) -> Any:
    """A scalar in the dtype of `like`; Python numbers, weak in promotion, stay as they are."""
    return x if type(x) in (float, int) else x.astype(like.dtype)


def lerp(average: Any, new: Any, weight: Any) -> Any:
    """average + weight (new - average): one step of an exponential moving average."""
    change = new - average
    change *= cast(weight, average)
    change += average
    return change


def mean_square(average: Any, g: Any, decay: Any) -> Any:
    """decay average + (1 - decay) g^2: the moving average of squared gradients."""
    square, share, kept = g * g, cast(1.0 - decay, average), average * cast(decay, average)
    if isinstance(kept, Tracer):  # g may be a constant of the trace, which no traced value enters
        return square * share + kept
    square *= share
    square += kept
    return square


def bias_correction(decay: Any, step: Any) -> Any:
    """1 - decay^step in float64: what an average that began at zero has seen (Kingma, Ba 2015)."""
    return 1.0 - np.power(decay, step)


def with_weight_decay(g: Any, p: Any, weight_decay: float) -> Any:
    """g + weight_decay p: the gradient of the loss with an L2 penalty."""
    return g if weight_decay == 0 else g + weight_decay * p


def shrunk(p: Any, lr: Any, weight_decay: float) -> Any:
    """(1 - lr weight_decay) p: decay apart from the gradient (Loshchilov, Hutter 2019)."""
    return p if weight_decay == 0 else p * cast(1.0 - lr * weight_decay, p)


def moved(p: Any, lr: Any, direction: Any) -> Any:
    """p - lr direction."""
    return p - cast(lr, p) * direction
