"""Differences, integrals, interpolation and convolution over operands: diff, gradient, interp, ...

Each is written with slices and products, so its derivative is exact. interp is differentiable in
the points, in the table's values and in its positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.dtypes import at_least_float, common
from backpass.errors import ShapeError
from backpass.ir import Operand
from backpass.ops.elementwise import where as choose
from backpass.ops.indexing import take
from backpass.ops.joining import concatenate
from backpass.ops.operand import (
    MISSING,
    Axis,
    axes_of,
    axis_of,
    broadcast_to,
    cast_to,
    dtype_of,
    operand,
    shape_of,
)
from backpass.ops.reduction import cumprod, cumsum, sum_
from backpass.ops.shape import ravel, reshape
from backpass.ops.sorting import argsort, searchsorted
from backpass.ops.ufuncs import ufunc
from backpass.prims import elementwise as el
from backpass.prims.rules import full_like, zeros_like
from backpass.prims.shape import flip, pad, take_range
from backpass.prims.sorting import correlate as slide

Function = Callable[..., Any]


def part(x: Operand, axis: int, start: int, stop: int | None = None) -> Operand:
    """x[start:stop] along one axis, with Python's meaning of negative bounds."""
    n = shape_of(x)[axis]
    low, high, _ = slice(start, stop).indices(n)
    return take_range(x, axis, low, max(low, high), shape_of(x))


def _less(x: Operand, y: Operand) -> Operand:
    return el.not_equal(x, y) if dtype_of(x).kind == "b" else el.sub(x, y)


def _joined(x: Operand, more: Any, axis: int, before: bool) -> Operand:
    """x with `more` (a number stands for one slice) before or after it."""
    extra = operand(more)
    if not shape_of(extra):
        shape = list(shape_of(x))
        shape[axis] = 1
        extra = broadcast_to(extra, tuple(shape))
    return concatenate([extra, x] if before else [x, extra], axis)


def diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = MISSING, append: Any = MISSING
) -> Operand:
    """The n-th discrete difference along an axis."""
    x = operand(a)
    if n < 0:
        raise ValueError(f"diff: order must be non-negative but got {n}")
    own = axis_of(x, axis)
    if n == 0:
        return x
    x = x if prepend is MISSING else _joined(x, prepend, own, True)
    x = x if append is MISSING else _joined(x, append, own, False)
    for _ in range(n):
        x = _less(part(x, own, 1), part(x, own, 0, -1))
    return x


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Operand:
    """Differences of consecutive elements, with elements to put before and after them."""
    x = diff(ravel(ary))
    parts = []
    for v in (to_begin, x, to_end):
        if v is not None:
            parts.append(ravel(cast_to(operand(v), dtype_of(x))))
    return concatenate(parts)


def _shaped(x: Operand, axis: int, ndim: int) -> Operand:
    """A vector along one of `ndim` axes."""
    return reshape(x, tuple([-1 if i == axis else 1 for i in range(ndim)]))


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Operand:
    """The integral by the composite trapezoidal rule."""
    values = operand(y)
    own = axis_of(values, axis)
    if x is None:
        width: Any = dx
    else:
        places = operand(x)
        width = diff(places, axis=0 if len(shape_of(places)) == 1 else axis)
        if len(shape_of(width)) == 1:
            width = _shaped(width, own, len(shape_of(values)))
    pairs = ufunc(np.add, part(values, own, 1), part(values, own, 0, -1))
    terms = ufunc(np.divide, ufunc(np.multiply, width, pairs), 2.0)
    return sum_(terms, own)


def gradient(f: Any, *varargs: Any, axis: Axis = None, edge_order: int = 1) -> Any:
    """Central differences inside and one-sided ones at the ends, for each axis."""
    x = operand(f)
    x = cast_to(x, at_least_float(dtype_of(x)))
    if axis is None or isinstance(axis, int):
        axes = axes_of(x, axis)
    else:
        axes = tuple([axis_of(x, i) for i in axis])
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order must be 1 or 2, not {edge_order!r}")
    steps = list(varargs) if len(varargs) > 1 else list(varargs or (1.0,)) * len(axes)
    if len(steps) != len(axes):
        raise TypeError(f"gradient: {len(varargs)} spacings for {len(axes)} axes")
    found = []
    for own, step in zip(axes, steps, strict=True):
        if shape_of(x)[own] < edge_order + 1:
            raise ValueError(
                f"gradient: axis {own} of shape {shape_of(x)} needs {edge_order + 1} elements"
            )
        found.append(_slope(x, own, operand(step), edge_order))
    return found[0] if len(found) == 1 else tuple(found)


