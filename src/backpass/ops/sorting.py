"""Sorting, positions and order statistics over operands: sort, partition, median, quantile.

A sorted array reads x at positions that carry no derivative, so each element keeps its own
cotangent; at ties the order that NumPy's algorithm gives decides. NaN sorts to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.dtypes import at_least_float, common, is_float
from backpass.errors import UnsupportedError
from backpass.ir import Operand, is_live
from backpass.ops.elementwise import where as choose
from backpass.ops.indexing import getitem, take, take_along_axis
from backpass.ops.joining import stack
from backpass.ops.operand import (
    MISSING,
    Axis,
    axes_of,
    axis_of,
    broadcast_to,
    cast_to,
    dtype_of,
    extent,
    operand,
    refuse_option,
    refused_call,
    restore,
    shape_of,
)
from backpass.ops.reduction import argmax, argmin, sum_
from backpass.ops.shape import moveaxis, reshape
from backpass.prims import elementwise as el
from backpass.prims import sorting as so
from backpass.prims.rules import full_like, zeros_like

Function = Callable[..., Any]


def _along(a: Any, axis: int | None) -> tuple[Operand, int]:
    """x and a non-negative axis; all elements in one axis for None."""
    x = operand(a)
    if axis is None:
        return reshape(x, (extent(shape_of(x), range(len(shape_of(x)))),)), 0
    return x, axis_of(x, axis)


def argsort(
    a: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None
) -> Operand:
    """The positions that sort a along an axis: integers, without derivative."""
    own_array = operand(a)
    x, own = _along(own_array, axis if shape_of(own_array) else None)
    return so.argsort(x, axis=own, kind="stable" if stable else kind)


def sort(
    a: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None
) -> Operand:
    """a in ascending order along an axis."""
    x, own = _along(a, axis)
    return take_along_axis(x, argsort(x, own, kind, stable=stable), own)


def _kth(kth: Any) -> int | tuple[int, ...]:
    found = np.asarray(kth)
    return int(found) if found.ndim == 0 else tuple([int(k) for k in found])


def argpartition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None
) -> Operand:
    """The positions that partition a: integers, without derivative."""
    x, own = _along(a, axis)
    return so.argpartition(x, axis=own, kth=_kth(kth))


def partition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None
) -> Operand:
    """a with its kth elements in their sorted place, the smaller before and the larger after."""
    x, own = _along(a, axis)
    return take_along_axis(x, argpartition(x, kth, own), own)


def lexsort(keys: Any, axis: int = -1) -> Operand:
    """The positions that sort by several keys, the last one first."""
    x = stack(list(keys)) if isinstance(keys, (list, tuple)) else operand(keys)
    inner = len(shape_of(x)) - 1
    own = np.lib.array_utils.normalize_axis_index(axis, inner) + 1
    return moveaxis(so.lexsort(moveaxis(x, own, -1)), -1, own - 1)


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Operand:
    """Where v would be inserted into the sorted vector a: integers, without derivative."""
    dtype = common(a, v)
    x = operand(a) if sorter is None else take(a, sorter)
    return so.search(cast_to(x, dtype), cast_to(operand(v), dtype), side=side)


def _last(x: Operand, axes_count: int) -> Operand:
    """The last `axes_count` axes as one."""
    shape = shape_of(x)
    kept = shape[: len(shape) - axes_count]
    return reshape(x, (*kept, extent(shape, range(len(kept), len(shape)))))


# Methods of quantile that choose an element, so that integers stay integers.
CHOOSING = ("inverted_cdf", "closest_observation", "lower", "higher", "nearest")


def _rows(a: Any, axis: Axis, exact: bool = False) -> tuple[Operand, tuple[int, ...]]:
    """a as floats with the reduced axes brought to the end as one, and these axes."""
    x = operand(a)
    x = x if exact else cast_to(x, at_least_float(dtype_of(x)))
    axes = axes_of(x, axis)
    if not axes:
        return reshape(x, (*shape_of(x), 1)), axes
    return _last(moveaxis(x, axes, tuple(range(-len(axes), 0))), len(axes)), axes


def _nan_spread(found: Operand, rows: Operand) -> Operand:
    """`found` where a sorted row has no NaN (it would be at its end), else that NaN."""
    if not is_float(dtype_of(rows)):
        return found
    last = getitem(rows, (..., -1))
    last = broadcast_to(last, shape_of(found))
    return el.select(el.isnan(last), last, found)


def _between(rows: Operand, place: float) -> Operand:
    """Sorted rows read at a place between two elements, linearly."""
    low = int(np.floor(place))
    share = place - low
    first = getitem(rows, (..., low))
    if share == 0.0:
        return first
    second = getitem(rows, (..., low + 1))
    return el.add(first, el.times(el.sub(second, first), share))


def _quantile(name: str, places_of: Callable[..., Any], ignore_nan: bool) -> Function:
    """quantile and its kind. NumPy itself says the places, as the quantiles of 0, 1, ..., n - 1."""

    def function(
        a: Any,
        q: Any,
        axis: Axis = None,
        out: None = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: Any = False,
        *,
        weights: Any = None,
    ) -> Operand:
        refuse_option(name, "weights", weights)
        if is_live(q):
            raise UnsupportedError(f"{name}: q must not be traced; pass a number or an array")
        exact = method in CHOOSING
        rows, axes = _rows(a, axis, exact)
        if not exact and not isinstance(q, (int, float)):  # an array of q takes part in promotion
            rows = cast_to(rows, common(rows, np.true_divide(q, 1)))
        rows = sort(rows)
        share = np.asarray(q, np.float64)
        keep = bool(keepdims is not MISSING and keepdims)
        if shape_of(rows)[-1] == 0 and ignore_nan:
            rows = np.full((*shape_of(rows)[:-1], 1), np.nan, dtype_of(rows))
        if shape_of(rows)[-1] == 0:
            raise ValueError(f"{name}: axis {axis} of shape {shape_of(operand(a))} is empty")
        if ignore_nan:
            refuse_option(name, "method", method, "linear")
            found = [_nan_between(rows, float(places_of([0.0, 1.0], p))) for p in share.flat]
        else:
            numbers = np.arange(shape_of(rows)[-1], dtype=np.float64)
            places = np.asarray(places_of(numbers, share, method=method), np.float64)
            found = [_nan_spread(_between(rows, float(p)), rows) for p in places.flat]
        parts = [restore(y, axes, keep) for y in found]
        if share.ndim == 0:
            return parts[0]
        return reshape(stack(parts), (*share.shape, *shape_of(parts[0])))

    return function


def _nan_between(rows: Operand, share: float) -> Operand:
    """The same in rows whose NaN, at the end, do not count: the place depends on the row."""
    numbers = cast_to(el.logical_not(el.isnan(rows)), dtype_of(rows))
    last = el.plus(sum_(numbers, -1, keepdims=True), -1.0)
    place = el.maximum(el.times(last, share), zeros_like(last))
    low = el.floor(place)
    high = el.minimum(el.plus(low, 1.0), el.maximum(last, zeros_like(last)))
    first = take_along_axis(rows, cast_to(low, so.INDEX), -1)
    second = take_along_axis(rows, cast_to(high, so.INDEX), -1)
    found = el.add(first, el.mul(el.sub(second, first), el.sub(place, low)))
    return reshape(found, shape_of(rows)[:-1])


quantile = _quantile("quantile", np.quantile, False)
percentile = _quantile("percentile", np.percentile, False)
nanquantile = _quantile("nanquantile", np.quantile, True)
nanpercentile = _quantile("nanpercentile", np.percentile, True)


def median(
    a: Any,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: Any = False,
) -> Operand:
    """The middle element along `axis`, or the mean of the two in the middle; NaN if one is NaN."""
    rows, axes = _rows(a, axis)
    n = shape_of(rows)[-1]
    if n == 0:
        return restore(np.full(shape_of(rows)[:-1], np.nan, dtype_of(rows)), axes, bool(keepdims))
    rows = sort(rows)
    found = getitem(rows, (..., n // 2))
    if n % 2 == 0:
        found = el.times(el.add(getitem(rows, (..., n // 2 - 1)), found), 0.5)
    return restore(_nan_spread(found, rows), axes, bool(keepdims))


def nanmedian(
    a: Any,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: Any = MISSING,
) -> Operand:
    """The median of what is not NaN."""
    return nanquantile(a, 0.5, axis, keepdims=keepdims)


def _nan_position(position: Function, fill: float) -> Function:
    def function(
        a: Any, axis: int | None = None, out: None = None, *, keepdims: Any = False
    ) -> Operand:
        x = operand(a)
        if is_float(dtype_of(x)):
            x = choose(el.isnan(x), full_like(x, fill), x)
        return position(x, axis, keepdims=keepdims)

    return function


def _sort_complex(a: Any) -> Sequence[Any]:
    raise refused_call("numpy.sort_complex", "its result is complex; use np.sort")


FUNCTIONS: dict[Function, Function] = {
    np.sort: sort,
    np.argsort: argsort,
    np.partition: partition,
    np.argpartition: argpartition,
    np.lexsort: lexsort,
    np.searchsorted: searchsorted,
    np.median: median,
    np.quantile: quantile,
    np.percentile: percentile,
    np.nanmedian: nanmedian,
    np.nanquantile: nanquantile,
    np.nanpercentile: nanpercentile,
    np.nanargmax: _nan_position(argmax, -np.inf),
    np.nanargmin: _nan_position(argmin, np.inf),
    np.sort_complex: _sort_complex,
}
METHODS: dict[str, Function] = {
    "argsort": argsort,
    "argpartition": argpartition,
    "searchsorted": searchsorted,
}
