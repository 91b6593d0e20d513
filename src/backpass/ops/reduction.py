"""NumPy's reductions and scans over operands: sum, mean, std, max, prod, cumsum, logsumexp, ...

Conventions at kinks: ties of max and min share evenly; std of equal numbers has derivative 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.dtypes import at_least_float, is_float
from backpass.errors import UnsupportedError
from backpass.ir import Operand, Primitive, Value
from backpass.ops.elementwise import nan_to_num
from backpass.ops.elementwise import where as choose
from backpass.ops.operand import (
    MISSING,
    Axis,
    axes_of,
    axis_of,
    broadcast_to,
    cast_to,
    dtype_of,
    extent,
    is_given,
    operand,
    restore,
    shape_of,
)
from backpass.prims import elementwise as el
from backpass.prims import reduce as red
from backpass.prims.rules import broadcast, full_like, reduce_sum, zeros_like
from backpass.prims.shape import reshape

Function = Callable[..., Any]
Reduction = Callable[..., Operand]


def _masked(x: Operand, mask: Any, fill: float) -> Operand:
    if not is_given(mask) or mask is True:
        return x
    kept = cast_to(operand(mask), np.dtype(np.bool_))
    return choose(kept, x, full_like(x, fill))


def _accumulator(dtype: Any, given: Any) -> np.dtype[Any]:
    """NumPy sums and multiplies small integers and booleans in the machine integer."""
    if is_given(given):
        return np.dtype(given)
    own = np.dtype(dtype)
    if own.kind == "b" or (own.kind == "i" and own.itemsize < 8):
        return np.dtype(np.intp)
    return np.dtype(np.uintp) if own.kind == "u" and own.itemsize < 8 else own


def _fold(primitive: Primitive, pair: Primitive, neutral: float) -> Reduction:
    """sum and prod: `pair` adds `initial`, `neutral` stands where the mask is false."""

    def function(
        a: Any,
        axis: Axis = None,
        dtype: Any = None,
        out: None = None,
        keepdims: Any = False,
        initial: Any = MISSING,
        where: Any = MISSING,
    ) -> Operand:
        x = operand(a)
        x = _masked(cast_to(x, _accumulator(dtype_of(x), dtype)), where, neutral)
        axes = axes_of(x, axis)
        y = primitive(x, axes=axes) if axes else el.identity(x)
        if is_given(initial):
            y = pair(y, broadcast_to(cast_to(operand(initial), dtype_of(y)), shape_of(y)))
        return restore(y, axes, keepdims)

    return function


sum_ = _fold(reduce_sum, el.add, 0.0)
prod = _fold(red.prod, el.mul, 1.0)  # its derivative is exact where factors are zero


def _extremum(primitive: Primitive, pair: Primitive, fill: float) -> Reduction:
    def function(
        a: Any,
        axis: Axis = None,
        out: None = None,
        keepdims: Any = False,
        initial: Any = MISSING,
        where: Any = MISSING,
    ) -> Operand:
        x = operand(a)
        if is_given(where) and where is not True and not is_given(initial):
            raise ValueError("max and min with where= need initial=, as in NumPy")
        x = _masked(x, where, fill if is_float(dtype_of(x)) else _least(dtype_of(x), fill))
        axes = axes_of(x, axis)
        if extent(shape_of(x), axes) == 0 and not is_given(initial):
            raise ValueError(
                f"{primitive.name}: zero-size array of shape {shape_of(x)} has no extremum"
            )
        if axes and extent(shape_of(x), axes) == 0:
            kept = tuple([n for i, n in enumerate(shape_of(x)) if i not in axes])
            y: Operand = np.full(kept, initial, dtype_of(x))
            return restore(y, axes, keepdims)
        y = primitive(x, axes=axes) if axes else el.identity(x)
        if is_given(initial):
            y = pair(y, broadcast_to(cast_to(operand(initial), dtype_of(y)), shape_of(y)))
        return restore(y, axes, keepdims)

    return function


def _least(dtype: np.dtype[Any], fill: float) -> float:
    """The integer or boolean that takes no part in a maximum (fill < 0) or a minimum."""
    if dtype.kind == "b":
        return float(fill > 0)
    limits = np.iinfo(dtype)
    return limits.max if fill > 0 else limits.min


max_ = _extremum(red.reduce_max, el.maximum, -np.inf)
min_ = _extremum(red.reduce_min, el.minimum, np.inf)


def mean(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    keepdims: Any = False,
    where: Any = MISSING,
) -> Operand:
    """Arithmetic mean over `axis`; integers give float64."""
    x = operand(a)
    x = cast_to(x, np.dtype(dtype) if is_given(dtype) else at_least_float(dtype_of(x)))
    total = sum_(x, axis, keepdims=keepdims, where=where)
    return el.div(total, _count(x, axis, keepdims, where, 0, total))


def _count(
    x: Operand, axis: Axis, keepdims: Any, where: Any, ddof: float, like: Operand
) -> Operand:
    if not is_given(where) or where is True:
        return full_like(like, float(max(extent(shape_of(x), axes_of(x, axis)) - ddof, 0)))
    ones = full_like(x, 1.0)
    return el.plus(sum_(ones, axis, keepdims=keepdims, where=where), -float(ddof))


def var(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = MISSING,
    mean: Any = MISSING,
    correction: Any = MISSING,
) -> Operand:
    """Variance over `axis` in two passes: sum of |x - mean|^2 over n - ddof."""
    x = operand(a)
    x = cast_to(x, np.dtype(dtype) if is_given(dtype) else at_least_float(dtype_of(x)))
    centre = operand(mean) if is_given(mean) else _mean(x, axis, keepdims=True, where=where)
    off = el.sub(x, broadcast_to(cast_to(centre, dtype_of(x)), shape_of(x)))
    total = sum_(el.square(off), axis, keepdims=keepdims, where=where)
    degrees = correction if is_given(correction) else ddof
    return el.div(total, _count(x, axis, keepdims, where, degrees, total))


_mean = mean


def safe_sqrt(x: Operand) -> Operand:
    """sqrt with derivative 0 at 0.

    The root of a sum of squares is a norm, whose subgradients at 0 contain 0.
    """
    zero = el.equal(x, zeros_like(x))
    return el.select(zero, zeros_like(x), el.sqrt(el.select(zero, full_like(x, 1.0), x)))


def std(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: Any = False,
    **more: Any,
) -> Operand:
    """Standard deviation over `axis`; its derivative is 0 where all elements are equal."""
    return safe_sqrt(var(a, axis, dtype, None, ddof, keepdims, **more))


def _boolean(primitive: Primitive) -> Reduction:
    empty = primitive is red.all_

    def function(
        a: Any, axis: Axis = None, out: None = None, keepdims: Any = False, *, where: Any = MISSING
    ) -> Operand:
        x = cast_to(operand(a), np.dtype(np.bool_))
        if is_given(where) and where is not True:
            x = choose(where, x, np.full(shape_of(x), empty))
        axes = axes_of(x, axis)
        return restore(primitive(x, axes=axes), axes, keepdims)

    return function


any_ = _boolean(red.any_)
all_ = _boolean(red.all_)


def _position(primitive: Primitive) -> Reduction:
    def function(
        a: Any, axis: int | None = None, out: None = None, *, keepdims: Any = False
    ) -> Operand:
        x = operand(a)
        shape = shape_of(x)
        if axis is None:
            y = primitive(reshape(x, shape=(extent(shape, range(len(shape))),)), axis=0)
            return restore(y, tuple(range(len(shape))), keepdims)
        own = axis_of(x, axis)
        return restore(primitive(x, axis=own), (own,), keepdims)

    return function


argmax = _position(red.argmax)
argmin = _position(red.argmin)


def _scan(primitive: Primitive) -> Reduction:
    def function(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Operand:
        x = operand(a)
        x = cast_to(x, _accumulator(dtype_of(x), dtype))
        if axis is None:
            x = reshape(x, shape=(extent(shape_of(x), range(len(shape_of(x)))),))
        own = 0 if axis is None else axis_of(x, axis)
        return primitive(x, axis=own, reverse=False)

    return function


cumsum = _scan(red.cumsum)
cumprod = _scan(red.cumprod)


def ptp(a: Any, axis: Axis = None, out: None = None, keepdims: Any = False) -> Operand:
    """Maximum minus minimum."""
    return el.sub(max_(a, axis, keepdims=keepdims), min_(a, axis, keepdims=keepdims))


def _ignoring_nan(function: Function, fill: float) -> Function:
    """nansum and its kind: NaN replaced by the neutral element, so no cotangent flows to it."""

    def nan_function(a: Any, *args: Any, **options: Any) -> Operand:
        return function(nan_to_num(a, nan=fill, posinf=np.inf, neginf=-np.inf), *args, **options)

    return nan_function


def _nan_extremum(function: Function, fill: float) -> Function:
    """nanmax and nanmin: NaN left out, and NaN where there is nothing else."""

    def nan_function(a: Any, axis: Axis = None, *args: Any, **options: Any) -> Operand:
        x = operand(a)
        if not is_float(dtype_of(x)):
            return function(x, axis, *args, **options)
        y = function(nan_to_num(x, nan=fill, posinf=np.inf, neginf=-np.inf), axis, *args, **options)
        if is_given(options.get("initial")) or is_given(options.get("where")):
            return y
        nothing = reshape(all_(el.isnan(x), axis), shape=shape_of(y))
        return el.select(nothing, full_like(y, np.nan), y)

    return nan_function


def _nan_where(function: Function) -> Function:
    """nanmean and its kind: NaN left out of the sums and of the count."""

    def nan_function(a: Any, *args: Any, **options: Any) -> Operand:
        if is_given(options.get("where", MISSING)):
            raise UnsupportedError(
                f"nan{function.__name__}: where= is not supported on traced arrays"
            )
        x = operand(a)
        number = el.logical_not(el.isnan(x)) if is_float(dtype_of(x)) else MISSING
        return function(
            nan_to_num(x, posinf=np.inf, neginf=-np.inf), *args, where=number, **options
        )

    return nan_function


def average(
    a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    """Weighted mean over `axis`; NaN under jit where the weights sum to zero, else an error."""
    x = operand(a)
    if weights is None:
        y = mean(x, axis, keepdims=keepdims)
        total = _count(x, axis, keepdims, MISSING, 0, y)
        return (y, total) if returned else y
    x = cast_to(x, at_least_float(np.result_type(dtype_of(x), dtype_of(operand(weights)))))
    w = cast_to(operand(weights), dtype_of(x))
    if shape_of(w) != shape_of(x):
        axes = axes_of(x, axis)
        if axis is None or shape_of(w) != tuple([shape_of(x)[i] for i in axes]):
            raise ValueError(
                f"average: weights {shape_of(w)} do not fit {shape_of(x)} along axis {axis}"
            )
        others = tuple([i for i in range(len(shape_of(x))) if i not in axes])
        w = broadcast(w, shape=shape_of(x), axes=others)
    total = sum_(w, axis, keepdims=keepdims)
    known = total.array if type(total) is Value else total
    if known is not None and np.any(known == 0):
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")  # NumPy's words
    y = el.div(sum_(el.mul(x, w), axis, keepdims=keepdims), total)
    return (y, total) if returned else y


def logsumexp(a: Any, axis: Axis = None, b: Any = None, keepdims: bool = False) -> Operand:
    """log(sum(b exp(a))) over `axis` without overflow; -inf where every term is zero.

    The maximum is subtracted first and carries no derivative: the result does not depend on it.
    """
    x = operand(a)
    x = cast_to(x, at_least_float(dtype_of(x)))
    if extent(shape_of(x), axes_of(x, axis)) == 0:
        return full_like(sum_(x, axis, keepdims=keepdims), -np.inf)
    top = el.stop(max_(x, axis, keepdims=True))
    top = el.select(el.isfinite(top), top, zeros_like(top))
    terms = el.exp(el.sub(x, broadcast_to(top, shape_of(x))))
    if b is not None:
        factors = broadcast_to(cast_to(operand(b), dtype_of(x)), shape_of(x))
        terms = el.mul(factors, terms)
    total = el.log(sum_(terms, axis, keepdims=True))
    y = el.add(total, top)
    return y if keepdims else reshape(y, shape=shape_of(sum_(x, axis)))


def count_nonzero(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Operand:
    """Number of elements that are not zero."""
    x = operand(a)
    return sum_(el.not_equal(x, zeros_like(x)), axis, keepdims=keepdims)


FUNCTIONS: dict[Function, Function] = {
    np.sum: sum_,
    np.prod: prod,
    np.max: max_,
    np.min: min_,
    np.amax: max_,
    np.amin: min_,
    np.mean: mean,
    np.var: var,
    np.std: std,
    np.any: any_,
    np.all: all_,
    np.argmax: argmax,
    np.argmin: argmin,
    np.cumsum: cumsum,
    np.cumprod: cumprod,
    np.ptp: ptp,
    np.average: average,
    np.count_nonzero: count_nonzero,
    np.nansum: _ignoring_nan(sum_, 0.0),
    np.nanprod: _ignoring_nan(prod, 1.0),
    np.nancumsum: _ignoring_nan(cumsum, 0.0),
    np.nancumprod: _ignoring_nan(cumprod, 1.0),
    np.nanmax: _nan_extremum(max_, -np.inf),
    np.nanmin: _nan_extremum(min_, np.inf),
    np.nanmean: _nan_where(mean),
    np.nanvar: _nan_where(var),
    np.nanstd: _nan_where(std),
}
METHODS: dict[str, Function] = {
    "sum": sum_,
    "prod": prod,
    "max": max_,
    "min": min_,
    "mean": mean,
    "var": var,
    "std": std,
    "any": any_,
    "all": all_,
    "argmax": argmax,
    "argmin": argmin,
    "cumsum": cumsum,
    "cumprod": cumprod,
    "ptp": ptp,
}
# ufunc.reduce and ufunc.accumulate, as NumPy spells reductions in its lower layer.
REDUCE: dict[np.ufunc, Function] = {
    np.add: sum_,
    np.multiply: prod,
    np.maximum: max_,
    np.minimum: min_,
    np.logical_and: all_,
    np.logical_or: any_,
    np.logaddexp: logsumexp,
}
ACCUMULATE: dict[np.ufunc, Function] = {np.add: cumsum, np.multiply: cumprod}