def _slope(x: Operand, axis: int, step: Operand, edge_order: int) -> Operand:
    """The derivative along one axis, by the weights of three (or two) points for uneven steps."""
    n, ndim = shape_of(x)[axis], len(shape_of(x))
    widths = diff(cast_to(step, dtype_of(x)), axis=0) if shape_of(step) else None
    if widths is not None and shape_of(widths) != (n - 1,):
        raise ValueError(f"gradient: {shape_of(step)[0]} positions for an axis of {n}")
    if widths is None:
        widths = broadcast_to(cast_to(step, dtype_of(x)), (n - 1,))
    h = _shaped(widths, axis, ndim)
    differences = ufunc(np.divide, diff(x, axis=axis), h)
    first, last = part(differences, axis, 0, 1), part(differences, axis, -1)
    if n == 2:
        return concatenate([first, last], axis)
    # the slope of the parabola through three points, as a mean of the two differences
    left, right = part(differences, axis, 0, -1), part(differences, axis, 1)
    h_left, h_right = part(h, axis, 0, -1), part(h, axis, 1)
    total = el.add(h_left, h_right)
    mixed = ufunc(np.add, ufunc(np.multiply, left, h_right), ufunc(np.multiply, right, h_left))
    inside = ufunc(np.divide, mixed, total)
    if not shape_of(step):
        inside = ufunc(np.divide, el.sub(part(x, axis, 2), part(x, axis, 0, -2)), total)
    if edge_order == 2:
        bend = ufunc(np.divide, el.sub(right, left), total)
        first = el.sub(first, ufunc(np.multiply, part(bend, axis, 0, 1), part(h_left, axis, 0, 1)))
        last = el.add(last, ufunc(np.multiply, part(bend, axis, -1), part(h_right, axis, -1)))
    return concatenate([first, inside, last], axis)


def _wrapped_table(x: Any, xp: Any, fp: Any, period: Any) -> tuple[Operand, Operand, Operand]:
    """The points within one period, and the table sorted with a period's continuation around it."""
    width = abs(float(period))
    if width == 0.0:
        raise ValueError("interp: period must be a non-zero value")
    places = ufunc(np.remainder, xp, width)
    order = argsort(places)
    places, values = take(places, order), take(fp, order)
    before = el.plus(part(places, 0, -1), -width)
    after = el.plus(part(places, 0, 0, 1), width)
    values = concatenate([part(values, 0, -1), values, part(values, 0, 0, 1)])
    return ufunc(np.remainder, x, width), concatenate([before, places, after]), values


def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Operand:
    """Linear interpolation in the table (xp, fp); fp's ends, or left and right, outside of it."""
    points, places, values = (cast_to(operand(v), np.dtype(np.float64)) for v in (x, xp, fp))
    table = shape_of(places)
    if len(table) != 1 or table != shape_of(values) or not table[0]:
        raise ShapeError(
            f"interp: xp {shape_of(places)} and fp {shape_of(values)} must be vectors of one length"
        )
    if period is not None:
        points, places, values = _wrapped_table(points, places, values, period)
        left = right = None
    n = shape_of(places)[0]
    low = take(values, 0) if left is None else left
    high = take(values, n - 1) if right is None else right
    found = _inside(points, places, values, n)
    found = choose(ufunc(np.less, points, take(places, 0)), low, found)
    return choose(ufunc(np.greater, points, take(places, n - 1)), high, found)


def _inside(points: Operand, places: Operand, values: Operand, n: int) -> Operand:
    if n == 1:
        return broadcast_to(reshape(values, ()), shape_of(points))
    after = searchsorted(places, points, "right")
    spot = el.sub(after, full_like(after, 1))
    lower = el.minimum(el.maximum(spot, zeros_like(spot)), full_like(spot, n - 2))
    upper = el.add(lower, full_like(lower, 1))
    x0, x1, y0, y1 = (take(v, i) for v in (places, values) for i in (lower, upper))
    slope = el.div(el.sub(y1, y0), el.sub(x1, x0))
    return el.add(el.mul(slope, el.sub(points, x0)), y0)


def _vectors(name: str, a: Any, v: Any) -> list[Operand]:
    dtype = common(a, v)
    found = [cast_to(operand(x), dtype) for x in (a, v)]
    found = [reshape(x, (1,)) if not shape_of(x) else x for x in found]
    for x in found:
        if len(shape_of(x)) != 1 or not shape_of(x)[0]:
            raise ShapeError(f"{name}: needs two vectors that are not empty, got {shape_of(x)}")
    return found


