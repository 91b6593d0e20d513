"""What the layers compute, as functions of their arrays: linear, embedding, dropout,
normalization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.errors import ConfigError, ShapeError, UnsupportedError
from backpass.nn.functional.values import floating, integers, rows, value
from backpass.nn.rng import RngState
from backpass.trace import Cell
from backpass.transforms import stop_gradient


def _called(x: Any, fallback: str) -> str:
    """How a message calls an array: by the name of its Cell if it has one."""
    return x.name if isinstance(x, Cell) and x.name else fallback


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """x @ weight.T + bias. input (..., in), weight (out, in), bias (out,) or None; gives (...,
    out).
    """
    x, w = floating(input), value(weight)
    if not x.ndim or x.shape[-1] != w.shape[1]:
        raise ShapeError(
            f"linear: the input {x.shape} should end in {w.shape[1]} features, as "
            f"{_called(weight, 'weight')} "
            f"{w.shape} takes"
        )
    product = x @ w.T
    return product if bias is None else product + value(bias)


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """x1 A_k x2 + b_k for each k. inputs (..., in1) and (..., in2), weight (out, in1, in2); gives
    (..., out).
    """
    a, b, w = floating(input1), floating(input2), value(weight)
    if a.shape[:-1] != b.shape[:-1] or (a.shape[-1:], b.shape[-1:]) != (w.shape[1:2], w.shape[2:]):
        raise ShapeError(
            f"bilinear: inputs {a.shape} and {b.shape} should be (..., {w.shape[1]}) and (..., "
            f"{w.shape[2]}), with "
            "equal leading axes"
        )
    product = np.einsum("...i,oij,...j->...o", a, w, b)
    return product if bias is None else product + value(bias)


def embedding(input: Any, weight: Any, padding_idx: int | None = None) -> Any:
    """Rows of weight (n, d) by integer index (...); gives (..., d). Row padding_idx gets no
    gradient.

    Raises:
        IndexError: an index is negative or at least n.
    """
    index, w = integers("embedding", input, "indices"), value(weight)
    count = w.shape[0]
    # NumPy would read a negative index from the end; sent past the end it raises, eager and
    # compiled.
    found = rows(w, np.where(index < 0, count, index))
    if padding_idx is None:
        return found
    row = padding_idx + count if padding_idx < 0 else padding_idx
    return np.where((index == row)[..., None], stop_gradient(found), found)


def dropout(
    input: Any, p: float = 0.5, training: bool = True, *, rng: RngState | None = None
) -> Any:
    """Each element 0 with probability p, else divided by 1 - p. The bits come from `rng`, which
    moves on; it may be None where nothing is dropped.

    Raises:
        ValueError: (ConfigError) p lies outside of [0, 1]; there is no `rng` to drop with.
    """
    check_probability("dropout", p)
    x = floating(input)
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    if rng is None:
        raise ConfigError(
            "dropout: it draws from a stream, which must belong to the model for a compiled step "
            "to advance it: in __init__ make self.dropout = nn.Dropout(p) and call that, or "
            "self.rng = nn.RngState() and give rng=self.rng"
        )
    dropped = rng.bernoulli(p, x.shape)
    return np.where(dropped, 0.0, x * (1.0 / (1.0 - p)))


def check_probability(function: str, p: float) -> None:
    """Raise ConfigError unless p lies in [0, 1]."""
    if not 0.0 <= p <= 1.0:
        raise ConfigError(f"{function}: p={p!r} is no probability; it must lie in [0, 1]")


def _last_axes(function: str, x: Any, normalized_shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(f"{function}: the input {x.shape} should end in {shape}")
    return tuple(range(-len(shape), 0))


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    scaled = x if weight is None else x * value(weight)
    return scaled if bias is None else scaled + value(bias)


def _standardized(x: Any, mean: Any, variance: Any, eps: float) -> Any:
    return (x - mean) / np.sqrt(variance + eps)


def layer_norm(
    input: Any,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / sqrt(var + eps) over the last axes, then weight and bias. (Ba, Kiros, Hinton
    2016)
    """
    x = floating(input)
    axes = _last_axes("layer_norm", x, normalized_shape)
    mean = np.mean(x, axis=axes, keepdims=True)
    variance = np.mean(np.square(x - mean), axis=axes, keepdims=True)
    return _affine(_standardized(x, mean, variance, eps), weight, bias)


def rms_norm(
    input: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Any:
    """x / sqrt(mean(x^2) + eps) over the last axes, then weight; eps=None is the dtype's epsilon.

    (Zhang and Sennrich 2019)
    """
    x = floating(input)
    axes = _last_axes("rms_norm", x, normalized_shape)
    small = float(np.finfo(x.dtype).eps) if eps is None else eps
    scale = np.sqrt(np.mean(np.square(x), axis=axes, keepdims=True) + small)
    return _affine(x / scale, weight, None)


def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Normalization over each of num_groups groups of channels (axis 1) and all later axes. (Wu and
    He 2018)
    """
    x = floating(input)
    if x.ndim < 2 or x.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: axis 1 of an input of shape {x.shape} does not divide into "
            f"{num_groups} groups"
        )
    grouped = x.reshape((x.shape[0], num_groups, -1))
    mean = np.mean(grouped, axis=2, keepdims=True)
    variance = np.mean(np.square(grouped - mean), axis=2, keepdims=True)
    normal = _standardized(grouped, mean, variance, eps).reshape(x.shape)
    return _affine(normal, *[_per_channel(v, x.ndim) for v in (weight, bias)])


def _per_channel(x: Any, ndim: int) -> Any:
    """An array over channels in the place of axis 1 of ndim."""
    return None if x is None else value(x).reshape((-1,) + (1,) * (ndim - 2))


def batch_norm(
    input: Any,
    running_mean: Cell | None,
    running_var: Cell | None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Normalization of each channel (axis 1) over the batch and later axes. (Ioffe and Szegedy
    2015)

    In training the statistics are the batch's, and running_mean and running_var, where given, are
    moved towards them by `momentum` (the variance in its unbiased form); else the running ones are
    used.

    Raises:
        ValueError: (ShapeError) training with one value per channel.
    """
    x = floating(input)
    axes = tuple([i for i in range(x.ndim) if i != 1])
    if not training:
        if running_mean is None or running_var is None:
            raise UnsupportedError("batch_norm: evaluation needs running_mean and running_var")
        mean, variance = (_per_channel(v, x.ndim) for v in (running_mean, running_var))
    else:
        count = int(np.prod([x.shape[i] for i in axes], dtype=int))
        if count <= 1:
            raise ShapeError(
                "batch_norm: training needs more than one value per channel, the input is "
                f"{x.shape}; use a larger "
                "batch, drop the last incomplete one, or call model.eval()"
            )
        mean = np.mean(x, axis=axes, keepdims=True)
        variance = np.mean(np.square(x - mean), axis=axes, keepdims=True)
        _move(running_mean, mean, momentum)
        _move(running_var, variance * (count / (count - 1)), momentum)
    normal = _standardized(x, mean, variance, eps)
    return _affine(normal, *[_per_channel(v, x.ndim) for v in (weight, bias)])


def _move(running: Cell | None, batch: Any, momentum: Any) -> None:
    """An exponential moving average, kept in its Cell."""
    if running is not None:
        new = stop_gradient(batch).reshape(running.shape)
        running.write(running.read() * (1.0 - momentum) + new * momentum)
