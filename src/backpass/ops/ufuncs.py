"""NumPy's ufuncs over operands: dtypes by NumPy's own loops, broadcasting, then one primitive.

`UFUNCS` maps each ufunc to the function that applies it; one that is missing is refused by the
tracer. Functions of single elements that are no ufuncs are in `elementwise`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from backpass.dtypes import DType, at_least_float, common, is_float, promotable, ufunc_dtypes
from backpass.ir import Operand, Primitive, Value, is_live
from backpass.ops.operand import (
    broadcast_shape,
    broadcast_to,
    cast_to,
    common_shape,
    dtype_of,
    operand,
    operand_of,
    shape_of,
)
from backpass.prims import elementwise as el
from backpass.prims.rules import full_like, zeros_like

Function = Callable[..., Any]


def apply_ufunc(ufunc: np.ufunc, primitive: Primitive, *xs: Any) -> Operand:
    """One primitive over operands of the ufunc's loop dtypes and common shape."""
    given = tuple([x.weak or x.type.dtype if type(x) is Value else promotable(x) for x in xs])
    dtypes = ufunc_dtypes(ufunc, given)
    cast = [operand_of(x, dtype) for x, dtype in zip(xs, dtypes, strict=False)]
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


def compare(ufunc: np.ufunc, primitive: Primitive, *xs: Any) -> Operand:
    """A comparison, whose primitive wants equal dtypes.

    A Python integer that the other's dtype cannot hold is compared by its value, as in NumPy: the
    answer is the same for all elements. One that is not known is compared in int64.
    """
    dtype = common(*xs)
    if dtype.kind in "iu":
        if any([type(x) is int and not _holds(dtype, x) for x in xs]):
            zeros = [x if type(x) is int else np.zeros((), dtype) for x in xs]
            shape = broadcast_shape(ufunc.__name__, *[shape_of(operand(x)) for x in xs])
            return broadcast_to(operand(ufunc(*zeros)), shape)
        if dtype.itemsize < 8 and any([promotable(x) is int and type(x) is Value for x in xs]):
            dtype = np.dtype(np.int64)
    return primitive(*common_shape(ufunc.__name__, *[operand_of(x, dtype) for x in xs]))


def _combine(ufunc: np.ufunc, primitive: Primitive, *xs: Any) -> Operand:
    """A logical function: of a Python integer it asks only whether it is 0."""
    return compare(ufunc, primitive, *[bool(x) if type(x) is int else x for x in xs])


def _holds(dtype: DType, number: int) -> bool:
    info = np.iinfo(dtype)
    return info.min <= number <= info.max


def number_of(x: Any) -> float | None:
    """x as a plain number where it is one, untraced and without a shape."""
    if isinstance(x, (int, float)) and not isinstance(x, bool):
        return float(x)
    if isinstance(x, (np.ndarray, np.generic)) and x.shape == () and x.dtype.kind in "fiu":
        return float(x)
    return None


def power(x: Any, y: Any) -> Operand:
    """x ** y, with the exponents that NumPy's operator special-cases as their own primitives."""
    dtypes = ufunc_dtypes(np.power, (promotable(x), promotable(y)))
    exponent = number_of(y)
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
}
LOGICAL: dict[np.ufunc, Primitive] = {
    np.logical_and: el.logical_and,
    np.logical_or: el.logical_or,
    np.logical_xor: el.logical_xor,
}
UFUNCS: dict[np.ufunc, Function] = {
    **{u: partial(apply_ufunc, u, p) for u, p in {**UNARY, **BINARY}.items()},
    **{u: partial(compare, u, p) for u, p in COMPARISONS.items()},
    **{u: partial(_combine, u, p) for u, p in LOGICAL.items()},
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
}


def ufunc(name: np.ufunc, *xs: Any) -> Any:
    """Apply a ufunc that has a rule; the other functions of `ops/` are written with this."""
    return UFUNCS[name](*xs)
