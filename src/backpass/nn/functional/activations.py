"""Activation functions with torch's names, defaults and derivatives at kinks. Stable for any finite
input.

Each takes an array of any shape and gives one of the same shape and dtype. At a kink the derivative
is that of PyTorch, which is the branch written with `<=` or `<` here; NaN stays NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.errors import ConfigError, ShapeError
from backpass.nn.functional.values import applied, floating
from backpass.prims import elementwise as el
from backpass.prims import special
from backpass.transforms import stop_gradient

# Klambauer et al. 2017, Self-normalizing neural networks.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def relu(input: Any) -> Any:
    """max(x, 0); the derivative at 0 is 0."""
    x = floating(input)
    return np.where(x <= 0, 0.0, x)


def relu6(input: Any) -> Any:
    """min(max(x, 0), 6); the derivative at 0 and 6 is 0."""
    return hardtanh(input, 0.0, 6.0)


def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """x above 0, else negative_slope * x; the derivative at 0 is the slope."""
    x = floating(input)
    return np.where(x > 0, x, x * negative_slope)


def prelu(input: Any, weight: Any) -> Any:
    """x above 0, else weight * x; weight has shape (1,), or (C,) for the channels of axis 1."""
    x, w = floating(input), floating(weight)
    if w.shape not in ((), (1,)):
        channels = x.shape[1] if x.ndim > 1 else 1
        if w.shape != (channels,):
            raise ShapeError(
                f"prelu: weight {w.shape} for an input of shape {x.shape}; expected (1,) or "
                f"({channels},)"
            )
        w = w.reshape((channels,) + (1,) * (x.ndim - 2))
    elif w.shape == (1,):
        w = w.reshape(())
    return np.where(x > 0, x, x * w)


def _elu(x: Any, alpha: float, scale: float, rate: float) -> Any:
    """scale * x above 0, scale * alpha * (exp(rate * x) - 1) below; exp never sees a positive
    number.

    At 0 it is linear with the lower slope: PyTorch's first and second derivative there.
    """
    slope = scale * alpha * rate
    below = np.expm1(np.where(x < 0, x, 0.0) * rate) * (scale * alpha)
    above = x * scale if slope == scale else np.where(x > 0, x * scale, x * slope)
    return np.where(x < 0, below, above)


def _softplus(x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    with np.errstate(invalid="ignore"):  # NumPy warns of a NaN that was there before
        return np.logaddexp(x, 0.0)


def elu(input: Any, alpha: float = 1.0) -> Any:
    """x above 0, else alpha * (exp(x) - 1). (Clevert, Unterthiner, Hochreiter 2016)"""
    return _elu(floating(input), alpha, 1.0, 1.0)


def celu(input: Any, alpha: float = 1.0) -> Any:
    """x above 0, else alpha * (exp(x / alpha) - 1). (Barron 2017)"""
    return _elu(floating(input), alpha, 1.0, 1.0 / alpha)


def selu(input: Any) -> Any:
    """Scaled ELU whose constants keep mean 0 and variance 1. (Klambauer et al. 2017)"""
    return _elu(floating(input), SELU_ALPHA, SELU_SCALE, 1.0)


def gelu(input: Any, approximate: str = "none") -> Any:
    """x * Phi(x), with erf or, for approximate="tanh", its tanh form. (Hendrycks and Gimpel
    2016)
    """
    x = floating(input)
    if approximate == "none":
        return x * 0.5 * (1.0 + applied(special.erf, x * float(np.sqrt(0.5))))
    if approximate != "tanh":
        raise ConfigError(f"gelu: approximate={approximate!r} is not one of 'none', 'tanh'")
    inner = float(np.sqrt(2.0 / np.pi)) * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1.0 + np.tanh(inner))


def sigmoid(input: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return applied(el.logistic, floating(input))


def silu(input: Any) -> Any:
    """x * sigmoid(x), also called swish."""
    x = floating(input)
    return x * sigmoid(x)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x is above the threshold."""
    x = floating(input)
    scaled = x * beta
    return np.where(scaled > threshold, x, _softplus(scaled) / beta)


