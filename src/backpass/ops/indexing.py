"""x[index] and x[index] = v with NumPy's whole index language, and take, diag, tril, ... on it.

An index is first split: basic parts (integers, slices, None, ...) become slice, flip and reshape;
index arrays and masks become one gather over the axes they address, brought to the front. Masks
must be concrete, because the shape of x[mask] depends on them; `x[mask] = v` with a scalar v works
with any mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.errors import TracingError
from backpass.ir import Operand, Value, type_of
from backpass.ops.operand import (
    axis_of,
    broadcast_to,
    cast_to,
    common_shape,
    dtype_of,
    operand,
    shape_of,
)
from backpass.ops.shape import by_places, reshape
from backpass.prims import elementwise as el
from backpass.prims import shape as sh
from backpass.prims.index import gather, scatter_add, scatter_set

Function = Callable[..., Any]
Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Basic:
    """The basic part of an index, over the axes of x: a slice, then a flip, then a shape."""

    starts: Ints
    stops: Ints
    steps: Ints
    flips: Ints
    shape: Ints


@dataclass(frozen=True, slots=True)
class Advanced:
    """The index arrays, the axes (of the basic result) they address, and where their shape goes."""

    arrays: tuple[Operand, ...]
    axes: Ints
    position: int


def _is_array_index(part: Any) -> bool:
    return (
        isinstance(part, (np.ndarray, Value, list, tuple))
        or (isinstance(part, np.generic) and part.dtype.kind == "b")
        or isinstance(part, bool)
    )


def _is_scalar_mask(part: Any) -> bool:
    """Whether an index is one truth value, which addresses a new axis instead of one of x's."""
    if isinstance(part, bool):
        return True
    return not getattr(part, "shape", (0,)) and part.dtype == np.bool_


def _as_index_array(part: Any, shape: Ints, axis: int) -> list[Operand]:
    """One index array, or as many as a mask has axes."""
    array = operand(
        np.asarray(part, dtype=np.intp)
        if isinstance(part, (list, tuple)) and not len(part)
        else part
    )
    kind = dtype_of(array).kind
    if kind == "b":
        if type(array) is Value:
            if array.array is None:
                raise TracingError(
                    "x[mask] has a shape that depends on the values of mask, which jit and vmap do "
                    "not know; use np.where(mask, x, other) instead"
                )
            array = array.array
        mask = np.asarray(array)
        if not mask.ndim:  # True takes the one element of a new axis, False none
            return [np.zeros(int(mask), np.intp)]
        expected = shape[axis : axis + mask.ndim]
        if mask.shape != expected:
            raise IndexError(
                f"boolean index of shape {mask.shape} does not match axes {expected} of the array"
            )
        return list(np.nonzero(mask))
    if kind not in "iu":
        raise IndexError(
            f"arrays used as indices must be of integer or boolean type, not {dtype_of(array)}"
        )
    return [array]


def _expanded(index: Any, ndim: int) -> list[Any]:
    """The index as a list with its Ellipsis filled in by full slices."""
    parts = list(index) if isinstance(index, tuple) else [index]
    used = 0
    for part in parts:
        if part is None or part is Ellipsis:
            continue
        is_mask = (
            _is_array_index(part)
            and getattr(np.asarray(part) if isinstance(part, (list, bool)) else part, "dtype", None)
            == np.bool_
        )
        used += (
            np.ndim(part if not isinstance(part, Value) else np.empty(part.shape)) if is_mask else 1
        )
    if used > ndim:
        raise IndexError(f"too many indices: array has {ndim} axes, but {used} were indexed")
    fill = [slice(None)] * (ndim - used)
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if not dots:
        return parts + fill
    return parts[: dots[0]] + fill + parts[dots[0] + 1 :]


