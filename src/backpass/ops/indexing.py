"""x[index] and x[index] = v with NumPy's whole index language, and take, diag, tril, ... on it.

An index is first split by `index_parts`: the basic part becomes slice, flip and reshape, the
advanced part one gather over the axes it addresses, brought to the front. `x[mask] = v` with a
scalar v works with any mask, x[mask] with concrete ones only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.ir import Operand, Value, type_of
from backpass.ops.index_parts import Advanced, Basic, Ints, read_index
from backpass.ops.operand import (
    axis_of,
    broadcast_to,
    cast_to,
    dtype_of,
    operand,
    operand_of,
    shape_of,
)
from backpass.ops.shape import by_places, reshape
from backpass.prims import elementwise as el
from backpass.prims import shape as sh
from backpass.prims.index import gather, scatter_add, scatter_set

Function = Callable[..., Any]


def _basic(x: Operand, b: Basic) -> Operand:
    shape = shape_of(x)
    if b.starts != (0,) * len(shape) or b.stops != shape or any([s != 1 for s in b.steps]):
        x = sh.slice_(x, starts=b.starts, stops=b.stops, steps=b.steps)
    if b.flips:
        x = sh.flip(x, axes=b.flips)
    return x if shape_of(x) == b.shape else sh.reshape(x, shape=b.shape)


def _front_order(ndim: int, axes: Ints) -> Ints:
    return (*axes, *[i for i in range(ndim) if i not in axes])


def getitem(a: Any, index: Any) -> Operand:
    """a[index]. An index out of range raises IndexError."""
    x = operand(a)
    basic, advanced = read_index(index, shape_of(x))
    x = _basic(x, basic)
    if advanced is None:
        return x
    ndim, depth = len(shape_of(x)), len(shape_of(advanced.arrays[0]))
    order = _front_order(ndim, advanced.axes)
    x = x if order == tuple(range(ndim)) else sh.transpose(x, order=order)
    y = gather(x, *advanced.arrays)
    if advanced.position == 0:
        return y
    return sh.transpose(y, order=_placed(len(shape_of(y)), depth, advanced.position))


def _placed(ndim: int, depth: int, position: int) -> Ints:
    """The order that moves the first `depth` axes behind `position` others."""
    rest = list(range(depth, ndim))
    return tuple(rest[:position] + list(range(depth)) + rest[position:])


def setitem(a: Any, index: Any, value: Any) -> Operand:
    """a with a[index] replaced by value, which is broadcast and cast to a's dtype as NumPy does."""
    x = operand(a)
    v = operand_of(value, dtype_of(x))
    if _is_whole_mask(index, shape_of(x)) and len(shape_of(v)) == 0:
        mask = broadcast_to(sh.reshape(operand(index), shape=_mask_shape(index, x)), shape_of(x))
        return el.select(mask, broadcast_to(v, shape_of(x)), x)
    basic, advanced = read_index(index, shape_of(x))
    if advanced is None:
        return _set_basic(x, basic, v)
    target = _basic(x, basic)
    changed = _set_advanced(target, advanced, v)
    return changed if target is x else _set_basic(x, basic, changed)


def _is_whole_mask(index: Any, shape: Ints) -> bool:
    if not isinstance(index, (np.ndarray, Value)) or index.dtype != np.bool_:
        return False
    return index.shape == shape[: len(index.shape)]


def _mask_shape(index: Any, x: Operand) -> Ints:
    own = type_of(index).shape
    return own + (1,) * (len(shape_of(x)) - len(own))


def _set_basic(x: Operand, b: Basic, v: Operand) -> Operand:
    place = tuple([len(range(s, e, t)) for s, e, t in zip(b.starts, b.stops, b.steps, strict=True)])
    while len(shape_of(v)) > len(b.shape) and shape_of(v)[0] == 1:
        v = sh.reshape(v, shape=shape_of(v)[1:])
    v = reshape(broadcast_to(v, b.shape), place)
    if b.flips:
        v = sh.flip(v, axes=b.flips)
    if shape_of(v) == shape_of(x):
        return el.identity(v)
    return sh.slice_set(x, v, starts=b.starts, stops=b.stops, steps=b.steps)


def _set_advanced(x: Operand, advanced: Advanced, v: Operand) -> Operand:
    ndim, depth = len(shape_of(x)), len(shape_of(advanced.arrays[0]))
    order = _front_order(ndim, advanced.axes)
    fronted = sh.transpose(x, order=order)
    chosen = (*shape_of(advanced.arrays[0]), *shape_of(fronted)[len(advanced.axes) :])
    placed = _placed(len(chosen), depth, advanced.position)
    v = broadcast_to(v, tuple([chosen[i] for i in placed]))
    v = sh.transpose(v, order=tuple([placed.index(i) for i in range(len(chosen))]))
    changed = scatter_set(fronted, v, *advanced.arrays)
    return sh.transpose(changed, order=tuple([order.index(i) for i in range(ndim)]))


