"""Functions of one element at a time, and their derivatives as rows of a table.

`d(x, y)` is the local derivative from input x and output y; `needs` says which of them it reads,
which is what must be kept for the backward pass. The derivative multiplies the cotangent through
`scale`, so a cotangent of exactly zero stays exactly zero. Conventions at kinks are listed in
docs/conventions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.ir import Lowering, NotDifferentiable, Operand, Primitive, TensorType, type_of
from backpass.ir.graph import Array, tensor_type
from backpass.prims.rules import (
    batch_elementwise,
    check_one_type,
    elementwise,
    full_like,
    no_gradient,
    per_input,
    same_shape,
    scale,
    zeros_like,
)

LN_2, LN_10 = float(np.log(2.0)), float(np.log(10.0))
Derivative = Callable[[Any, Any], Operand]


def unary(name: str, reference: Callable[..., Any], d: Derivative, needs: str) -> Primitive:
    """A differentiable function of one input; d sees only what `needs` names ("x", "y", "xy")."""

    def pull(ct: Operand, y: Operand, x: Operand) -> Operand:
        return scale(ct, d(x if "x" in needs else None, y if "y" in needs else None))

    return elementwise(name, reference, per_input(pull))


def binary(
    name: str,
    reference: Callable[..., Any],
    dx: Callable[[Operand, Operand, Operand], Operand],
    dy: Callable[[Operand, Operand, Operand], Operand],
) -> Primitive:
    """A differentiable function of two inputs; dx and dy see both inputs and the output."""
    return elementwise(
        name,
        reference,
        per_input(
            lambda ct, z, x, y: scale(ct, dx(x, y, z)),
            lambda ct, z, x, y: scale(ct, dy(x, y, z)),
        ),
    )


def flat(name: str, reference: Callable[..., Any]) -> Primitive:
    """A piecewise constant function: its derivative is zero wherever it exists."""
    return elementwise(name, reference, no_gradient("piecewise constant"))


def predicate(name: str, reference: Callable[..., Any]) -> Primitive:
    """A function with boolean results."""
    return elementwise(name, reference, no_gradient("boolean output"), same_shape(np.bool_))


# Arithmetic. These pull back without a local derivative, so they are paragraphs.
add = elementwise("add", np.add, per_input(lambda ct, z, x, y: ct, lambda ct, z, x, y: ct))
sub = elementwise(
    "sub", np.subtract, per_input(lambda ct, z, x, y: ct, lambda ct, z, x, y: neg(ct))
)
neg = elementwise("neg", np.negative, per_input(lambda ct, y, x: neg(ct)))
mul = binary("mul", np.multiply, dx=lambda x, y, z: y, dy=lambda x, y, z: x)
div = binary(
    "div",
    np.divide,
    dx=lambda x, y, z: reciprocal(y),
    dy=lambda x, y, z: neg(div(z, y)),
)


def times(x: Operand, number: float) -> Operand:
    """x times a number."""
    return mul(x, full_like(x, number))


def plus(x: Operand, number: float) -> Operand:
    """x plus a number."""
    return add(x, full_like(x, number))


def minus_from(number: float, x: Operand) -> Operand:
    """A number minus x."""
    return sub(full_like(x, number), x)


def one_minus_square(y: Operand) -> Operand:
    """1 - y^2 as (1 - y)(1 + y), which keeps its accuracy near y = 1."""
    return mul(minus_from(1.0, y), plus(y, 1.0))


def one_plus_square(x: Operand) -> Operand:
    """1 + x^2."""
    return plus(mul(x, x), 1.0)


def _arcsine_slope(x: Operand) -> Operand:
    """1 / sqrt(1 - x^2)."""
    return reciprocal(sqrt(one_minus_square(x)))


def _arccosh_slope(x: Operand) -> Operand:
    """1 / sqrt(x^2 - 1) as a product of two roots, which is NaN for every x below 1."""
    return reciprocal(mul(sqrt(plus(x, -1.0)), sqrt(plus(x, 1.0))))


def _logistic(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow, by way of exp(-|x|)."""
    e = np.exp(-np.abs(x))
    one = np.ones((), e.dtype)
    return np.where(x >= 0, one, e) / (one + e)


# fmt: off
reciprocal = unary("reciprocal", np.reciprocal, needs="y", d=lambda x, y: neg(mul(y, y)))
exp      = unary("exp",      np.exp,      needs="y", d=lambda x, y: y)
exp2     = unary("exp2",     np.exp2,     needs="y", d=lambda x, y: times(y, LN_2))
expm1    = unary("expm1",    np.expm1,    needs="y", d=lambda x, y: plus(y, 1.0))
log      = unary("log",      np.log,      needs="x", d=lambda x, y: reciprocal(x))
log2     = unary("log2",     np.log2,     needs="x", d=lambda x, y: reciprocal(times(x, LN_2)))
log10    = unary("log10",    np.log10,    needs="x", d=lambda x, y: reciprocal(times(x, LN_10)))
log1p    = unary("log1p",    np.log1p,    needs="x", d=lambda x, y: reciprocal(plus(x, 1.0)))
sqrt     = unary("sqrt",     np.sqrt,     needs="y", d=lambda x, y: reciprocal(add(y, y)))
cbrt     = unary("cbrt",     np.cbrt,     needs="y",
                 d=lambda x, y: reciprocal(times(mul(y, y), 3.0)))
