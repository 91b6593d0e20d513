"""Covariances, polynomials and ranges over operands: cov, corrcoef, polyval, linspace, ...

Least squares polynomials go through the pseudo-inverse, whose derivative is known in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.dtypes import at_least_float, common
from backpass.errors import ShapeError
from backpass.ir import Operand
from backpass.ops.elementwise import clip
from backpass.ops.indexing import diag, getitem
from backpass.ops.joining import concatenate, stack
from backpass.ops.operand import broadcast_to, cast_to, dtype_of, operand, refuse_option, shape_of
from backpass.ops.product import matmul, outer
from backpass.ops.reduction import average, safe_sqrt, sum_
from backpass.ops.shape import atleast_2d, moveaxis, reshape, transpose
from backpass.ops.ufuncs import ufunc
from backpass.prims import elementwise as el
from backpass.prims.linalg import pinv
from backpass.prims.rules import full_like

Function = Callable[..., Any]


def _observations(m: Any, y: Any, rowvar: bool, dtype: Any) -> Operand:
    """Variables in rows, observations in columns."""
    given = [operand(v) for v in (m, y) if v is not None]
    own = np.result_type(common(*given), np.float64) if dtype is None else np.dtype(dtype)
    rows = []
    for v in given:
        x = atleast_2d(cast_to(v, own))
        if not rowvar and len(shape_of(v)) != 1:
            x = transpose(x)
        rows.append(x)
    return concatenate(rows, 0) if len(rows) > 1 else rows[0]


def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Operand:
    """The covariance matrix of variables in rows (in columns with rowvar=False)."""
    x = _observations(m, y, rowvar, dtype)
    less = (0 if bias else 1) if ddof is None else ddof
    weights = None
    for given in (fweights, aweights):
        if given is not None:
            weights = given if weights is None else ufunc(np.multiply, weights, given)
    mean = average(x, 1, weights)
    total: Any = np.float64(shape_of(x)[1]) if weights is None else sum_(weights)
    if weights is None or aweights is None or less == 0:
        factor = ufunc(np.subtract, total, float(less))
    else:
        spread = sum_(ufunc(np.multiply, weights, aweights))
        bias_of_weights = ufunc(np.divide, ufunc(np.multiply, spread, less), total)
        factor = ufunc(np.subtract, total, bias_of_weights)
    factor = clip(factor, 0.0)
    x = ufunc(np.subtract, x, reshape(mean, (shape_of(x)[0], 1)))
    weighted = x if weights is None else ufunc(np.multiply, x, weights)
    found = ufunc(np.divide, matmul(x, transpose(weighted)), factor)
    return reshape(found, ()) if shape_of(found) == (1, 1) else found


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Operand:
    """The matrix of correlation coefficients, cut to [-1, 1]."""
    c = cov(x, y, rowvar, dtype=dtype)
    if not shape_of(c):
        return ufunc(np.divide, c, c)
    deviation = safe_sqrt(diag(c))
    return clip(ufunc(np.divide, c, outer(deviation, deviation)), -1, 1)


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Operand:
    """The matrix of powers of a vector."""
    a = operand(x)
    if len(shape_of(a)) != 1:
        raise ShapeError(f"vander: x must be a vector, got shape {shape_of(a)}")
    a = cast_to(a, np.promote_types(dtype_of(a), np.int64))
    count = shape_of(a)[0] if N is None else N
    powers: list[Operand] = []
    for _ in range(count):
        powers.append(el.mul(powers[-1], a) if powers else full_like(a, 1))
    if not powers:
        return np.empty((*shape_of(a), 0), dtype_of(a))
    return stack(powers if increasing else powers[::-1], 1)


def polyval(p: Any, x: Any) -> Operand:
    """A polynomial, highest power first, by Horner's rule."""
    coefficients, a = operand(p), operand(x)
    y: Any = full_like(a, 0)
    for i in range(shape_of(coefficients)[0]):
        y = ufunc(np.add, ufunc(np.multiply, y, a), getitem(coefficients, i))
    return y


def polyfit(
    x: Any,
    y: Any,
    deg: int,
    rcond: Any = None,
    full: bool = False,
    w: Any = None,
    cov: bool | str = False,
) -> Operand:
    """The coefficients of the least squares polynomial, highest power first."""
    refuse_option("polyfit", "full", full, False)
    refuse_option("polyfit", "cov", cov, False)
    dtype = np.dtype(np.float64)
    places, values = cast_to(operand(x), dtype), cast_to(operand(y), dtype)
    if len(shape_of(places)) != 1 or not shape_of(places)[0] or not shape_of(values):
        raise TypeError("polyfit: expected non-empty vector for x, and values y")
    left = vander(places, int(deg) + 1)
    if w is not None:
        weights = reshape(cast_to(operand(w), dtype), (-1, 1))
        left = ufunc(np.multiply, left, weights)
        values = ufunc(np.multiply, values, weights if len(shape_of(values)) > 1 else w)
    scales = el.sqrt(sum_(el.square(left), 0))
    bound = shape_of(places)[0] * float(np.finfo(dtype).eps) if rcond is None else float(rcond)
    inverse = pinv(ufunc(np.divide, left, scales), rcond=bound)
    found = matmul(inverse, values)
    return ufunc(np.divide, found, reshape(scales, (-1,) + (1,) * (len(shape_of(found)) - 1)))


