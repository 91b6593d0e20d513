"""The functions of scipy.special over operands: promotion, broadcasting, then one primitive.

`NAMED` maps the name of a ufunc of scipy.special to the function that applies it;
`trace/dispatch.py` looks there when a ufunc is SciPy's. logsumexp, softmax and log_softmax are no
ufuncs; their face is `backpass.scipy.special`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from backpass.dtypes import DType, at_least_float, common, promotable
from backpass.errors import DTypeError
from backpass.ir import Operand, Primitive
from backpass.ops.elementwise import where
from backpass.ops.operand import (
    Axis,
    broadcast_to,
    cast_to,
    common_shape,
    dtype_of,
    operand,
    shape_of,
)
from backpass.ops.reduction import max_, sum_
from backpass.prims import elementwise as el
from backpass.prims import special as sp
from backpass.prims.rules import full_like, zeros_like

Function = Callable[..., Any]


# Their float64 loop comes first, so it runs unless all arguments are float32 already.
WIDE = frozenset({"gammainc", "gammaincc", "hyp2f1", "kn", "yn"})


def special_dtype(name: str, *xs: Any) -> DType:
    """The dtype of SciPy's loops: float32 for float32 and what is smaller, else float64."""
    dtype = common(*xs)
    if name in WIDE and any([promotable(x) != np.float32 for x in xs]):
        return np.dtype(np.float64)
    small = dtype.itemsize <= 2 or dtype == np.float32
    return np.dtype(np.float32 if small else np.float64)


def apply_special(name: str, primitive: Primitive, *xs: Any) -> Operand:
    """One primitive over operands of one floating dtype and their common shape."""
    dtype = special_dtype(name, *xs)
    return primitive(*common_shape(name, *[cast_to(operand(x), dtype) for x in xs]))


def polygamma(n: Any, x: Any) -> Operand:
    """The n-th derivative of digamma at x; n is a non-negative integer, not traced."""
    if not isinstance(n, (int, np.integer)) or n < 0:
        raise DTypeError(f"polygamma: the order n must be a fixed integer >= 0, got {n!r}")
    if n == 0:
        return apply_special("psi", sp.digamma, x)
    return sp.polygamma(cast_to(operand(x), special_dtype("polygamma", x)), n=int(n))


def _top(x: Operand, axis: Axis) -> Operand:
    """The maximum over axis spread over x, without a derivative; it keeps exp from overflow."""
    top = el.stop(max_(x, axis, keepdims=True))
    top = el.select(el.isfinite(top), top, zeros_like(top))
    return broadcast_to(top, shape_of(x))


def softmax(x: Any, axis: Axis = None) -> Operand:
    """exp(x) / sum(exp(x)) over `axis`, without overflow; x itself if it is empty."""
    a = _as_special(x)
    if 0 in shape_of(a):
        return a
    e = el.exp(el.sub(a, _top(a, axis)))
    return el.div(e, broadcast_to(sum_(e, axis, keepdims=True), shape_of(a)))


def log_softmax(x: Any, axis: Axis = None) -> Operand:
    """log(softmax(x, axis)), without overflow or loss of small probabilities."""
    a = _as_special(x)
    if 0 in shape_of(a):
        return a
    shifted = el.sub(a, _top(a, axis))
    total = el.log(sum_(el.exp(shifted), axis, keepdims=True))
    return el.sub(shifted, broadcast_to(total, shape_of(a)))


def _as_special(x: Any) -> Operand:
    own = operand(x)
    return own if own.dtype.kind == "f" else cast_to(own, np.dtype(np.float64))


