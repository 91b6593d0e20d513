"""From what a caller passes to operands of primitives: conversion, broadcasting, promotion, axes.

An operand is an array or a traced Value. Primitives never broadcast nor promote; these functions
insert the explicit `broadcast` and `cast` that NumPy would do silently, so that no rule ever has to
undo them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from backpass.dtypes import DType, check_supported, is_huge
from backpass.errors import ShapeError, UnsupportedError
from backpass.ir import Operand, Value, array_of, is_live, type_of
from backpass.ir.graph import user_line
from backpass.prims import elementwise as el
from backpass.prims.rules import broadcast
from backpass.prims.shape import concatenate, reshape

Axis = int | Sequence[int] | None
MISSING = np._NoValue  # NumPy's default of an argument whose absence is not None


def is_given(x: object) -> bool:
    """Whether the caller passed the argument."""
    return x is not MISSING and x is not None


def operand(x: Any) -> Operand:
    """x as an operand: a traced Value as it is, else a native-endian array of a supported dtype.

    Lists and tuples become one array, also where they hold traced Values.
    """
    if type(x) is Value:
        return x if is_live(x) else array_of(x)
    if type(x) is np.ndarray:
        array = x
    elif type(x) is float:
        array = np.array(x)
        array.flags.writeable = False
        return array
    elif holds_value(x):
        return _joined([operand(v) for v in x])
    else:
        _check_kind(x)
        array = np.asarray(float(x) if type(x) is int and is_huge(x) else x)
        if isinstance(x, (int, float, np.generic, list, tuple)):
            array.flags.writeable = False  # nobody else holds it: a graph need not copy it
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    check_supported(array.dtype, "operand")
    return array


def holds_value(x: Any) -> bool:
    """Whether x is a list or tuple that holds a traced Value, however deep."""
    if type(x) is list or type(x) is tuple:
        return any([(type(v) is Value and is_live(v)) or holds_value(v) for v in x])
    return False


def _joined(parts: Sequence[Operand]) -> Operand:
    """What np.array makes of operands: one array of all of them, along a new first axis."""
    shapes = {x.shape for x in parts}
    if len(shapes) > 1:
        raise ShapeError(
            f"a list that becomes an array must hold arrays of one shape, got {sorted(shapes)}"
        )
    dtype = np.result_type(*[x.dtype for x in parts])
    rows = [reshape(cast_to(x, dtype), shape=(1, *x.shape)) for x in parts]
    return concatenate(*rows, axis=0)


def _check_kind(x: Any) -> None:
    """Refuse the kinds of arrays whose operators mean something else."""
    if isinstance(x, np.ma.MaskedArray):
        raise UnsupportedError(
            "masked arrays are not supported: fill them first, with x.filled(value)"
        )
    if isinstance(x, np.matrix):
        raise UnsupportedError(
            "np.matrix is not supported: its * is a matrix product; use np.asarray(x) and @"
        )


def shape_of(x: Operand) -> tuple[int, ...]:
    """The shape of an operand."""
    return type_of(x).shape


def dtype_of(x: Operand) -> DType:
    """The dtype of an operand."""
    return type_of(x).dtype


def cast_to(x: Operand, dtype: DType) -> Operand:
    """x in another dtype, itself if it has it already; operands are of native byte order."""
    own = x.dtype
    if own is dtype or own == dtype:
        return x
    if not dtype.isnative:
        return cast_to(x, dtype.newbyteorder("="))
    check_supported(dtype, "cast")
    return el.cast(x, dtype=dtype)


def operand_of(x: Any, dtype: DType) -> Operand:
    """x as an operand of a dtype. A Python integer that it cannot hold raises NumPy's
    OverflowError: it must not wrap around.
    """
    if type(x) is int and dtype.kind in "iu":
        array = np.array(x, dtype)
        array.flags.writeable = False
        return array
    return cast_to(operand(x), dtype)


def broadcast_to(x: Operand, shape: tuple[int, ...]) -> Operand:
    """x broadcast as NumPy does: new axes in front, and extents of 1 stretched."""
    own = x.shape
    if own == shape:
        return x
    if not own:
        return broadcast(x, shape=shape, axes=tuple(range(len(shape))))
    new = len(shape) - len(own)
    stretched = [i for i, n in enumerate(own) if n == 1 and shape[new + i] != 1]
    if new < 0 or any([n != shape[new + i] and n != 1 for i, n in enumerate(own)]):
        raise ShapeError(f"cannot broadcast shape {own} to {shape}")
    if stretched:
        x = reshape(x, shape=tuple([n for i, n in enumerate(own) if i not in stretched]))
    axes = (*range(new), *[new + i for i in stretched])
    return broadcast(x, shape=shape, axes=axes)


def broadcast_shape(what: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape, or an error that names the operation and all the shapes."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        listed = " and ".join(map(str, shapes))
        raise ShapeError(f"{what}: shapes {listed} do not broadcast together") from error


def common_shape(what: str, *xs: Operand) -> list[Operand]:
    """All operands broadcast to their common shape."""
    first = xs[0].shape
    for x in xs:
        if x.shape != first:
            break
    else:
        return list(xs)
    shapes = [x.shape for x in xs]
    largest = max(shapes, key=len)
    if any([s and s != largest for s in shapes]):
        largest = broadcast_shape(what, *shapes)
    return [broadcast_to(x, largest) for x in xs]


def axes_of(x: Operand, axis: Axis) -> tuple[int, ...]:
    """`axis` as sorted non-negative axes; None means all of them."""
    ndim = len(shape_of(x))
    if axis is None:
        return tuple(range(ndim))
    return tuple(sorted(normalize_axis_tuple(axis, ndim, "axis")))


def axis_of(x: Operand, axis: int) -> int:
    """One axis, made non-negative."""
    return normalize_axis_index(axis, len(shape_of(x)))


def restore(x: Operand, axes: tuple[int, ...], keepdims: Any) -> Operand:
    """A reduced operand with extents of 1 put back at `axes` if keepdims is given and true."""
    if not is_given(keepdims) or not keepdims:
        return x
    shape = list(shape_of(x))
    for axis in axes:
        shape.insert(axis, 1)
    return reshape(x, shape=tuple(shape))


def extent(shape: tuple[int, ...], axes: Sequence[int]) -> int:
    """Number of elements along `axes`."""
    count = 1
    for axis in axes:
        count *= shape[axis]
    return count


def stand_in(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    """An array of this shape without memory, for NumPy's functions that read shapes only."""
    return np.lib.stride_tricks.as_strided(np.zeros(1, dtype), shape, (0,) * len(shape))


def refuse_option(function: str, option: str, value: object, default: object = None) -> None:
    """Raise for an option of NumPy's that has no rule here, unless it has its default."""
    if value is not default and value is not MISSING and value != default:
        raise UnsupportedError(
            f"{function}: the option {option}={value!r} is not supported on traced arrays"
        )


def refused_call(function: str, reason: str) -> UnsupportedError:
    """The error for a function that cannot work on traced arrays, with the line of the call."""
    return UnsupportedError(
        f"{function} has no rule for traced arrays (called at {user_line()}): {reason}"
    )