def add_at(a: Any, index: Any, value: Any, *, negate: bool = False) -> Operand:
    """a with value added at a[index], once for every time an element is named."""
    x = operand(a)
    places = getitem(np.arange(type_of(x).size).reshape(shape_of(x)), index)
    v = broadcast_to(cast_to(operand(value), dtype_of(x)), shape_of(places))
    total = reshape(scatter_add(v, places, shape=(type_of(x).size,)), shape_of(x))
    return el.sub(x, total) if negate else el.add(x, total)


def take(
    a: Any, indices: Any, axis: int | None = None, out: None = None, mode: str = "raise"
) -> Operand:
    """Elements along an axis by their numbers. mode is "raise", "wrap" or "clip"."""
    x = operand(a)
    if axis is None:
        x = reshape(x, -1)
    own = 0 if axis is None else axis_of(x, axis)
    numbers = operand(
        indices if np.size(indices) or type(indices) is Value else np.asarray(indices, np.intp)
    )
    n = shape_of(x)[own]
    if n == 0 and 0 not in shape_of(numbers):
        raise IndexError("cannot do a non-empty take from an empty axes.")  # NumPy's words
    if mode == "wrap":
        numbers = el.remainder(
            numbers, np.broadcast_to(np.asarray(n, dtype_of(numbers)), shape_of(numbers))
        )
    elif mode == "clip":
        limits = [
            np.broadcast_to(np.asarray(v, dtype_of(numbers)), shape_of(numbers)) for v in (0, n - 1)
        ]
        numbers = el.minimum(el.maximum(numbers, limits[0]), limits[1])
    index: tuple[Any, ...] = (*[slice(None)] * own, numbers)
    return getitem(x, index)


def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Operand:
    """Elements along an axis, with an index array of x's shape outside of that axis."""
    x, numbers = operand(arr), operand(indices)
    if axis is None:
        return getitem(reshape(x, -1), numbers)
    own = axis_of(x, axis)
    shape = list(shape_of(numbers))
    grid: list[Any] = []
    for i in range(len(shape)):
        if i == own:
            grid.append(numbers)
        else:
            n = shape_of(x)[i]
            grid.append(np.arange(n).reshape([n if j == i else 1 for j in range(len(shape))]))
    return getitem(x, tuple(grid))


def _triangle(function: Function) -> Function:
    def masked(m: Any, k: int = 0) -> Operand:
        x = operand(m)
        mask = function(np.ones(shape_of(x), bool), k)
        x = broadcast_to(x, mask.shape)
        return el.select(mask, x, np.broadcast_to(np.zeros((), dtype_of(x)), mask.shape))

    return masked


def diag(v: Any, k: int = 0) -> Operand:
    """The diagonal of a matrix, or a matrix with v on its diagonal."""
    x = operand(v)
    if len(shape_of(x)) == 2:
        return diagonal(x, k)
    if len(shape_of(x)) != 1:
        raise ValueError(f"diag: input must be 1- or 2-dimensional, not {shape_of(x)}")
    n = shape_of(x)[0] + abs(k)
    rows = np.arange(shape_of(x)[0]) + max(-k, 0)
    return setitem(np.zeros((n, n), dtype_of(x)), (rows, rows + k), x)


diagonal = by_places(np.diagonal)


def diagflat(v: Any, k: int = 0) -> Operand:
    """A matrix with the elements of v on its diagonal."""
    return diag(reshape(v, -1), k)


def delete(arr: Any, obj: Any, axis: int | None = None) -> Operand:
    """arr without some of its elements along an axis."""
    x = operand(arr)
    if axis is None:
        x, axis = reshape(x, -1), 0
    return take(x, np.delete(np.arange(shape_of(x)[axis_of(x, axis)]), obj), axis)


def _stacked_diagonal(x: Any, /, *, offset: int = 0) -> Operand:
    """The diagonals of matrices in the last two axes."""
    return diagonal(x, offset, -2, -1)


DIAGONALS: frozenset[Function] = frozenset({diagonal, _stacked_diagonal})
FUNCTIONS: dict[Function, Function] = {
    np.take: take,
    np.take_along_axis: take_along_axis,
    np.diag: diag,
    np.diagflat: diagflat,
    np.diagonal: diagonal,
    np.linalg.diagonal: _stacked_diagonal,
    np.tril: _triangle(np.tril),
    np.triu: _triangle(np.triu),
    np.delete: delete,
}
METHODS: dict[str, Function] = {
    "take": take,
    "diagonal": diagonal,
}