def huber(delta: Any, r: Any) -> Operand:
    """r^2 / 2 up to |r| = delta, then delta (|r| - delta / 2); infinite for a negative delta."""
    d, x = common_shape(
        "huber", *[cast_to(operand(v), special_dtype("huber", delta, r)) for v in (delta, r)]
    )
    size = el.absolute(x)
    outside = el.mul(d, el.sub(size, el.times(d, 0.5)))
    inside = el.times(el.square(x), 0.5)
    found = el.select(el.less_equal(size, d), inside, outside)
    return where(el.less(d, zeros_like(d)), cast_to(operand(np.inf), found.dtype), found)


def pseudo_huber(delta: Any, r: Any) -> Operand:
    """delta^2 (sqrt(1 + (r / delta)^2) - 1), infinite for a negative delta, 0 for delta = 0."""
    d, x = common_shape(
        "pseudo_huber", *[cast_to(operand(v), special_dtype("huber", delta, r)) for v in (delta, r)]
    )
    zero = el.equal(d, zeros_like(d))
    ratio = el.div(x, el.select(zero, full_like(d, 1.0), d))
    # sqrt(1 + u^2) - 1 = u^2 / (sqrt(1 + u^2) + 1), which keeps its accuracy for small u
    squared = el.square(ratio)
    root = el.plus(el.sqrt(el.plus(squared, 1.0)), 1.0)
    found = el.mul(el.square(d), el.div(squared, root))
    return where(el.less(d, zeros_like(d)), cast_to(operand(np.inf), found.dtype), found)


def _row(primitive: Primitive) -> Function:
    return partial(apply_special, primitive.name, primitive)


PRIMITIVES: tuple[Primitive, ...] = (
    sp.erf,
    sp.erfc,
    sp.erfcx,
    sp.erfi,
    sp.dawsn,
    sp.erfinv,
    sp.erfcinv,
    sp.ndtr,
    sp.ndtri,
    sp.ndtri_exp,
    sp.log_ndtr,
    sp.logit,
    sp.log_expit,
    sp.gammaln,
    sp.loggamma,
    sp.digamma,
    sp.gamma,
    sp.gammasgn,
    sp.gammainc,
    sp.gammaincc,
    sp.beta,
    sp.betaln,
    sp.betainc,
    sp.betaincc,
    sp.entr,
    sp.rel_entr,
    sp.kl_div,
    sp.xlogy,
    sp.xlog1py,
    sp.boxcox,
    sp.boxcox1p,
    sp.exprel,
    sp.expi,
    sp.exp1,
    sp.exp10,
    sp.cosm1,
    sp.sindg,
    sp.cosdg,
    sp.tandg,
    sp.cotdg,
    sp.i0,
    sp.i1,
    sp.i0e,
    sp.i1e,
    sp.iv,
    sp.ive,
    sp.j0,
    sp.j1,
    sp.jv,
    sp.y0,
    sp.y1,
    sp.yv,
    sp.k0,
    sp.k1,
    sp.k0e,
    sp.k1e,
    sp.kv,
    sp.kve,
    sp.hyp0f1,
    sp.hyp1f1,
    sp.hyp2f1,
)
NAMED: dict[str, Function] = {
    **{p.name: _row(p) for p in PRIMITIVES},
    "kn": partial(apply_special, "kn", sp.kv),
    "yn": partial(apply_special, "yn", sp.yv),
    "expit": partial(apply_special, "expit", el.logistic),
    "cbrt": partial(apply_special, "cbrt", el.cbrt),
    "exp2": partial(apply_special, "exp2", el.exp2),
    "expm1": partial(apply_special, "expm1", el.expm1),
    "log1p": partial(apply_special, "log1p", el.log1p),
    "round": partial(apply_special, "round", el.rint),
    "huber": huber,
    "pseudo_huber": pseudo_huber,
}


def np_i0(x: Any) -> Operand:
    """np.i0: the modified Bessel function of order 0."""
    own = operand(x)
    dtype = at_least_float(dtype_of(own))
    return cast_to(apply_special("i0", sp.i0, cast_to(own, dtype)), dtype)


FUNCTIONS: dict[Function, Function] = {np.i0: np_i0}
