"""Arrays put together from elements of others: insert, append, choose, compress, meshgrid, ...

Most read x at places that shapes alone decide: NumPy's own function is applied to an array of
element numbers, and one gather reads there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.dtypes import common
from backpass.errors import UnsupportedError
from backpass.ir import Operand, Value
from backpass.ops.elementwise import clip
from backpass.ops.indexing import getitem, take_along_axis
from backpass.ops.joining import concatenate, stack
from backpass.ops.operand import broadcast_shape, broadcast_to, cast_to, dtype_of, operand, shape_of
from backpass.ops.shape import broadcast_arrays, by_places, ravel, reshape, size_of
from backpass.ops.ufuncs import ufunc
from backpass.prims.index import gather

Function = Callable[..., Any]


def append(arr: Any, values: Any, axis: int | None = None) -> Operand:
    """values after arr along an axis; both flattened for None."""
    if axis is None:
        return concatenate([ravel(arr), ravel(values)])
    return concatenate([arr, values], axis)


def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Operand:
    """values put before the places `obj` along an axis."""
    x = operand(arr)
    v = cast_to(operand(values), dtype_of(x))
    if isinstance(obj, Value):
        raise UnsupportedError("insert: the places must not be traced; they decide where data is")
    count = size_of(x)
    own = np.arange(count).reshape(shape_of(x))
    new = np.arange(count, count + size_of(v)).reshape(shape_of(v))
    places = np.insert(own, obj, new, axis)
    return gather(concatenate([ravel(x), ravel(v)]), places)


def compress(condition: Any, a: Any, axis: int | None = None, out: None = None) -> Operand:
    """The slices of a along an axis where the condition, whose values must be known, holds."""
    x = ravel(a) if axis is None else operand(a)
    own = 0 if axis is None else np.lib.array_utils.normalize_axis_index(axis, len(shape_of(x)))
    kept = cast_to(operand(condition), np.dtype(np.bool_))
    n = shape_of(x)[own]
    missing = n - shape_of(kept)[0]
    if missing > 0:
        kept = concatenate([kept, np.zeros(missing, np.bool_)])
    return getitem(x, (*[slice(None)] * own, kept))


def extract(condition: Any, arr: Any) -> Operand:
    """The elements of arr where the condition, whose values must be known, holds."""
    return getitem(ravel(arr), cast_to(ravel(condition), np.dtype(np.bool_)))


def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Operand:
    """From several arrays, the element of the one whose number is in a."""
    numbers = operand(a)
    given = list(choices) if isinstance(choices, (list, tuple)) else None
    if given is None:
        table = operand(choices)
        given = [getitem(table, i) for i in range(shape_of(table)[0])]
    xs = [operand(c) for c in given]
    dtype = common(*xs)
    shape = broadcast_shape("choose", shape_of(numbers), *map(shape_of, xs))
    stacked = stack([broadcast_to(cast_to(x, dtype), shape) for x in xs])
    numbers = cast_to(broadcast_to(numbers, shape), np.dtype(np.intp))
    known = numbers.array if isinstance(numbers, Value) else numbers
    if mode == "wrap":
        numbers = operand(ufunc(np.remainder, numbers, len(xs)))
    elif mode == "clip":
        numbers = clip(numbers, 0, len(xs) - 1)
    elif known is not None and known.size and (known.min() < 0 or known.max() >= len(xs)):
        raise ValueError(f"choose: a has entries outside of 0..{len(xs) - 1}; see mode=")
    picked = take_along_axis(stacked, reshape(numbers, (1, *shape)), 0)
    return reshape(picked, shape)


def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Operand, ...]:
    """Coordinate arrays from vectors."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', not {indexing!r}")
    ndim = len(xi)
    order = list(range(ndim))
    if indexing == "xy" and ndim > 1:
        order[:2] = [1, 0]
    found = []
    for i, x in enumerate(xi):
        shape = [1] * ndim
        shape[order[i]] = -1 if size_of(operand(x)) else 0
        found.append(reshape(x, shape))
    return tuple(found) if sparse else broadcast_arrays(*found)


def ix(*args: Any) -> tuple[Operand, ...]:
    """Index vectors shaped to address a block; masks must have known values."""
    found: list[Operand] = []
    for i, x in enumerate(args):
        own = operand(x)
        if len(shape_of(own)) != 1:
            raise ValueError("Cross index must be 1 dimensional")
        if dtype_of(own).kind == "b":
            own = getitem(np.arange(shape_of(own)[0]), own)
        shape = [1] * len(args)
        shape[i] = shape_of(own)[0]
        found.append(reshape(own, shape))
    return tuple(found)


FUNCTIONS: dict[Function, Function] = {
    np.append: append,
    np.insert: insert,
    np.compress: compress,
    np.extract: extract,
    np.choose: choose,
    np.meshgrid: meshgrid,
    np.ix_: ix,
    np.fft.fftshift: by_places(np.fft.fftshift),
    np.fft.ifftshift: by_places(np.fft.ifftshift),
    np.lib.stride_tricks.sliding_window_view: by_places(np.lib.stride_tricks.sliding_window_view),
}


def _compress_method(a: Any, condition: Any, axis: int | None = None) -> Operand:
    return compress(condition, a, axis)


METHODS: dict[str, Function] = {"compress": _compress_method, "choose": choose}
