"""NumPy's ufuncs over operands: dtypes by NumPy's own loops, broadcasting, then one primitive.

`UFUNCS` maps each ufunc to the function that applies it; one that is missing is refused by the
tracer. Functions that are no ufuncs but act on elements (where, clip, select, nan_to_num, ...) are
at the end, in `FUNCTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from backpass.dtypes import at_least_float, common, is_float, promotable, ufunc_dtypes
from backpass.errors import UnsupportedError
from backpass.ir import Operand, Primitive, Value, is_live
from backpass.ops.operand import (
    broadcast_to,
    cast_to,
    common_shape,
    dtype_of,
    is_given,
    operand,
    shape_of,
)
from backpass.prims import elementwise as el
from backpass.prims.rules import full_like, zeros_like

Function = Callable[..., Any]


def apply_ufunc(ufunc: np.ufunc, primitive: Primitive, *xs: Any) -> Operand:
    """One primitive over operands of the ufunc's loop dtypes and common shape."""
    given = tuple([x.weak or x.type.dtype if type(x) is Value else promotable(x) for x in xs])
    dtypes = ufunc_dtypes(ufunc, given)
    cast = [cast_to(operand(x), dtype) for x, dtype in zip(xs, dtypes, strict=False)]
    if len(cast) > 1:
        cast = common_shape(ufunc.__name__, *cast)
    found = primitive(*cast)
    if isinstance(given[0], type) and all([isinstance(d, type) for d in given]):
        return _still_weak(found) if ufunc in OPERATORS else found
    return found


# What Python's operators become: applied to Python scalars they give Python scalars.
OPERATORS = frozenset(
    (
        np.add,
        np.subtract,
        np.multiply,
        np.divide,
        np.power,
        np.negative,
        np.absolute,
        np.remainder,
        np.floor_divide,
    )
)


def _still_weak(x: Operand) -> Operand:
    """A result that decides no dtype, as the Python scalars that it comes from."""
    if type(x) is not Value or x.dtype.kind not in "fi":
        return x
    return replace(x, weak=float if x.dtype.kind == "f" else int)


def apply_mixed(ufunc: np.ufunc, primitive: Primitive, *xs: Any) -> Operand:
    """The same for boolean functions of one kind of number, whose primitives want equal dtypes."""
    dtype = common(*xs)
    return primitive(*common_shape(ufunc.__name__, *[cast_to(operand(x), dtype) for x in xs]))


def _number(x: Any) -> float | None:
    """x as a plain number where it is one, untraced and without a shape."""
    if isinstance(x, (int, float)) and not isinstance(x, bool):
        return float(x)
    if isinstance(x, (np.ndarray, np.generic)) and x.shape == () and x.dtype.kind in "fiu":
        return float(x)
    return None


def power(x: Any, y: Any) -> Operand:
    """x ** y, with the exponents that NumPy's operator special-cases as their own primitives."""
    dtypes = ufunc_dtypes(np.power, (promotable(x), promotable(y)))
    exponent = _number(y)
    if exponent is not None and is_float(dtypes[0]) and is_live(x):
        base = cast_to(operand(x), dtypes[0])
        short: dict[float, Primitive] = {
            2.0: el.square,
            1.0: el.identity,
            0.5: el.sqrt,
            -1.0: el.reciprocal,
        }
        if exponent in short:
            found = short[exponent](base)
            return _still_weak(found) if isinstance(promotable(x), type) else found
    return apply_ufunc(np.power, el.power, x, y)


def float_power(x: Any, y: Any) -> Operand:
    """x ** y in float64 at least."""
    return power(
        cast_to(operand(x), np.dtype(np.float64)), cast_to(operand(y), np.dtype(np.float64))
    )


def positive(x: Any) -> Operand:
    """x itself, under its own node."""
    return el.identity(operand(x))


def as_float(x: Any) -> Operand:
    """x as an operand of a floating dtype."""
    own = operand(x)
    return cast_to(own, at_least_float(dtype_of(own)))


def _scaled(factor: float) -> Function:
    def function(x: Any) -> Operand:
        return el.times(as_float(x), factor)

    return function


def heaviside(x: Any, h: Any) -> Operand:
    """0 below zero, h at zero, 1 above; NaN stays NaN."""
    a, b = _pair(np.heaviside, x, h)
    step = el.select(el.greater(a, zeros_like(a)), full_like(a, 1.0), zeros_like(a))
    step = el.select(el.equal(a, zeros_like(a)), b, step)
    return el.select(el.isnan(a), el.stop(a), step)


def _pair(ufunc: np.ufunc, x: Any, y: Any) -> list[Operand]:
    dtypes = ufunc_dtypes(ufunc, (promotable(x), promotable(y)))
    cast = [cast_to(operand(v), d) for v, d in zip((x, y), dtypes, strict=False)]
    return common_shape(ufunc.__name__, *cast)


