"""NumPy's functions that move elements without computing: reshape, transpose, concatenate, pad, ...

Whatever NumPy can express as a permutation or a repetition of elements and has no primitive of its
own is done by `rearranged`: NumPy's function acts on the element numbers, and the result says which
element goes where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.dtypes import common
from backpass.errors import ShapeError, UnsupportedError
from backpass.ir import Operand, Value
from backpass.ops.operand import (
    Axis,
    axes_of,
    axis_of,
    broadcast_shape,
    cast_to,
    dtype_of,
    extent,
    operand,
    shape_of,
)
from backpass.ops.operand import (
    broadcast_to as stretch,
)
from backpass.prims import elementwise as el
from backpass.prims import shape as sh
from backpass.prims.index import gather
from backpass.tree import flatten as flatten_tree

Function = Callable[..., Any]


def size_of(x: Operand) -> int:
    """Number of elements."""
    return extent(shape_of(x), range(len(shape_of(x))))


def rearranged(x: Operand, move: Callable[[np.ndarray[Any, Any]], Any]) -> Operand:
    """The operand whose elements `move` has placed: move acts on an array of element numbers."""
    places = move(np.arange(size_of(x)).reshape(shape_of(x)))
    flat = sh.reshape(x, shape=(size_of(x),))
    return gather(flat, np.asarray(places))


def reshape(
    a: Any, shape: Any = None, order: str = "C", *, copy: Any = None, newshape: Any = None
) -> Operand:
    """Another shape for the same elements; one extent may be -1. `order` is "C" or "F"."""
    x = operand(a)
    wanted = _extents(newshape if shape is None else shape)
    if order not in ("C", "F", "A"):
        raise ValueError(f"reshape: order must be 'C', 'F' or 'A', not {order!r}")
    if order == "A" and len(shape_of(x)) > 1:
        raise UnsupportedError(
            "reshape: order='A' asks for the layout in memory, which traced arrays do not have; "
            "use order='C' or order='F'"
        )
    if order == "F":
        return transpose(sh.reshape(transpose(x), shape=_filled(x, wanted)[::-1]))
    return sh.reshape(x, shape=_filled(x, wanted))


def _extents(shape: Any) -> tuple[int, ...]:
    """A shape that may be given as one number."""
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(map(int, shape))


def _filled(x: Operand, shape: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with its -1 worked out."""
    if -1 not in shape:
        known = shape
    else:
        rest = extent(shape, [i for i, n in enumerate(shape) if n != -1])
        if shape.count(-1) > 1 or rest == 0 or size_of(x) % rest:
            raise ShapeError(f"cannot reshape array of size {size_of(x)} into shape {shape}")
        known = tuple([size_of(x) // rest if n == -1 else n for n in shape])
    if min(known, default=0) < 0 or extent(known, range(len(known))) != size_of(x):
        raise ShapeError(f"cannot reshape array of size {size_of(x)} into shape {shape}")
    return known


def ravel(a: Any, order: str = "C") -> Operand:
    """All elements in one axis."""
    return reshape(a, -1 if size_of(operand(a)) else 0, order)


def flatten(a: Any, order: str = "C") -> Operand:
    """All elements in one axis, in memory of their own."""
    return el.identity(operand(ravel(a, order)))


def transpose(a: Any, axes: Sequence[int] | None = None) -> Operand:
    """Axes permuted; reversed if `axes` is None."""
    x = operand(a)
    ndim = len(shape_of(x))
    order = tuple(range(ndim))[::-1] if axes is None else tuple([axis_of(x, i) for i in axes])
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"transpose: axes {axes} are not a permutation of {ndim} axes")
    return sh.transpose(x, order=order)


def matrix_transpose(a: Any, /) -> Operand:
    """The last two axes exchanged."""
    return swapaxes(a, -1, -2)


def moveaxis(a: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Operand:
    """Axes moved to new places, the others in their order."""
    x = operand(a)
    return sh.transpose(x, order=_order_after(x, lambda v: np.moveaxis(v, source, destination)))


def _order_after(x: Operand, move: Callable[[Any], Any]) -> tuple[int, ...]:
    """Which input axis each result axis is, read off a zero-size stand-in with distinct extents."""
    ndim = len(shape_of(x))
    stand_in = np.lib.stride_tricks.as_strided(np.zeros(1), tuple(range(1, ndim + 1)), (0,) * ndim)
    return tuple([n - 1 for n in move(stand_in).shape])


def swapaxes(a: Any, axis1: int, axis2: int) -> Operand:
    """Two axes exchanged."""
    x = operand(a)
    return sh.transpose(x, order=_order_after(x, lambda v: np.swapaxes(v, axis1, axis2)))


def rollaxis(a: Any, axis: int, start: int = 0) -> Operand:
    """np.rollaxis."""
    x = operand(a)
    return sh.transpose(x, order=_order_after(x, lambda v: np.rollaxis(v, axis, start)))


def _reshaped_like(function: Function) -> Function:
    """For functions that only add or drop extents of 1: NumPy says the shape, from a stand-in."""

    def reshaped(a: Any, *args: Any, **options: Any) -> Operand:
        x = operand(a)
        stand_in = np.lib.stride_tricks.as_strided(
            np.zeros(1), shape_of(x), (0,) * len(shape_of(x))
        )
        return sh.reshape(x, shape=function(stand_in, *args, **options).shape)

    return reshaped


expand_dims = _reshaped_like(np.expand_dims)
squeeze = _reshaped_like(np.squeeze)


def _at_least(ndim_function: Function) -> Function:
    one = _reshaped_like(ndim_function)

    def at_least(*arrays: Any) -> Any:
        found = tuple([one(a) for a in arrays])
        return found[0] if len(found) == 1 else found

    return at_least


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Operand:
    """array stretched to `shape`."""
    return stretch(operand(array), _extents(shape))


def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Operand, ...]:
    """All arrays stretched to their common shape."""
    xs = [operand(a) for a in args]
    shape = broadcast_shape("broadcast_arrays", *map(shape_of, xs))
    return tuple([stretch(x, shape) for x in xs])


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


atleast_1d = _at_least(np.atleast_1d)
atleast_2d = _at_least(np.atleast_2d)
atleast_3d = _at_least(np.atleast_3d)


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


def flip(m: Any, axis: Axis = None) -> Operand:
    """Elements in reverse order along axes."""
    x = operand(m)
    return sh.flip(x, axes=axes_of(x, axis))


def fliplr(m: Any) -> Operand:
    """Reversed along the second axis."""
    return flip(m, 1)


def flipud(m: Any) -> Operand:
    """Reversed along the first axis."""
    return flip(m, 0)


def _moved_by(function: Function) -> Function:
    def moved(a: Any, *args: Any, **options: Any) -> Operand:
        return rearranged(operand(a), lambda places: function(places, *args, **options))

    return moved


rot90 = _moved_by(np.rot90)


def tile(A: Any, reps: Any) -> Operand:
    """A repeated `reps` times along each axis."""
    return rearranged(operand(A), lambda places: np.tile(places, reps))


def pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Operand:
    """np.pad with modes constant, edge, reflect, symmetric, wrap and empty."""
    x = operand(array)
    if mode in ("edge", "reflect", "symmetric", "wrap"):
        return rearranged(x, lambda places: np.pad(places, pad_width, mode=mode, **options))
    if mode not in ("constant", "empty"):
        raise NotImplementedError(f"pad: mode {mode!r} is not supported on traced arrays")
    if any([type(v) is Value for v in flatten_tree(options)[0]]):
        raise UnsupportedError(
            "pad: a traced constant_values is not supported; pad with zeros, then use np.where"
        )
    frame = np.pad(np.zeros(shape_of(x), dtype_of(x)), pad_width, mode="constant", **options)
    place = np.pad(np.ones(shape_of(x), bool), pad_width, mode="constant")
    widths = _pad_widths(pad_width, len(shape_of(x)))
    inner = sh.pad(x, low=widths[0], high=widths[1], interior=(0,) * len(shape_of(x)))
    return el.select(place, inner, frame) if frame.any() or not np.isfinite(frame).all() else inner


def _pad_widths(pad_width: Any, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths before and after each axis, in all the forms that np.pad takes."""
    if isinstance(pad_width, dict):
        pairs = [pad_width.get(i, pad_width.get(i - ndim, (0, 0))) for i in range(ndim)]
        pairs = [(p, p) if isinstance(p, int) else tuple(p) for p in pairs]
    else:
        pairs = np.broadcast_to(np.asarray(pad_width), (ndim, 2)).tolist()
    return tuple([int(p[0]) for p in pairs]), tuple([int(p[1]) for p in pairs])


def copy(a: Any, order: str = "K", subok: bool = False) -> Operand:
    """The same elements in memory of their own."""
    return el.identity(operand(a))


FUNCTIONS: dict[Function, Function] = {
    np.reshape: reshape,
    np.ravel: ravel,
    np.transpose: transpose,
    np.permute_dims: transpose,
    np.matrix_transpose: matrix_transpose,
    np.moveaxis: moveaxis,
    np.swapaxes: swapaxes,
    np.rollaxis: rollaxis,
    np.expand_dims: expand_dims,
    np.squeeze: squeeze,
    np.atleast_1d: atleast_1d,
    np.atleast_2d: atleast_2d,
    np.atleast_3d: atleast_3d,
    np.broadcast_to: broadcast_to,
    np.broadcast_arrays: broadcast_arrays,
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
    np.flip: flip,
    np.fliplr: fliplr,
    np.flipud: flipud,
    np.rot90: rot90,
    np.roll: _moved_by(np.roll),
    np.repeat: _moved_by(np.repeat),
    np.tile: tile,
    np.resize: _moved_by(np.resize),
    np.pad: pad,
    np.copy: copy,
    np.linalg.matrix_transpose: matrix_transpose,
}


def _reshape_method(a: Any, *shape: Any, order: str = "C", copy: Any = None) -> Operand:
    return reshape(a, shape[0] if len(shape) == 1 else shape, order)


def _transpose_method(a: Any, *axes: Any) -> Operand:
    given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else (axes or None)
    return transpose(a, given)


def _copy_method(a: Any, order: str = "C") -> Operand:
    return copy(a)


METHODS: dict[str, Function] = {
    "reshape": _reshape_method,
    "ravel": ravel,
    "flatten": flatten,
    "transpose": _transpose_method,
    "swapaxes": swapaxes,
    "squeeze": squeeze,
    "repeat": _moved_by(np.repeat),
    "copy": _copy_method,
}
# Results of these share memory with their input in NumPy, where the strides allow it.
VIEWS: frozenset[Function] = frozenset(
    {
        reshape,
        ravel,
        transpose,
        matrix_transpose,
        moveaxis,
        swapaxes,
        rollaxis,
        expand_dims,
        squeeze,
        atleast_1d,
        atleast_2d,
        atleast_3d,
        broadcast_to,
        broadcast_arrays,
        array_split,
        split,
        hsplit,
        vsplit,
        dsplit,
        unstack,
        flip,
        fliplr,
        flipud,
        rot90,
        _reshape_method,
        _transpose_method,
    }
)