def _coefficients(p: Any) -> Operand:
    """A vector of coefficients."""
    x = operand(p)
    if len(shape_of(x)) > 1:
        raise ShapeError(f"the coefficients of a polynomial are a vector, got shape {shape_of(x)}")
    return x if shape_of(x) else reshape(x, (1,))


def _polynomial_sum(combine: np.ufunc) -> Function:
    def function(a1: Any, a2: Any) -> Operand:
        dtype = common(a1, a2)
        xs = [_coefficients(cast_to(operand(a), dtype)) for a in (a1, a2)]
        n = max([shape_of(x)[0] for x in xs])
        full = [concatenate([np.zeros(n - shape_of(x)[0], dtype), x]) for x in xs]
        return ufunc(combine, *full)

    return function


def polyder(p: Any, m: int = 1) -> Operand:
    """The coefficients of the m-th derivative."""
    x = _coefficients(p)
    if m < 0:
        raise ValueError(f"polyder: order must be non-negative, got {m}")
    for _ in range(m):
        n = shape_of(x)[0] - 1
        x = ufunc(np.multiply, getitem(x, slice(None, -1)), np.arange(n, 0, -1))
    return x


def polyint(p: Any, m: int = 1, k: Any = None) -> Operand:
    """The coefficients of the m-th antiderivative, with constants k."""
    x = _coefficients(p)
    if m < 0:
        raise ValueError(f"polyint: order must be non-negative, got {m}")
    constants = reshape(operand(0.0 if k is None else k), -1)
    constants = broadcast_to(constants, (m,)) if shape_of(constants) == (1,) else constants
    for i in range(m):
        divided = ufunc(np.divide, x, np.arange(shape_of(x)[0], 0, -1))
        x = concatenate([divided, getitem(constants, slice(i, i + 1))])
    return x


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: None = None,
) -> Any:
    """Evenly spaced numbers from start to stop; both may be traced."""
    own = at_least_float(common(start, stop))
    low, high = (cast_to(operand(v), own) for v in (start, stop))
    gaps = num - 1 if endpoint else num
    width = ufunc(np.subtract, high, low)
    depth = len(shape_of(width))
    steps = np.arange(num, dtype=own).reshape((-1,) + (1,) * depth)
    step = ufunc(np.divide, width, gaps) if gaps > 0 else full_like(width, np.nan)
    found = ufunc(np.add, ufunc(np.multiply, steps, step if gaps > 0 else width), low)
    if endpoint and num > 1:
        last = reshape(broadcast_to(high, shape_of(width)), (1, *shape_of(width)))
        found = concatenate([getitem(found, slice(None, -1)), last])
    found = moveaxis(found, 0, axis) if axis else found
    found = found if dtype is None else cast_to(found, np.dtype(dtype))
    return (found, step) if retstep else found


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Operand:
    """base raised to evenly spaced exponents."""
    exponents = linspace(start, stop, num, endpoint)
    found = ufunc(np.power, base, exponents)
    found = moveaxis(found, 0, axis) if axis else found
    return found if dtype is None else cast_to(found, np.dtype(dtype))


def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Operand:
    """Numbers of one ratio from start to stop, which must have the same sign."""
    own = np.result_type(common(start, stop), np.float64)
    low, high = (cast_to(operand(v), own) for v in (start, stop))
    ratio = ufunc(np.log, ufunc(np.divide, high, low))
    exponents = linspace(full_like(ratio, 0.0), ratio, num, endpoint)
    found = ufunc(np.multiply, low, ufunc(np.exp, exponents))
    if endpoint and num > 1:
        last = reshape(broadcast_to(high, shape_of(ratio)), (1, *shape_of(ratio)))
        found = concatenate([getitem(found, slice(None, -1)), last])
    found = moveaxis(found, 0, axis) if axis else found
    return found if dtype is None else cast_to(found, np.dtype(dtype))


def angle(z: Any, deg: bool = False) -> Operand:
    """The angle of real numbers: 0, or pi where they are negative; piecewise constant."""
    x = operand(z)
    x = cast_to(x, at_least_float(dtype_of(x)))
    turned = ufunc(np.arctan2, full_like(x, 0.0), el.stop(x))
    return el.times(turned, 180.0 / np.pi) if deg else turned


FUNCTIONS: dict[Function, Function] = {
    np.cov: cov,
    np.corrcoef: corrcoef,
    np.vander: vander,
    np.polyval: polyval,
    np.polyfit: polyfit,
    np.polyadd: _polynomial_sum(np.add),
    np.polysub: _polynomial_sum(np.subtract),
    np.polyder: polyder,
    np.polyint: polyint,
    np.linspace: linspace,
    np.logspace: logspace,
    np.geomspace: geomspace,
    np.angle: angle,
}