def _without_nan(ufunc: np.ufunc, primitive: Primitive) -> Function:
    """fmax and fmin: the other operand where one is NaN."""

    def function(x: Any, y: Any) -> Operand:
        a, b = _pair(ufunc, x, y)
        if not is_float(dtype_of(a)):
            return primitive(a, b)
        return el.select(el.isnan(a), b, el.select(el.isnan(b), a, primitive(a, b)))

    return function


def _divmod(x: Any, y: Any) -> tuple[Operand, Operand]:
    return (
        apply_ufunc(np.floor_divide, el.floor_divide, x, y),
        apply_ufunc(np.remainder, el.remainder, x, y),
    )


def _modf(x: Any) -> tuple[Operand, Operand]:
    a = cast_to(operand(x), ufunc_dtypes(np.modf, (promotable(x),))[0])
    whole = el.trunc(a)
    infinite = el.isinf(a)
    part = el.sub(el.select(infinite, zeros_like(a), a), el.select(infinite, zeros_like(a), whole))
    return part, whole


UNARY: dict[np.ufunc, Primitive] = {
    np.negative: el.neg,
    np.reciprocal: el.reciprocal,
    np.exp: el.exp,
    np.exp2: el.exp2,
    np.expm1: el.expm1,
    np.log: el.log,
    np.log2: el.log2,
    np.log10: el.log10,
    np.log1p: el.log1p,
    np.sqrt: el.sqrt,
    np.cbrt: el.cbrt,
    np.square: el.square,
    np.sin: el.sin,
    np.cos: el.cos,
    np.tan: el.tan,
    np.arcsin: el.arcsin,
    np.arccos: el.arccos,
    np.arctan: el.arctan,
    np.sinh: el.sinh,
    np.cosh: el.cosh,
    np.tanh: el.tanh,
    np.arcsinh: el.arcsinh,
    np.arccosh: el.arccosh,
    np.arctanh: el.arctanh,
    np.absolute: el.absolute,
    np.fabs: el.absolute,
    np.sign: el.sign,
    np.floor: el.floor,
    np.ceil: el.ceil,
    np.rint: el.rint,
    np.trunc: el.trunc,
    np.spacing: el.spacing,
    np.invert: el.invert,
    np.logical_not: el.logical_not,
    np.isfinite: el.isfinite,
    np.isnan: el.isnan,
    np.isinf: el.isinf,
    np.signbit: el.signbit,
}
BINARY: dict[np.ufunc, Primitive] = {
    np.add: el.add,
    np.subtract: el.sub,
    np.multiply: el.mul,
    np.divide: el.div,
    np.arctan2: el.arctan2,
    np.hypot: el.hypot,
    np.logaddexp: el.logaddexp,
    np.logaddexp2: el.logaddexp2,
    np.maximum: el.maximum,
    np.minimum: el.minimum,
    np.remainder: el.remainder,
    np.fmod: el.fmod,
    np.floor_divide: el.floor_divide,
    np.copysign: el.copysign,
    np.nextafter: el.nextafter,
    np.bitwise_and: el.bit_and,
    np.bitwise_or: el.bit_or,
    np.bitwise_xor: el.bit_xor,
    np.left_shift: el.left_shift,
    np.right_shift: el.right_shift,
    np.gcd: el.gcd,
    np.lcm: el.lcm,
    np.ldexp: el.ldexp,
}
COMPARISONS: dict[np.ufunc, Primitive] = {
    np.equal: el.equal,
    np.not_equal: el.not_equal,
    np.less: el.less,
    np.less_equal: el.less_equal,
    np.greater: el.greater,
    np.greater_equal: el.greater_equal,
    np.logical_and: el.logical_and,
    np.logical_or: el.logical_or,
    np.logical_xor: el.logical_xor,
}
UFUNCS: dict[np.ufunc, Function] = {
    **{u: partial(apply_ufunc, u, p) for u, p in {**UNARY, **BINARY}.items()},
    **{u: partial(apply_mixed, u, p) for u, p in COMPARISONS.items()},
    np.power: power,
    np.float_power: float_power,
    np.positive: positive,
    np.conjugate: positive,
    np.degrees: _scaled(180.0 / np.pi),
    np.rad2deg: _scaled(180.0 / np.pi),
    np.radians: _scaled(np.pi / 180.0),
    np.deg2rad: _scaled(np.pi / 180.0),
    np.heaviside: heaviside,
    np.fmax: _without_nan(np.fmax, el.maximum),
    np.fmin: _without_nan(np.fmin, el.minimum),
    np.divmod: _divmod,
    np.modf: _modf,
    np._core.umath.clip: lambda x, low, high: clip(x, low, high),  # pyright: ignore[reportAttributeAccessIssue]
}


def ufunc(name: np.ufunc, *xs: Any) -> Any:
    """Apply a ufunc that has a rule; the other functions of `ops/` are written with this."""
    return UFUNCS[name](*xs)


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
    number = _number(bound)
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
__all__ = [
    "FUNCTIONS",
    "METHODS",
    "UFUNCS",
    "apply_ufunc",
    "astype",
    "broadcast_to",
    "clip",
    "nan_to_num",
    "power",
    "select",
    "shape_of",
    "sinc",
    "ufunc",
    "where",
]