square   = unary("square",   np.square,   needs="x", d=lambda x, y: add(x, x))
sin      = unary("sin",      np.sin,      needs="x", d=lambda x, y: cos(x))
cos      = unary("cos",      np.cos,      needs="x", d=lambda x, y: neg(sin(x)))
tan      = unary("tan",      np.tan,      needs="y", d=lambda x, y: one_plus_square(y))
arcsin   = unary("arcsin",   np.arcsin,   needs="x", d=lambda x, y: _arcsine_slope(x))
arccos   = unary("arccos",   np.arccos,   needs="x", d=lambda x, y: neg(_arcsine_slope(x)))
arctan   = unary("arctan",   np.arctan,   needs="x", d=lambda x, y: reciprocal(one_plus_square(x)))
sinh     = unary("sinh",     np.sinh,     needs="x", d=lambda x, y: cosh(x))
cosh     = unary("cosh",     np.cosh,     needs="x", d=lambda x, y: sinh(x))
tanh     = unary("tanh",     np.tanh,     needs="y", d=lambda x, y: one_minus_square(y))
arcsinh  = unary("arcsinh",  np.arcsinh,  needs="x",
                 d=lambda x, y: reciprocal(hypot(x, full_like(x, 1.0))))
arccosh  = unary("arccosh",  np.arccosh,  needs="x", d=lambda x, y: _arccosh_slope(x))
arctanh  = unary("arctanh",  np.arctanh,  needs="x", d=lambda x, y: reciprocal(one_minus_square(x)))
logistic = unary("logistic", _logistic,   needs="y", d=lambda x, y: mul(y, minus_from(1.0, y)))
absolute = unary("abs",      np.absolute, needs="x", d=lambda x, y: sign(x))

sign  = flat("sign",  np.sign)
floor = flat("floor", np.floor)
ceil  = flat("ceil",  np.ceil)
rint  = flat("rint",  np.rint)
trunc = flat("trunc", np.trunc)
spacing   = flat("spacing",   np.spacing)
floor_divide = flat("floor_divide", np.floor_divide)
bit_and   = flat("bitwise_and", np.bitwise_and)
bit_or    = flat("bitwise_or",  np.bitwise_or)
bit_xor   = flat("bitwise_xor", np.bitwise_xor)
invert    = flat("invert",      np.invert)
left_shift  = flat("left_shift",  np.left_shift)
right_shift = flat("right_shift", np.right_shift)
gcd = flat("gcd", np.gcd)
lcm = flat("lcm", np.lcm)

equal         = predicate("equal",         np.equal)
not_equal     = predicate("not_equal",     np.not_equal)
less          = predicate("less",          np.less)
less_equal    = predicate("less_equal",    np.less_equal)
greater       = predicate("greater",       np.greater)
greater_equal = predicate("greater_equal", np.greater_equal)
logical_not   = predicate("logical_not",   np.logical_not)
logical_and   = predicate("logical_and",   np.logical_and)
logical_or    = predicate("logical_or",    np.logical_or)
logical_xor   = predicate("logical_xor",   np.logical_xor)
isfinite      = predicate("isfinite",      np.isfinite)
isnan         = predicate("isnan",         np.isnan)
isinf         = predicate("isinf",         np.isinf)
signbit       = predicate("signbit",       np.signbit)
# fmt: on


def _exponent(x: Array) -> Array:
    return np.frexp(x)[1]


exponent = elementwise("exponent", _exponent, no_gradient("integer"), same_shape(np.int32))
bit_count = elementwise("bit_count", np.bitwise_count, no_gradient("integer"), same_shape(np.uint8))


def half_where(tie: Operand, chosen: Operand, like: Operand) -> Operand:
    """1 where chosen, 1/2 where tied, else 0: how maximum and minimum share a cotangent."""
    inside = select(chosen, full_like(like, 1.0), zeros_like(like))
    return select(tie, full_like(like, 0.5), inside)


maximum = binary(
    "maximum",
    np.maximum,
    dx=lambda x, y, z: half_where(equal(x, y), greater(x, y), z),
    dy=lambda x, y, z: half_where(equal(x, y), greater(y, x), z),
)
minimum = binary(
    "minimum",
    np.minimum,
    dx=lambda x, y, z: half_where(equal(x, y), less(x, y), z),
    dy=lambda x, y, z: half_where(equal(x, y), less(y, x), z),
)


def _safe_ratio(x: Operand, z: Operand) -> Operand:
    """x / z, and 0 where z is 0: the subgradient of a norm at the origin."""
    zero = equal(z, zeros_like(z))
    return select(zero, zeros_like(z), div(x, select(zero, full_like(z, 1.0), z)))