def _slid(x: Operand, v: Operand, mode: str) -> Operand:
    """The sliding product of x with the shorter v, for every mode."""
    m = shape_of(v)[0]
    full = m - 1
    if mode == "valid":
        low = high = 0
    elif mode == "full":
        low = high = full
    elif mode == "same":
        low, high = m // 2, full - m // 2
    else:
        raise ValueError(f"mode must be 'valid', 'same' or 'full', not {mode!r}")
    return slide(pad(x, low=(low,), high=(high,), interior=(0,)), v)


def convolve(a: Any, v: Any, mode: str = "full") -> Operand:
    """The convolution of two vectors."""
    x, y = _vectors("convolve", a, v)
    if shape_of(y)[0] > shape_of(x)[0]:
        x, y = y, x
    return _slid(x, flip(y, axes=(0,)), mode)


def correlate(a: Any, v: Any, mode: str = "valid") -> Operand:
    """The cross-correlation of two vectors: c_k is the sum over n of a_(n+k) v_n."""
    x, y = _vectors("correlate", a, v)
    if shape_of(y)[0] > shape_of(x)[0]:
        return flip(_slid(y, x, mode), axes=(0,))
    return _slid(x, y, mode)


def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Operand:
    """Phases with jumps of more than half a period taken out; the jumps carry no derivative."""
    x = operand(p)
    x = cast_to(x, at_least_float(dtype_of(x)))
    own = axis_of(x, axis)
    if shape_of(x)[own] == 0:
        return x
    half = float(period) / 2
    bound = half if discont is None else max(float(discont), half)
    jumps = el.stop(diff(x, axis=own))
    reduced = el.plus(ufunc(np.remainder, el.plus(jumps, half), float(period)), -half)
    at_edge = el.logical_and(
        el.equal(reduced, full_like(reduced, -half)), el.greater(jumps, zeros_like(jumps))
    )
    reduced = el.select(at_edge, full_like(reduced, half), reduced)
    correction = el.sub(reduced, jumps)
    small = el.less(el.absolute(jumps), full_like(jumps, bound))
    correction = cumsum(el.select(small, zeros_like(jumps), correction), own)
    first = part(x, own, 0, 1)
    return concatenate([first, el.add(part(x, own, 1), correction)], own)


def _cumulative(scan: Function, start: float) -> Function:
    def cumulative(
        x: Any,
        /,
        *,
        axis: int | None = None,
        dtype: Any = None,
        out: None = None,
        include_initial: bool = False,
    ) -> Operand:
        a = operand(x)
        if axis is None and len(shape_of(a)) != 1:
            raise ValueError("axis must be given for arrays of more than one axis")
        if include_initial and not shape_of(a):
            a = reshape(a, (1,))
        own = 0 if axis is None else axis_of(a, axis)
        found = scan(a, own, dtype)
        if not include_initial:
            return found
        first = full_like(part(found, own, 0, 1), start)
        if not shape_of(found)[own]:
            shape = [1 if i == own else n for i, n in enumerate(shape_of(found))]
            first = np.full(shape, start, dtype_of(found))
        return concatenate([first, found], own)

    return cumulative


def scanned(pair: Function) -> Function:
    """ufunc.accumulate for an associative function of two, by doubling (Hillis & Steele 1986)."""

    def accumulate(array: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Operand:
        x = operand(array)
        x = x if dtype is None else cast_to(x, np.dtype(dtype))
        own = axis_of(x, axis)
        step = 1
        while step < shape_of(x)[own]:
            later = pair(part(x, own, step), part(x, own, 0, -step))
            x = concatenate([part(x, own, 0, step), later], own)
            step *= 2
        return x

    return accumulate


FUNCTIONS: dict[Function, Function] = {
    np.diff: diff,
    np.ediff1d: ediff1d,
    np.trapezoid: trapezoid,
    np.gradient: gradient,
    np.interp: interp,
    np.convolve: convolve,
    np.correlate: correlate,
    np.unwrap: unwrap,
    np.cumulative_sum: _cumulative(cumsum, 0.0),
    np.cumulative_prod: _cumulative(cumprod, 1.0),
}


def _by(function: np.ufunc) -> Function:
    def pair(x: Any, y: Any) -> Any:
        return ufunc(function, x, y)

    return scanned(pair)


_SCANNED: Sequence[np.ufunc] = (np.maximum, np.minimum, np.fmax, np.fmin, np.logaddexp)
ACCUMULATE: dict[np.ufunc, Function] = {f: _by(f) for f in _SCANNED}
