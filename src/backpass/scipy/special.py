"""`backpass.scipy.special`: functions of scipy.special on arrays and traced arrays.

The ufuncs of scipy.special take traced arrays themselves, so `from scipy import special` works in
most code. Those that are no ufuncs (logsumexp, softmax, log_softmax, polygamma) cannot be reached
that way: call them from here. erf, erfc, gammaln and what is made of NumPy's functions need no
SciPy; the others say so when it is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backpass.errors import UnsupportedError
from backpass.ops import elementwise as elementwise_ops
from backpass.ops import reduction
from backpass.ops import special as special_ops
from backpass.trace import to_result, unwrap
from backpass.trace.cells import read_cells

Function = Callable[..., Any]


def _call(function: Function, *args: Any, **options: Any) -> Any:
    """A function of `ops/` on arrays, Cells and traced arrays."""
    return to_result(function(*[unwrap(read_cells(x)) for x in args], **options))


def _named(name: str) -> Function:
    """The face of one ufunc."""

    def function(*xs: Any) -> Any:
        return _call(special_ops.NAMED[name], *xs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"scipy.special.{name}, on arrays and traced arrays."
    return function


erf = _named("erf")
erfc = _named("erfc")
erfcx = _named("erfcx")
erfi = _named("erfi")
dawsn = _named("dawsn")
erfinv = _named("erfinv")
erfcinv = _named("erfcinv")
ndtr = _named("ndtr")
ndtri = _named("ndtri")
ndtri_exp = _named("ndtri_exp")
log_ndtr = _named("log_ndtr")
expit = _named("expit")
logit = _named("logit")
log_expit = _named("log_expit")
gammaln = _named("gammaln")
loggamma = _named("loggamma")
psi = _named("psi")
digamma = psi
gamma = _named("gamma")
gammasgn = _named("gammasgn")
gammainc = _named("gammainc")
gammaincc = _named("gammaincc")
beta = _named("beta")
betaln = _named("betaln")
betainc = _named("betainc")
betaincc = _named("betaincc")
entr = _named("entr")
rel_entr = _named("rel_entr")
kl_div = _named("kl_div")
xlogy = _named("xlogy")
xlog1py = _named("xlog1py")
boxcox = _named("boxcox")
boxcox1p = _named("boxcox1p")
exprel = _named("exprel")
expi = _named("expi")
exp1 = _named("exp1")
exp10 = _named("exp10")
exp2 = _named("exp2")
expm1 = _named("expm1")
log1p = _named("log1p")
cbrt = _named("cbrt")
cosm1 = _named("cosm1")
sindg = _named("sindg")
cosdg = _named("cosdg")
tandg = _named("tandg")
cotdg = _named("cotdg")
i0 = _named("i0")
i1 = _named("i1")
i0e = _named("i0e")
i1e = _named("i1e")
iv = _named("iv")
ive = _named("ive")
j0 = _named("j0")
j1 = _named("j1")
jv = _named("jv")
jn = jv
y0 = _named("y0")
y1 = _named("y1")
yv = _named("yv")
yn = _named("yn")
k0 = _named("k0")
k1 = _named("k1")
k0e = _named("k0e")
k1e = _named("k1e")
kv = _named("kv")
kve = _named("kve")
kn = _named("kn")
hyp0f1 = _named("hyp0f1")
hyp1f1 = _named("hyp1f1")
hyp2f1 = _named("hyp2f1")
huber = _named("huber")
pseudo_huber = _named("pseudo_huber")
round = _named("round")


def sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), and 1 at 0.

    >>> float(sinc(0.5)) == 2 / 3.141592653589793
    True
    """
    return _call(elementwise_ops.sinc, x)


def polygamma(n: int, x: Any) -> Any:
    """The n-th derivative of digamma at x; n is an integer >= 0, not traced.

    >>> f"{polygamma(1, 1.0):.6f}"
    '1.644934'
    """
    return _call(special_ops.polygamma, n, x)


def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """log(sum(b exp(a))) over `axis` without overflow.

    Args:
        a: any shape.
        axis: the axes to sum over (an int, a tuple, or None for all).
        b: factors that broadcast to a; all sums must be positive, else the result is NaN.
        keepdims: whether the summed axes stay with extent 1.
        return_sign: not built; an UnsupportedError.

    >>> import numpy as np
    >>> logsumexp(np.array([1000.0, 1000.0]))
    np.float64(1000.6931471805599)
    """
    if return_sign:
        raise UnsupportedError("logsumexp: return_sign=True is not built; take the sign yourself")
    factors = None if b is None else unwrap(read_cells(b))
    return _call(reduction.logsumexp, a, axis=axis, b=factors, keepdims=keepdims)


def softmax(x: Any, axis: Any = None) -> Any:
    """exp(x) / sum(exp(x)) over `axis` (all of x where it is None), without overflow.

    >>> import numpy as np
    >>> softmax(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    return _call(special_ops.softmax, x, axis=axis)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """log(softmax(x, axis)), accurate where a probability is small.

    >>> import numpy as np
    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    return _call(special_ops.log_softmax, x, axis=axis)


__all__ = [
    "beta",
    "betainc",
    "betaincc",
    "betaln",
    "boxcox",
    "boxcox1p",
    "cbrt",
    "cosdg",
    "cosm1",
    "cotdg",
    "dawsn",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfi",
    "erfinv",
    "exp1",
    "exp2",
    "exp10",
    "expi",
    "expit",
    "expm1",
    "exprel",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaln",
    "gammasgn",
    "huber",
    "hyp0f1",
    "hyp1f1",
    "hyp2f1",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "iv",
    "ive",
    "j0",
    "j1",
    "jn",
    "jv",
    "k0",
    "k0e",
    "k1",
    "k1e",
    "kl_div",
    "kn",
    "kv",
    "kve",
    "log1p",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "loggamma",
    "logit",
    "logsumexp",
    "ndtr",
    "ndtri",
    "ndtri_exp",
    "polygamma",
    "pseudo_huber",
    "psi",
    "rel_entr",
    "round",
    "sinc",
    "sindg",
    "softmax",
    "tandg",
    "xlog1py",
    "xlogy",
    "y0",
    "y1",
    "yn",
    "yv",
]