hypot = binary(
    "hypot", np.hypot, dx=lambda x, y, z: _safe_ratio(x, z), dy=lambda x, y, z: _safe_ratio(y, z)
)


def _power_dx(x: Operand, y: Operand, z: Operand) -> Operand:
    """y x^(y-1), and 0 where x and y are 0 (so that x^0 is flat there too)."""
    zero = logical_and(equal(y, zeros_like(y)), equal(x, zeros_like(x)))
    exponent = select(zero, full_like(y, 1.0), plus(y, -1.0))
    return mul(y, power(x, exponent))


def _power_dy(x: Operand, y: Operand, z: Operand) -> Operand:
    """x^y log x, and 0 where x is 0 and y >= 0 (the limit, and what a constant 0^y has)."""
    at_zero = logical_and(equal(x, zeros_like(x)), greater_equal(y, zeros_like(y)))
    safe = select(at_zero, full_like(x, 1.0), x)
    return select(at_zero, zeros_like(z), mul(z, log(safe)))


power = binary("power", np.power, dx=_power_dx, dy=_power_dy)


def _square_sum(x: Operand, y: Operand) -> Operand:
    return add(mul(x, x), mul(y, y))


arctan2 = binary(
    "arctan2",
    np.arctan2,
    dx=lambda x, y, z: div(y, _square_sum(x, y)),
    dy=lambda x, y, z: neg(div(x, _square_sum(x, y))),
)
logaddexp = binary(
    "logaddexp",
    np.logaddexp,
    dx=lambda x, y, z: exp(sub(x, z)),
    dy=lambda x, y, z: exp(sub(y, z)),
)
logaddexp2 = binary(
    "logaddexp2",
    np.logaddexp2,
    dx=lambda x, y, z: exp2(sub(x, z)),
    dy=lambda x, y, z: exp2(sub(y, z)),
)
# remainder(x, y) = x - y floor(x / y); fmod truncates instead.
remainder = binary(
    "remainder",
    np.remainder,
    dx=lambda x, y, z: full_like(x, 1.0),
    dy=lambda x, y, z: neg(floor(div(x, y))),
)
fmod = binary(
    "fmod",
    np.fmod,
    dx=lambda x, y, z: full_like(x, 1.0),
    dy=lambda x, y, z: neg(trunc(div(x, y))),
)
# copysign(x, y) = |x| sign(y): its derivative is sign(x) sign(y), the sign bit deciding at
# y = 0.
copysign = elementwise(
    "copysign",
    np.copysign,
    per_input(
        lambda ct, z, x, y: scale(ct, mul(sign(x), copysign(full_like(y, 1.0), y))),
        NotDifferentiable("piecewise constant in the second input"),
    ),
)
nextafter = elementwise(
    "nextafter",
    np.nextafter,
    per_input(lambda ct, z, x, y: ct, NotDifferentiable("piecewise constant in the second input")),
)
ldexp = Primitive(
    name="ldexp",
    shape=lambda x, n: (x,),
    reference=np.ldexp,
    vjp=per_input(lambda ct, y, x, n: ldexp(ct, n), NotDifferentiable("integer exponent")),
    batch=batch_elementwise(lambda: ldexp),
    lower=Lowering.ELEMENTWISE,
    single=True,
)


def _select_shape(c: TensorType, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
    check_one_type("select", (x, y))
    check_one_type("select", (tensor_type(c.shape, x.dtype), x))
    return (x,)


# select(c, x, y): x where c, else y. The branch that is not taken gets a cotangent of exactly zero.
select = Primitive(
    name="select",
    shape=_select_shape,
    reference=np.where,
    vjp=per_input(
        NotDifferentiable("boolean input"),
        lambda ct, z, c, x, y: select(c, ct, zeros_like(ct)),
        lambda ct, z, c, x, y: select(c, zeros_like(ct), ct),
    ),
    batch=batch_elementwise(lambda: select),
    lower=Lowering.ELEMENTWISE,
    single=True,
)

# cast: another dtype. Between floats the cotangent is cast back; through integers and booleans
# nothing flows.
cast = Primitive(
    name="cast",
    shape=lambda t, dtype: (tensor_type(t.shape, np.dtype(dtype)),),
    reference=lambda x, dtype: np.asarray(x).astype(dtype),
    vjp=per_input(lambda ct, y, x, dtype: cast(ct, dtype=type_of(x).dtype)),
    batch=batch_elementwise(lambda: cast),
    lower=Lowering.ELEMENTWISE,
    single=True,
)


def _itself(x: Array) -> Array:
    return x


# identity: what a transform puts between an outer traced value and the function it differentiates.
identity = elementwise("identity", _itself, per_input(lambda ct, y, x: ct))
# stop: the value without its derivative.
stop = elementwise("stop_gradient", _itself, no_gradient("stopped on request"))
