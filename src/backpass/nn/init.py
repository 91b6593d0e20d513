"""Initial values of Parameters, written in place: torch.nn.init's names, defaults and
distributions, and LeCun's.

Each function takes a Parameter (or any Cell, or a NumPy array) and a `generator`, a
`numpy.random.Generator`; without one it takes the next stream of the process-wide sequence
(`nn.manual_seed`). It returns what it was given.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backpass.errors import ConfigError, ShapeError
from backpass.nn.rng import default_generator
from backpass.trace import Cell

Random = np.random.Generator | None


def _write(tensor: Any, array: Any) -> Any:
    """Put an array into a Cell or an array, in its own dtype."""
    if isinstance(tensor, Cell):
        tensor.write(np.asarray(array, tensor.dtype))
    else:
        np.copyto(tensor, array, casting="same_kind")
    return tensor


def _drawn(generator: Random) -> np.random.Generator:
    return default_generator() if generator is None else generator


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of one unit of a weight (out, in, *kernel).

    Raises:
        ValueError: (ShapeError) fewer than two axes.
    """
    if len(shape) < 2:
        raise ShapeError(f"fan in and fan out need at least two axes, the shape is {shape}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through an activation; `param` is leaky_relu's slope.

    >>> calculate_gain("tanh") == 5 / 3
    True
    """
    gains = {"tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
    linear = ("linear", "conv1d", "conv2d", "conv3d", "sigmoid")
    if nonlinearity in linear or nonlinearity in gains:
        return gains.get(nonlinearity, 1.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1.0 + slope**2))
    raise ConfigError(
        f"calculate_gain: {nonlinearity!r} is not one of "
        f"{', '.join([*linear, *gains, 'leaky_relu'])}"
    )


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Random = None) -> Any:
    """Uniform on [a, b)."""
    return _write(tensor, _drawn(generator).uniform(a, b, tensor.shape))


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Random = None) -> Any:
    """Normal."""
    return _write(tensor, _drawn(generator).normal(mean, std, tensor.shape))


def constant_(tensor: Any, val: float) -> Any:
    """One number everywhere."""
    return _write(tensor, np.broadcast_to(np.asarray(val, tensor.dtype), tensor.shape))


def zeros_(tensor: Any) -> Any:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Any) -> Any:
    """Ones."""
    return constant_(tensor, 1.0)


def eye_(tensor: Any) -> Any:
    """The identity matrix."""
    if len(tensor.shape) != 2:
        raise ShapeError(f"eye_: the tensor must have two axes, its shape is {tensor.shape}")
    return _write(tensor, np.eye(*tensor.shape, dtype=tensor.dtype))


def trunc_normal_(
    tensor: Any,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Random = None,
) -> Any:
    """Normal, drawn again where outside of [a, b] (absolute bounds, as torch has them).

    Raises:
        ValueError: (ConfigError) less than 1 % of the distribution lies within the bounds.
    """
    low, high = (math.erf((bound - mean) / (std * math.sqrt(2.0))) / 2.0 for bound in (a, b))
    if high - low < 0.01:
        raise ConfigError(
            f"trunc_normal_: [{a}, {b}] holds {high - low:.2g} of a normal with mean {mean} and "
            f"std {std}; widen it"
        )
    random = _drawn(generator)
    flat = random.normal(mean, std, math.prod(tensor.shape))
    outside = np.flatnonzero((flat < a) | (flat > b))
    while outside.size:
        flat[outside] = random.normal(mean, std, outside.size)
        outside = outside[(flat[outside] < a) | (flat[outside] > b)]
    return _write(tensor, flat.reshape(tensor.shape))


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Random = None) -> Any:
    """Uniform with variance gain^2 * 2 / (fan_in + fan_out). (Glorot and Bengio 2010)"""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor.shape)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Random = None) -> Any:
    """Normal with variance gain^2 * 2 / (fan_in + fan_out). (Glorot and Bengio 2010)"""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor.shape))), generator)


def _kaiming_std(tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ConfigError(f"kaiming: mode={mode!r} is not one of 'fan_in', 'fan_out'")
    fan = fans(tensor.shape)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: Any,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Random = None,
) -> Any:
    """Uniform with variance gain^2 / fan; `a` is the slope of leaky_relu. (He et al. 2015)"""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Any,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Random = None,
) -> Any:
    """Normal with variance gain^2 / fan; `a` is the slope of leaky_relu. (He et al. 2015)"""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def lecun_uniform_(tensor: Any, generator: Random = None) -> Any:
    """Uniform with variance 1 / fan_in. (LeCun et al. 1998)"""
    bound = math.sqrt(3.0 / max(fans(tensor.shape)[0], 1))
    return uniform_(tensor, -bound, bound, generator)


def lecun_normal_(tensor: Any, generator: Random = None) -> Any:
    """Normal (not truncated) with variance 1 / fan_in. (LeCun et al. 1998; for SELU, Klambauer et
    al. 2017)
    """
    return normal_(tensor, 0.0, 1.0 / math.sqrt(max(fans(tensor.shape)[0], 1)), generator)


def orthogonal_(tensor: Any, gain: float = 1.0, generator: Random = None) -> Any:
    """Rows (or columns, whichever are fewer) orthonormal, times gain; axes after the first are
    taken together.

    (Saxe, McClelland, Ganguli 2013; the signs make it uniform: Mezzadri 2007.)
    """
    if len(tensor.shape) < 2:
        raise ShapeError(f"orthogonal_: at least two axes are needed, the shape is {tensor.shape}")
    rows = tensor.shape[0]
    columns = math.prod(tensor.shape[1:])
    flat = _drawn(generator).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(flat)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return _write(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Random = None) -> Any:
    """Normal, with a share `sparsity` of each column zero, rounded up. (Martens 2010)"""
    if len(tensor.shape) != 2:
        raise ShapeError(f"sparse_: the tensor must have two axes, its shape is {tensor.shape}")
    random = _drawn(generator)
    dense = random.normal(0.0, std, tensor.shape)
    count = math.ceil(sparsity * tensor.shape[0])
    places = np.argsort(random.random(tensor.shape), axis=0)[:count]
    np.put_along_axis(dense, places, 0.0, axis=0)
    return _write(tensor, dense)
