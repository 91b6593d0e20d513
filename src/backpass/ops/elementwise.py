"""Functions that act on single elements and are no ufuncs: where, clip, select, nan_to_num, ...

They are written with the ufuncs of `ufuncs` and with primitives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.dtypes import common, is_float
from backpass.errors import UnsupportedError
from backpass.ir import Operand
from backpass.ops.operand import (
    cast_to,
    common_shape,
    dtype_of,
    is_given,
    operand,
)
from backpass.ops.ufuncs import as_float, number_of, ufunc
from backpass.prims import elementwise as el
from backpass.prims.rules import full_like, zeros_like

Function = Callable[..., Any]


def where(condition: Any, x: Any = None, y: Any = None) -> Operand:
    """np.where with three arguments. The branch not taken gets a cotangent of exactly zero."""
    if x is None or y is None:
        raise UnsupportedError(
            "np.where with one argument has a shape that depends on values; use "
            "np.where(condition, x, y)"
        )
    dtype = common(x, y)
    c = cast_to(operand(condition), np.dtype(np.bool_))
    c, a, b = common_shape("where", c, cast_to(operand(x), dtype), cast_to(operand(y), dtype))
    return el.select(c, a, b)


def clip(
    a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
) -> Operand:
    """Values outside [a_min, a_max] moved to its ends.

    The derivative is 1 inside and at the ends, else 0.
    """
    low = a_min if is_given(a_min) else min
    high = a_max if is_given(a_max) else max
    x = a
    if is_given(low):
        x = where(_or_nan(ufunc(np.less, x, low), low), low, x)
    if is_given(high):
        x = where(_or_nan(ufunc(np.greater, x, high), high), high, x)
    return el.identity(operand(x)) if x is a else operand(x)


def _or_nan(outside: Operand, bound: Any) -> Operand:
    """Where x is outside or the bound is NaN: NumPy's clip gives NaN there."""
    number = number_of(bound)
    own = operand(bound)
    if not is_float(dtype_of(own)) or (number is not None and number == number):
        return outside
    return ufunc(np.logical_or, outside, ufunc(np.isnan, own))


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Operand:
    """The first choice whose condition holds, else default."""
    out = default
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        out = where(condition, choice, out)
    return operand(out)


def nan_to_num(
    x: Any,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Operand:
    """NaN and infinities replaced by numbers; no cotangent flows through what was replaced."""
    a = operand(x)
    if not copy:
        raise UnsupportedError(
            "nan_to_num: copy=False writes into its argument; write x[...] = np.nan_to_num(x)"
        )
    if not is_float(dtype_of(a)):
        return el.identity(a)
    limits = np.finfo(dtype_of(a))
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    a = el.select(el.isnan(a), full_like(a, nan), a)
    above = el.equal(a, full_like(a, np.inf))
    below = el.equal(a, full_like(a, -np.inf))
    a = el.select(above, full_like(a, float(high)), a)
    return el.select(below, full_like(a, float(low)), a)


def sinc(x: Any) -> Operand:
    """sin(pi x) / (pi x), and 1 at 0 with derivative 0.

    Near 0 it is its Taylor series, to below rounding: the quotient's derivatives would cancel.
    """
    a = el.times(as_float(x), np.pi)
    near = el.less(el.absolute(a), full_like(a, 0.3))
    safe = el.select(near, full_like(a, 1.0), a)
    square = el.square(a)
    series: Operand = full_like(a, 1.0)
    for n in (13, 11, 9, 7, 5, 3):  # 1 - a^2 / (2 * 3) (1 - a^2 / (4 * 5) (1 - ...))
        series = el.minus_from(1.0, el.times(el.mul(square, series), 1.0 / (n * (n - 1))))
    return el.select(near, series, el.div(el.sin(safe), safe))


def astype(x: Any, dtype: Any, copy: bool = True) -> Operand:
    """x in another dtype. Casting a float to an integer ends differentiation there."""
    own = operand(x)
    if dtype_of(own) == np.dtype(dtype):
        return el.identity(own) if copy else own
    return cast_to(own, np.dtype(dtype))


def round_(a: Any, decimals: int = 0, out: None = None) -> Operand:
    """Rounded to `decimals`; piecewise constant, so its derivative is 0."""
    x = operand(a)
    if not is_float(dtype_of(x)):
        if decimals < 0:
            raise UnsupportedError("round: negative decimals of integers are not supported here")
        return el.identity(x)
    factor = full_like(x, 10.0 ** abs(decimals))
    if decimals < 0:
        return el.mul(el.rint(el.div(x, factor)), factor)
    return el.div(el.rint(el.mul(x, factor)), factor) if decimals else el.rint(x)


def fix(x: Any) -> Operand:
    """Rounded towards zero."""
    return ufunc(np.trunc, x)


def _infinite(sign: float) -> Function:
    def function(x: Any) -> Operand:
        a = operand(x)
        return el.equal(a, full_like(a, sign * np.inf))

    return function


def real(x: Any) -> Operand:
    """The real part: x itself, since complex arrays are refused."""
    return operand(x)


def imag(x: Any) -> Operand:
    """The imaginary part of a real array: zeros."""
    return zeros_like(operand(x))


UFUNCS: dict[np.ufunc, Function] = {
    np._core.umath.clip: clip,  # pyright: ignore[reportAttributeAccessIssue]
}
FUNCTIONS: dict[Function, Function] = {
    np.where: where,
    np.clip: clip,
    np.select: select,
    np.nan_to_num: nan_to_num,
    np.sinc: sinc,
    np.round: round_,
    np.around: round_,
    np.fix: fix,
    np.isposinf: _infinite(1.0),
    np.isneginf: _infinite(-1.0),
    np.real: real,
    np.imag: imag,
    np.astype: astype,
}
METHODS: dict[str, Function] = {
    "clip": clip,
    "round": round_,
    "astype": astype,
    "conj": real,
    "conjugate": real,
}