def mish(input: Any) -> Any:
    """x * tanh(softplus(x)). (Misra 2020)"""
    x = floating(input)
    return x * np.tanh(_softplus(x))


def logsigmoid(input: Any) -> Any:
    """log(sigmoid(x))."""
    return -_softplus(-floating(input))


def tanh(input: Any) -> Any:
    """The hyperbolic tangent."""
    return np.tanh(floating(input))


def tanhshrink(input: Any) -> Any:
    """x - tanh(x)."""
    x = floating(input)
    return x - np.tanh(x)


def softsign(input: Any) -> Any:
    """x / (1 + |x|)."""
    x = floating(input)
    return x / (1.0 + np.abs(x))


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """x cut to [min_val, max_val]; the derivative at both ends is 0."""
    x = floating(input)
    return np.where(x <= min_val, min_val, np.where(x >= max_val, max_val, x))


def hardsigmoid(input: Any) -> Any:
    """relu6(x + 3) / 6; the derivative at -3 and 3 is 0."""
    x = floating(input)
    return np.where(x <= -3.0, 0.0, np.where(x >= 3.0, 1.0, x / 6.0 + 0.5))


def hardswish(input: Any) -> Any:
    """x * relu6(x + 3) / 6; the derivative at -3 is 0, at 3 it is 1. (Howard et al. 2019)"""
    x = floating(input)
    return np.where(x <= -3.0, 0.0, np.where(x >= 3.0, x, x * (x + 3.0) / 6.0))


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by lambd, and 0 (with derivative 0) within lambd of it."""
    x = floating(input)
    return np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, _zero_or_nan(x)))


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """x, and 0 (with derivative 0) within lambd of 0."""
    x = floating(input)
    return np.where((x >= -lambd) & (x <= lambd), 0.0, x)


def _zero_or_nan(x: Any) -> Any:
    return np.where(np.isnan(x), stop_gradient(x), 0.0)


def threshold(input: Any, threshold: float, value: float) -> Any:
    """x above the threshold, else value."""
    x = floating(input)
    return np.where(x <= threshold, value, x)


def _axis(function: str, x: Any, dim: int | None) -> int:
    """torch's choice where dim is None: the last axis but for inputs of 0, 1 and 3 axes, where it
    is the first.
    """
    if dim is None:
        return 0 if x.ndim in (0, 1, 3) else 1
    if not -max(x.ndim, 1) <= dim < max(x.ndim, 1):
        raise ShapeError(f"{function}: dim={dim} is no axis of an input of shape {x.shape}")
    return dim


def _shifted(x: Any, axis: int) -> Any:
    """x less its maximum, which changes no softmax and keeps exp from overflow."""
    return x - stop_gradient(np.max(x, axis=axis, keepdims=True))


def softmax(input: Any, dim: int | None = None) -> Any:
    """exp(x) / sum(exp(x)) along `dim`. State dim: None follows torch's old rule (0 for 1 and 3
    axes, else 1).
    """
    x = floating(input)
    if not x.ndim:
        return x * 0.0 + 1.0
    axis = _axis("softmax", x, dim)
    powers = np.exp(_shifted(x, axis))
    return powers / np.sum(powers, axis=axis, keepdims=True)


def softmin(input: Any, dim: int | None = None) -> Any:
    """softmax(-x)."""
    return softmax(-floating(input), dim)


def log_softmax(input: Any, dim: int | None = None) -> Any:
    """log(softmax(x)) without loss of small probabilities."""
    x = floating(input)
    if not x.ndim:
        return x * 0.0
    axis = _axis("log_softmax", x, dim)
    shifted = _shifted(x, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def glu(input: Any, dim: int = -1) -> Any:
    """The first half along `dim` times the sigmoid of the second. (Dauphin et al. 2017)"""
    x = floating(input)
    axis = _axis("glu", x, dim)
    if not x.ndim or x.shape[axis] % 2:
        raise ShapeError(
            f"glu: the extent of axis {dim} of an input of shape {x.shape} must be even, to be "
            "halved"
        )
    first, second = np.split(x, 2, axis=axis)
    return first * sigmoid(second)
