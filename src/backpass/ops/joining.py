"""NumPy's functions that join arrays and cut them: concatenate, stack, block, split, unstack, ...

Joined arrays are cast to their common dtype first, as NumPy does. Pieces are slices, so they share
memory with what they were cut from (see `VIEWS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.dtypes import common
from backpass.errors import ShapeError
from backpass.ir import Operand
from backpass.ops.operand import axis_of, cast_to, operand, shape_of
from backpass.ops.shape import atleast_1d, atleast_2d, atleast_3d, expand_dims, ravel, reshape
from backpass.prims import shape as sh

Function = Callable[..., Any]


def _together(arrays: Sequence[Any]) -> list[Operand]:
    """Operands of one dtype."""
    if not len(arrays):
        raise ValueError("need at least one array")
    xs = [operand(a) for a in arrays]
    dtype = common(*xs)
    return [cast_to(x, dtype) for x in xs]


def concatenate(
    arrays: Sequence[Any],
    axis: int | None = 0,
    out: None = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Operand:
    """Arrays joined along an axis; axis=None joins their elements."""
    xs = _together(arrays)
    if axis is None:
        xs = [ravel(x) for x in xs]
    ndims = {len(shape_of(x)) for x in xs}
    if len(ndims) > 1 or 0 in ndims:
        raise ShapeError(
            f"concatenate: shapes {[shape_of(x) for x in xs]} must have one and the same number "
            "of axes"
        )
    joined = sh.concatenate(*xs, axis=0 if axis is None else axis_of(xs[0], axis))
    return joined if dtype is None else cast_to(joined, np.dtype(dtype))


def stack(
    arrays: Sequence[Any], axis: int = 0, out: None = None, *, dtype: Any = None, casting: str = ""
) -> Operand:
    """Arrays of one shape joined along a new axis."""
    xs = _together(list(arrays))
    shapes = {shape_of(x) for x in xs}
    if len(shapes) > 1:
        raise ShapeError(
            f"stack: all arrays must have the same shape, got {[shape_of(x) for x in xs]}"
        )
    return concatenate([expand_dims(x, axis) for x in xs], axis, dtype=dtype)


def vstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "") -> Operand:
    """Joined along the first axis, after making each at least two-dimensional."""
    return concatenate([atleast_2d(a) for a in tup], 0, dtype=dtype)


def hstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "") -> Operand:
    """Joined along the second axis, or the first for vectors."""
    xs = [atleast_1d(a) for a in tup]
    return concatenate(xs, 0 if len(shape_of(xs[0])) == 1 else 1, dtype=dtype)


def dstack(tup: Sequence[Any]) -> Operand:
    """Joined along the third axis."""
    return concatenate([atleast_3d(a) for a in tup], 2)


def column_stack(tup: Sequence[Any]) -> Operand:
    """Vectors as the columns of a matrix."""
    xs = [operand(a) for a in tup]
    return concatenate([reshape(x, (-1, 1)) if len(shape_of(x)) < 2 else x for x in xs], 1)


def block(arrays: Any) -> Operand:
    """np.block: nested lists, the innermost joined along the last axis."""
    depth, level = 0, arrays
    while isinstance(level, list):
        if not level:
            raise ValueError("block: empty list")
        depth, level = depth + 1, level[0]
    ndim = max(depth, _largest_ndim(arrays))
    return _joined_block(arrays, depth, ndim)


def _largest_ndim(arrays: Any) -> int:
    if isinstance(arrays, list):
        return max([_largest_ndim(a) for a in arrays])
    return len(shape_of(operand(arrays)))


def _joined_block(arrays: Any, depth: int, ndim: int) -> Operand:
    if depth == 0:
        x = operand(arrays)
        return reshape(x, (1,) * (ndim - len(shape_of(x))) + shape_of(x))
    return concatenate([_joined_block(a, depth - 1, ndim) for a in arrays], -depth)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Operand]:
    """Cut along an axis, at indices or into nearly equal sections."""
    return _cut(np.array_split, ary, indices_or_sections, axis)


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Operand]:
    """Cut along an axis, at indices or into equal sections."""
    return _cut(np.split, ary, indices_or_sections, axis)


def _cut(function: Function, ary: Any, sections: Any, axis: int) -> list[Operand]:
    x = operand(ary)
    own, shape = axis_of(x, axis), shape_of(x)
    pieces = function(np.arange(shape[own]), sections)
    cut = []
    for piece in pieces:
        start = int(piece[0]) if len(piece) else 0
        cut.append(sh.take_range(x, own, start, start + len(piece), shape))
    return cut


def hsplit(ary: Any, indices_or_sections: Any) -> list[Operand]:
    """Cut along the second axis, or the first for vectors."""
    return split(ary, indices_or_sections, 0 if len(shape_of(operand(ary))) == 1 else 1)


def vsplit(ary: Any, indices_or_sections: Any) -> list[Operand]:
    """Cut along the first axis."""
    return split(ary, indices_or_sections, 0)


def dsplit(ary: Any, indices_or_sections: Any) -> list[Operand]:
    """Cut along the third axis."""
    return split(ary, indices_or_sections, 2)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Operand, ...]:
    """The parts along an axis, without it."""
    own = operand(x)
    at, shape = axis_of(own, axis), shape_of(own)
    rest = tuple([n for i, n in enumerate(shape) if i != at])
    return tuple(
        [sh.reshape(sh.take_range(own, at, i, i + 1, shape), shape=rest) for i in range(shape[at])]
    )


FUNCTIONS: dict[Function, Function] = {
    np.concatenate: concatenate,
    np.concat: concatenate,
    np.stack: stack,
    np.vstack: vstack,
    np.hstack: hstack,
    np.dstack: dstack,
    np.column_stack: column_stack,
    np.block: block,
    np.array_split: array_split,
    np.split: split,
    np.hsplit: hsplit,
    np.vsplit: vsplit,
    np.dsplit: dsplit,
    np.unstack: unstack,
}
# Results of these share memory with their input in NumPy.
VIEWS: frozenset[Function] = frozenset({array_split, split, hsplit, vsplit, dsplit, unstack})
