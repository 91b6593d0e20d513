"""What an index means: NumPy's index language, split into a basic and an advanced part.

Basic parts (integers, slices, None, ...) become a slice, a flip and a shape; index arrays and masks
become arrays of integers over the axes they address. Masks must be concrete, because the shape of
x[mask] depends on them. `indexing` reads and writes by these parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.errors import TracingError
from backpass.ir import Operand, Value
from backpass.ops.operand import cast_to, common_shape, dtype_of, operand

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


def read_index(index: Any, shape: Ints) -> tuple[Basic, Advanced | None]:
    """An index over an array of this shape, in its two parts."""
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


def is_view(index: Any, ndim: int) -> bool:
    """Whether NumPy gives a view for this index: no array in it, and more than one element."""
    parts = index if isinstance(index, tuple) else (index,)
    if any([_is_array_index(part) for part in parts]):
        return False
    return (
        any([part is None or part is Ellipsis or isinstance(part, slice) for part in parts])
        or len(parts) < ndim
    )
