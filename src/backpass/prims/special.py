"""The special functions, under SciPy's names: error, gamma, Bessel and entropy functions.

A row says what its derivative needs and what it is. The references are those of scipy.special,
looked up when they are needed: SciPy is no dependency of the core. erf, erfc, gammaln and i0 work
without it, by the math module and NumPy. A derivative with respect to a parameter (an order of a
Bessel function, ...) that has no closed form is refused, never zero.
Derivatives: Abramowitz & Stegun 1964, chapters 6, 7 and 9; NIST Digital Library of Mathematical
Functions (DLMF).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.errors import MissingDependencyError
from backpass.ir import NotDifferentiable, Operand, Primitive
from backpass.ir.graph import Array
from backpass.prims import elementwise as el
from backpass.prims.elementwise import (
    add,
    binary,
    div,
    equal,
    exp,
    flat,
    less_equal,
    log,
    log1p,
    logical_and,
    logistic,
    minus_from,
    mul,
    neg,
    plus,
    reciprocal,
    select,
    sign,
    square,
    sub,
    times,
    unary,
)
from backpass.prims.rules import elementwise, full_like, per_input, refuse, scale, zeros_like

TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)
ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
DEGREE = math.pi / 180.0


def scipy_special(name: str) -> Callable[..., Any]:
    """The function of scipy.special with this name; raises MissingDependencyError without SciPy."""
    try:
        module = importlib.import_module("scipy.special")
    except ImportError as error:
        raise MissingDependencyError("scipy", f"The function {name}", extra="scipy") from error
    return getattr(module, name)


def by_scipy(name: str) -> Callable[..., Array]:
    """A reference that calls scipy.special and keeps the dtype of its operands."""

    def reference(*xs: Array) -> Array:
        return np.asarray(scipy_special(name)(*xs), xs[0].dtype)

    return reference


def by_scipy_or(name: str, own: Callable[..., Any]) -> Callable[..., Array]:
    """A reference that calls scipy.special, or without SciPy a function of one array."""

    def reference(x: Array) -> Array:
        try:
            return np.asarray(scipy_special(name)(x), x.dtype)
        except MissingDependencyError:
            return np.asarray(own(x)).astype(x.dtype)

    return reference


def _log_gamma(x: float) -> float:
    """math.lgamma with inf at its poles and infinities, as SciPy has it."""
    if math.isinf(x) or (x <= 0.0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


def special(
    name: str, needs: str, d: Callable[[Any, Any], Operand], own: Callable[..., Any] | None = None
) -> Primitive:
    """A row: a function of one input by its name in scipy.special, and its local derivative."""
    return unary(name, by_scipy(name) if own is None else by_scipy_or(name, own), d, needs)


def _half(x: Operand) -> Operand:
    return times(x, 0.5)


def _gauss(x: Operand) -> Operand:
    """exp(-x^2)."""
    return exp(neg(square(x)))


erf = special(
    "erf", "x", lambda x, y: times(_gauss(x), TWO_OVER_ROOT_PI), own=np.frompyfunc(math.erf, 1, 1)
)
erfc: Primitive = special(
    "erfc",
    "x",
    lambda x, y: times(_gauss(x), -TWO_OVER_ROOT_PI),
    own=np.frompyfunc(math.erfc, 1, 1),
)
erfcx = special("erfcx", "xy", lambda x, y: plus(times(mul(x, y), 2.0), -TWO_OVER_ROOT_PI))
erfi = special("erfi", "x", lambda x, y: times(exp(square(x)), TWO_OVER_ROOT_PI))
dawsn = special("dawsn", "xy", lambda x, y: minus_from(1.0, times(mul(x, y), 2.0)))
erfinv = special("erfinv", "y", lambda x, y: times(exp(square(y)), 1.0 / TWO_OVER_ROOT_PI))
erfcinv = special("erfcinv", "y", lambda x, y: times(exp(square(y)), -1.0 / TWO_OVER_ROOT_PI))
ndtr = special("ndtr", "x", lambda x, y: times(exp(times(square(x), -0.5)), 1.0 / ROOT_TWO_PI))
ndtri = special("ndtri", "y", lambda x, y: times(exp(_half(square(y))), ROOT_TWO_PI))
ndtri_exp = special(
    "ndtri_exp", "xy", lambda x, y: times(exp(add(x, _half(square(y)))), ROOT_TWO_PI)
)
log_ndtr: Primitive = special(
    "log_ndtr",
    "xy",
    lambda x, y: times(exp(sub(times(square(x), -0.5), y)), 1.0 / ROOT_TWO_PI),
)
logit = special("logit", "x", lambda x, y: reciprocal(mul(x, minus_from(1.0, x))))
log_expit = special("log_expit", "x", lambda x, y: logistic(neg(x)))
gammaln = special("gammaln", "x", lambda x, y: digamma(x), own=np.frompyfunc(_log_gamma, 1, 1))
loggamma = special("loggamma", "x", lambda x, y: digamma(x))
digamma = special("psi", "x", lambda x, y: polygamma(x, n=1))
gamma = special("gamma", "xy", lambda x, y: mul(y, digamma(x)))
entr = special("entr", "x", lambda x, y: minus_from(-1.0, log(x)))
exprel = special("exprel", "x", lambda x, y: _exprel_slope(x))
expi = special("expi", "x", lambda x, y: div(exp(x), x))
exp1 = special("exp1", "x", lambda x, y: neg(div(exp(neg(x)), x)))
exp10 = special("exp10", "y", lambda x, y: times(y, math.log(10.0)))
cosm1 = special("cosm1", "x", lambda x, y: neg(el.sin(x)))
sindg = special("sindg", "x", lambda x, y: times(cosdg(x), DEGREE))
cosdg = special("cosdg", "x", lambda x, y: times(sindg(x), -DEGREE))
tandg = special("tandg", "y", lambda x, y: times(plus(square(y), 1.0), DEGREE))
cotdg = special("cotdg", "y", lambda x, y: times(plus(square(y), 1.0), -DEGREE))
i0: Primitive = special("i0", "x", lambda x, y: i1(x), own=np.i0)
i1 = special("i1", "x", lambda x, y: _half(add(i0(x), iv(full_like(x, 2.0), x))))
i0e = special("i0e", "xy", lambda x, y: sub(i1e(x), mul(sign(x), y)))
i1e: Primitive = special(
    "i1e", "xy", lambda x, y: sub(_half(add(i0e(x), ive(full_like(x, 2.0), x))), mul(sign(x), y))
)
j0 = special("j0", "x", lambda x, y: neg(j1(x)))
j1 = special("j1", "x", lambda x, y: _half(sub(j0(x), jv(full_like(x, 2.0), x))))
y0 = special("y0", "x", lambda x, y: neg(y1(x)))
y1 = special("y1", "x", lambda x, y: _half(sub(y0(x), yv(full_like(x, 2.0), x))))
k0 = special("k0", "x", lambda x, y: neg(k1(x)))
k1 = special("k1", "x", lambda x, y: times(add(k0(x), kv(full_like(x, 2.0), x)), -0.5))
k0e = special("k0e", "xy", lambda x, y: sub(y, k1e(x)))
k1e: Primitive = special(
    "k1e", "xy", lambda x, y: sub(y, _half(add(k0e(x), kve(full_like(x, 2.0), x))))
)
gammasgn = flat("gammasgn", by_scipy("gammasgn"))


def _polygamma_reference(x: Array, n: int) -> Array:
    return np.asarray(scipy_special("polygamma")(n, x), x.dtype)


def _pull_polygamma(ct: Operand, y: Operand, x: Operand, n: int) -> Operand:
    return scale(ct, polygamma(x, n=n + 1))


# polygamma: the n-th derivative of digamma, n a fixed integer.
polygamma = elementwise(
    "polygamma",
    _polygamma_reference,
    per_input(_pull_polygamma),
)


def _refused(name: str, parameter: str) -> Callable[..., Operand]:
    reason = NotDifferentiable(
        f"its parameter {parameter} is traced, and the derivative with respect to it has no "
        f"closed form; pass {parameter} as a number or array that is not traced"
    )

    def pull(ct: Operand, y: Operand, *xs: Operand) -> Operand:
        raise refuse(name, reason)

    return pull


Slope = (
    Callable[[Any, Any, Any], Operand]
    | Callable[[Any, Any, Any, Any], Operand]
    | Callable[[Any, Any, Any, Any, Any], Operand]
)


def parametric(name: str, parameters: str, d: Slope) -> Primitive:
    """A function f(a, b, ..., x), parameters first; `d(y, a, b, ..., x)` is its derivative in x."""
    slope: Callable[..., Operand] = d
    refusals = [_refused(name, parameter) for parameter in parameters.split()]

    def pull(ct: Operand, y: Operand, *xs: Operand) -> Operand:
        return scale(ct, slope(y, *xs))

    return elementwise(name, by_scipy(name), per_input(*refusals, pull))


def _neighbours(primitive: Callable[[], Primitive], v: Operand, x: Operand) -> list[Operand]:
    """The functions of the orders below and above."""
    return [primitive()(plus(v, -1.0), x), primitive()(plus(v, 1.0), x)]


# Bessel functions of any fixed order (DLMF 10.6.1, 10.29.1); ive and kve are scaled by exp(-|x|)
# and exp(x).
jv: Primitive = parametric("jv", "v", lambda y, v, x: _half(sub(*_neighbours(lambda: jv, v, x))))
yv: Primitive = parametric("yv", "v", lambda y, v, x: _half(sub(*_neighbours(lambda: yv, v, x))))
iv: Primitive = parametric("iv", "v", lambda y, v, x: _half(add(*_neighbours(lambda: iv, v, x))))
kv: Primitive = parametric(
    "kv", "v", lambda y, v, x: times(add(*_neighbours(lambda: kv, v, x)), -0.5)
)
ive: Primitive = parametric(
    "ive",
    "v",
    lambda y, v, x: sub(_half(add(*_neighbours(lambda: ive, v, x))), mul(sign(x), y)),
)
kve: Primitive = parametric(
    "kve", "v", lambda y, v, x: sub(y, _half(add(*_neighbours(lambda: kve, v, x))))
)
# Confluent and Gauss hypergeometric functions (DLMF 13.3.15, 15.5.1).
hyp0f1 = parametric("hyp0f1", "v", lambda y, v, x: div(hyp0f1(plus(v, 1.0), x), v))
hyp1f1 = parametric(
    "hyp1f1",
    "a b",
    lambda y, a, b, x: mul(div(a, b), hyp1f1(plus(a, 1.0), plus(b, 1.0), x)),
)
hyp2f1 = parametric(
    "hyp2f1",
    "a b c",
    lambda y, a, b, c, x: mul(
        div(mul(a, b), c), hyp2f1(plus(a, 1.0), plus(b, 1.0), plus(c, 1.0), x)
    ),
)


def _gamma_density(a: Operand, x: Operand) -> Operand:
    """x^(a-1) exp(-x) / gamma(a), by logarithms."""
    return exp(sub(sub(xlogy(plus(a, -1.0), x), x), gammaln(a)))


gammainc = parametric("gammainc", "a", lambda y, a, x: _gamma_density(a, x))
gammaincc = parametric("gammaincc", "a", lambda y, a, x: neg(_gamma_density(a, x)))


def _beta_density(a: Operand, b: Operand, x: Operand) -> Operand:
    """x^(a-1) (1-x)^(b-1) / beta(a, b), by logarithms."""
    powers = add(xlogy(plus(a, -1.0), x), xlog1py(plus(b, -1.0), neg(x)))
    return exp(sub(powers, betaln(a, b)))


betainc = parametric("betainc", "a b", lambda y, a, b, x: _beta_density(a, b, x))
betaincc = parametric("betaincc", "a b", lambda y, a, b, x: neg(_beta_density(a, b, x)))


def _psi_less(x: Operand, other: Operand) -> Operand:
    """digamma(x) - digamma(x + other)."""
    return sub(digamma(x), digamma(add(x, other)))


beta = binary(
    "beta",
    by_scipy("beta"),
    dx=lambda x, y, z: mul(z, _psi_less(x, y)),
    dy=lambda x, y, z: mul(z, _psi_less(y, x)),
)
betaln = binary(
    "betaln",
    by_scipy("betaln"),
    dx=lambda x, y, z: _psi_less(x, y),
    dy=lambda x, y, z: _psi_less(y, x),
)


def _zero_where(condition: Operand, x: Operand) -> Operand:
    return select(condition, zeros_like(x), x)


def _ratio(x: Operand, y: Operand) -> Operand:
    """x / y, and 0 wherever x is 0: 0 log y is 0 for every y, so it does not depend on y."""
    zero = equal(x, zeros_like(x))
    return _zero_where(zero, div(x, select(zero, full_like(y, 1.0), y)))


def _log_factor(x: Operand, y: Operand, logarithm: Primitive, bound: float) -> Operand:
    """log y, and 0 where x is 0 and y <= bound, where log y is infinite or NaN (as PyTorch)."""
    flat_here = logical_and(equal(x, zeros_like(x)), less_equal(y, full_like(y, bound)))
    return _zero_where(flat_here, logarithm(select(flat_here, full_like(y, 1.0), y)))


xlogy = binary(
    "xlogy",
    by_scipy("xlogy"),
    dx=lambda x, y, z: _log_factor(x, y, log, 0.0),
    dy=lambda x, y, z: _ratio(x, y),
)
xlog1py = binary(
    "xlog1py",
    by_scipy("xlog1py"),
    dx=lambda x, y, z: _log_factor(x, y, log1p, -1.0),
    dy=lambda x, y, z: _ratio(x, plus(y, 1.0)),
)
rel_entr = binary(
    "rel_entr",
    by_scipy("rel_entr"),
    dx=lambda x, y, z: plus(log(div(x, y)), 1.0),
    dy=lambda x, y, z: neg(_ratio(x, y)),
)
kl_div = binary(
    "kl_div",
    by_scipy("kl_div"),
    dx=lambda x, y, z: log(div(x, y)),
    dy=lambda x, y, z: minus_from(1.0, _ratio(x, y)),
)


def _exprel_slope(x: Operand) -> Operand:
    """The derivative of exprel."""
    return _half(hyp1f1(full_like(x, 2.0), full_like(x, 3.0), x))


# boxcox(x, m) = log(x) exprel(m log(x)): smooth in m through m = 0.
boxcox = binary(
    "boxcox",
    by_scipy("boxcox"),
    dx=lambda x, m, z: el.power(x, plus(m, -1.0)),
    dy=lambda x, m, z: mul(square(log(x)), _exprel_slope(mul(m, log(x)))),
)
boxcox1p = binary(
    "boxcox1p",
    by_scipy("boxcox1p"),
    dx=lambda x, m, z: el.power(plus(x, 1.0), plus(m, -1.0)),
    dy=lambda x, m, z: mul(square(log1p(x)), _exprel_slope(mul(m, log1p(x)))),
)
