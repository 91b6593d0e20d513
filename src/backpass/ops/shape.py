"""NumPy's functions that move elements without computing: reshape, transpose, flip, tile, pad, ...

Whatever NumPy can express as a permutation or a repetition of elements and has no primitive of its
own is done by `rearranged`: NumPy's function acts on the element numbers, and the result says which
element goes where. What joins and cuts arrays is in `ops/joining.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.errors import ShapeError, TracingError, UnsupportedError
from backpass.ir import Operand, Value
from backpass.ir.graph import user_line
from backpass.ops.operand import (
    Axis,
    axes_of,
    axis_of,
    broadcast_shape,
    dtype_of,
    extent,
    operand,
    shape_of,
    stand_in,
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
    one = isinstance(shape, (int, np.integer, Value))
    return tuple([_extent(n) for n in ((shape,) if one else shape)])


def _extent(n: Any) -> int:
    if not isinstance(n, Value):
        return int(n)
    if n.array is None:
        raise TracingError(
            f"an extent of a shape is a traced value at {user_line()}, but jit compiles for fixed "
            "shapes: name its argument in static_argnums, or take it from x.shape"
        )
    return int(n.array)


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
    distinct = tuple(range(1, len(shape_of(x)) + 1))
    return tuple([n - 1 for n in move(stand_in(distinct)).shape])


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
        shape = function(stand_in(shape_of(x)), *args, **options).shape
        return sh.reshape(x, shape=shape)

    return reshaped


expand_dims = _reshaped_like(np.expand_dims)
squeeze = _reshaped_like(np.squeeze)


def _at_least(ndim_function: Function) -> Function:
    one = _reshaped_like(ndim_function)

    def at_least(*arrays: Any) -> Any:
        found = tuple([one(a) for a in arrays])
        return found[0] if len(found) == 1 else found

    return at_least


atleast_1d = _at_least(np.atleast_1d)
atleast_2d = _at_least(np.atleast_2d)
atleast_3d = _at_least(np.atleast_3d)


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Operand:
    """array stretched to `shape`."""
    return stretch(operand(array), _extents(shape))


def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Operand, ...]:
    """All arrays stretched to their common shape."""
    xs = [operand(a) for a in args]
    shape = broadcast_shape("broadcast_arrays", *map(shape_of, xs))
    return tuple([stretch(x, shape) for x in xs])


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


def by_places(function: Function) -> Function:
    """NumPy's function that only moves elements, to places which depend on shapes alone."""

    def moved(a: Any, *args: Any, **options: Any) -> Operand:
        return rearranged(operand(a), lambda places: function(places, *args, **options))

    return moved


rot90 = by_places(np.rot90)


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
    np.flip: flip,
    np.fliplr: fliplr,
    np.flipud: flipud,
    np.rot90: rot90,
    np.roll: by_places(np.roll),
    np.repeat: by_places(np.repeat),
    np.tile: tile,
    np.resize: by_places(np.resize),
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
    "repeat": by_places(np.repeat),
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
        flip,
        fliplr,
        flipud,
        rot90,
        _reshape_method,
        _transpose_method,
    }
)