class _Reader:
    """Walks over an index and collects its basic and advanced parts."""

    def __init__(self, shape: Ints) -> None:
        self.shape = shape
        self.axis = 0
        self.starts: list[int] = []
        self.stops: list[int] = []
        self.steps: list[int] = []
        self.flips: list[int] = []
        self.out: list[int] = []
        self.arrays: list[Operand] = []
        self.array_axes: list[int] = []
        self.slots: list[int] = []

    def keep(self, start: int, stop: int, step: int) -> None:
        """One axis of x, sliced."""
        self.starts.append(start)
        self.stops.append(stop)
        self.steps.append(step)
        self.axis += 1

    def slice(self, part: slice) -> None:
        """A slice; a negative step reads forward and flips."""
        n = self.shape[self.axis]
        try:
            start, stop, step = part.indices(n)
        except TypeError as error:
            raise TracingError(
                "slice bounds must be integers that are known when the function is traced, got "
                f"{part}"
            ) from error
        count = len(range(start, stop, step))
        if step < 0:
            self.flips.append(self.axis)
            start, step = start + (count - 1) * step, -step
        if count == 0:
            start = 0
        self.out.append(count)
        self.keep(start, start + (count - 1) * step + 1 if count else start, step)

    def integer(self, i: int) -> None:
        """One element of an axis."""
        n = self.shape[self.axis]
        if not -n <= i < n:
            raise IndexError(f"index {i} is out of bounds for axis {self.axis} with size {n}")
        i += n if i < 0 else 0
        self.keep(i, i + 1, 1)

    def array(self, part: Any, position: int) -> None:
        """An index array or a mask: its axes are kept whole and addressed later."""
        for indices in _as_index_array(part, self.shape, self.axis):
            self.arrays.append(indices)
            self.array_axes.append(len(self.out))
            self.slots.append(position)
            if _is_scalar_mask(part):
                self.out.append(1)
                continue
            self.out.append(self.shape[self.axis])
            self.keep(0, self.shape[self.axis], 1)


def _read(index: Any, shape: Ints) -> tuple[Basic, Advanced | None]:
    parts = _expanded(index, len(shape))
    reader = _Reader(shape)
    mixed = any([_is_array_index(p) for p in parts])
    for position, part in enumerate(parts):
        if part is None:
            reader.out.append(1)
        elif isinstance(part, slice):
            reader.slice(part)
        elif _is_array_index(part):
            reader.array(part, position)
        elif mixed:
            reader.array(np.asarray(_plain_integer(part)), position)
        else:
            reader.integer(_plain_integer(part))
    basic = Basic(
        tuple(reader.starts),
        tuple(reader.stops),
        tuple(reader.steps),
        tuple(reader.flips),
        tuple(reader.out),
    )
    if not reader.arrays:
        return basic, None
    arrays = common_shape("indexing", *[cast_to(a, np.dtype(np.intp)) for a in reader.arrays])
    adjacent = reader.slots[-1] - reader.slots[0] + 1 == len(set(reader.slots))
    position = reader.array_axes[0] if adjacent else 0
    return basic, Advanced(tuple(arrays), tuple(reader.array_axes), position)


def _plain_integer(part: Any) -> int:
    try:
        return part.__index__()
    except (AttributeError, TypeError):
        raise IndexError(
            "only integers, slices, ellipsis, None and integer or boolean arrays are valid "
            f"indices, got {part!r}"
        ) from None


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
    basic, advanced = _read(index, shape_of(x))
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
    v = cast_to(operand(value), dtype_of(x))
    if _is_whole_mask(index, shape_of(x)) and len(shape_of(v)) == 0:
        mask = broadcast_to(sh.reshape(operand(index), shape=_mask_shape(index, x)), shape_of(x))
        return el.select(mask, broadcast_to(v, shape_of(x)), x)
    basic, advanced = _read(index, shape_of(x))
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


def is_view(index: Any, ndim: int) -> bool:
    """Whether NumPy gives a view for this index: no array in it, and more than one element."""
    parts = index if isinstance(index, tuple) else (index,)
    if any([_is_array_index(part) for part in parts]):
        return False
    return (
        any([part is None or part is Ellipsis or isinstance(part, slice) for part in parts])
        or len(parts) < ndim
    )


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
