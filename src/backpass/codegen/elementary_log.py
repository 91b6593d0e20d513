"""Logarithms, and the inverse hyperbolic functions made of log1p, in float32 and float64.

x = 2^k m with m in [sqrt(1/2), sqrt(2)); f = m - 1 is exact. log m = f - (f^2/2 - s (f^2/2 + z L))
with s = f / (2 + f) and z = s^2, where 2 s + s z L(z) is 2 artanh s (Tang 1990); L is a minimax
polynomial. The leading terms are exact, so the error of s counts little.
"""

from __future__ import annotations

from dataclasses import dataclass

from backpass.codegen.elementary_exp import LN_2, LN_2_PARTS, TINY, exp, exp2
from backpass.codegen.lanes import (
    EXPONENT_BIAS,
    MANTISSA,
    Lanes,
    copy_sign,
    fast_two_sum,
    fma,
    from_bits,
    polynomial,
    sqrt,
    two_product,
    two_sum,
    where,
)

INF, NAN = float("inf"), float("nan")
# (2 artanh s - 2 s) / (s z) for z = s^2 <= 0.0295: errors 2^-29.4 and 2^-58.6, times z / 2
LOG_TAIL = {
    4: (0.6666677594184875, 0.39976033568382263, 0.29926854372024536),
    8: (
        0.666666666666671,
        0.3999999999951718,
        0.28571428730011206,
        0.2222219900540672,
        0.181835764301804,
        0.15313030196707642,
        0.14811936060417372,
    ),
}
ROOT_HALF_BITS = {4: 0x3F3504F3, 8: 0x3FE6A09E667F3BCD}
SMALLEST_NORMAL = {4: 2.0**-126, 8: 2.0**-1022}
# 1 / ln 2, 1 / ln 10 and log10 2, each as an upper part (short, for log10 2) and the rest
LOG2_E = {
    4: (1.4426950216293335, 1.9259629911266175e-08),
    8: (1.4426950408889634, 2.0355273740931033e-17),
}
LOG10_E = {
    4: (0.4342944920063019, -1.0103050052231683e-08),
    8: (0.4342944819032518, 1.098319650216765e-17),
}
LOG10_2 = {
    4: (0.301025390625, 4.605038981195214e-06),
    8: (0.3010299956640665, -8.532344317057107e-14),
}
# Beyond these, x + sqrt(x^2 +- 1) is 2 x.
LARGE = {4: 2.0**30, 8: 2.0**60}


@dataclass(frozen=True, slots=True, eq=False)
class Parted:
    """A positive number as 2^k (1 + f); `biased` is k plus the bias of the exponent, an integer."""

    k: Lanes
    f: Lanes
    biased: Lanes


def parted(x: Lanes, normal: bool = False) -> Parted:
    """Part a positive x; subnormal ones are scaled up first unless there are none."""
    size, bias, mantissa = x.size, EXPONENT_BIAS[x.size], MANTISSA[x.size]
    shift: Lanes | None = None
    if not normal:
        small = x < SMALLEST_NORMAL[size]
        shift = where(small, x.const(-float(mantissa + 2)), 0.0)
        x = where(small, x * 2.0 ** (mantissa + 2), x)
    top = x.bits() + ((bias << mantissa) - ROOT_HALF_BITS[size])
    biased = top.shift_right(mantissa)
    f = from_bits((top & ((1 << mantissa) - 1)) + ROOT_HALF_BITS[size]) - 1.0
    power = 2.0**mantissa
    k = from_bits(biased | ((bias + mantissa) << mantissa)) - (power + bias)
    return Parted(k if shift is None else k + shift, f, biased)


def log_terms(f: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(s, f^2 / 2, z L(z))."""
    s = f / (f + 2.0)
    z = s * s
    return s, f * 0.5 * f, z * polynomial(z, LOG_TAIL[f.size])


def checked(y: Lanes, x: Lanes) -> Lanes:
    """y = log x where x is positive and finite; -inf at 0, NaN below, inf and NaN as they are."""
    return where(x > 0.0, where(x < INF, y, x), where(x.equals(0.0), x.const(-INF), NAN))


def log(x: Lanes) -> Lanes:
    """The natural logarithm."""
    return checked(log_of_positive(x), x)


def log_of_positive(x: Lanes, low: Lanes | None = None, normal: bool = False) -> Lanes:
    """log(x + low) of a positive finite x; low is small, and 0 where x is subnormal.

    `normal` says that there are no subnormal ones.
    """
    p = parted(x, normal)
    s, half_square, tail = log_terms(p.f)
    upper, lower = LN_2_PARTS[x.size]
    rest = p.k * lower
    if low is not None:
        rest = rest + _correction(p, s, low)
    return fma(p.k, upper, p.f - (half_square - fma(s, half_square + tail, rest)))


def _correction(p: Parted, s: Lanes, low: Lanes) -> Lanes:
    """low / x: low 2^-k / m, with 1 / m = (1 - s) / (1 + s)."""
    size = s.size
    scale = from_bits((2 * EXPONENT_BIAS[size] + 1 - p.biased) << MANTISSA[size])  # 2^(1 - k)
    return low * 0.5 * scale * fma(s, fma(s, 2.0, s.const(-2.0)), s.const(1.0))


def _log_mantissa(f: Lanes) -> tuple[Lanes, Lanes]:
    """log(1 + f) as a sum of two floats, good to some more bits than one has."""
    s, _, tail = log_terms(f)
    square, square_error = two_product(f * 0.5, f)
    high = f - square
    low = ((f - high) - square) - square_error
    return high, fma(s, square + tail, low)


def _other_base(x: Lanes, factor: tuple[float, float], step: tuple[float, float]) -> Lanes:
    """log x times a factor, where a step is that factor times ln 2; each in two parts."""
    p = parted(x)
    high, low = _log_mantissa(p.f)
    y, error = two_product(high, factor[0])
    error = error + fma(high, factor[1], low * factor[0])
    start = p.k * step[0]
    total, lost = fast_two_sum(start, y)
    return checked(total + (lost + fma(p.k, step[1], error)), x)


def log2(x: Lanes) -> Lanes:
    """The logarithm to base 2; exact at powers of 2."""
    return _other_base(x, LOG2_E[x.size], (1.0, 0.0))


def log10(x: Lanes) -> Lanes:
    """The logarithm to base 10."""
    return _other_base(x, LOG10_E[x.size], LOG10_2[x.size])


def log1p(x: Lanes) -> Lanes:
    """log(1 + x) by log of the rounded sum, corrected by what the rounding lost."""
    total, lost = two_sum(x.const(1.0), x)
    y = log_of_positive(total, lost, normal=True)
    return where(abs(x) < TINY[x.size] ** 2, x, checked_log1p(y, x))


def checked_log1p(y: Lanes, x: Lanes) -> Lanes:
    """log1p at and outside of the ends of its domain."""
    return where(x > -1.0, where(x < INF, y, x), where(x.equals(-1.0), x.const(-INF), NAN))


def log1p_of_positive(x: Lanes) -> Lanes:
    """log(1 + x) for finite x >= 0, correct for tiny ones too but for the sign of 0."""
    return log_of_positive(*two_sum(x.const(1.0), x), normal=True)


def logaddexp(x: Lanes, y: Lanes) -> Lanes:
    """log(e^x + e^y) = max + log1p(e^-|x - y|); equal ones, infinities too, give x + ln 2."""
    sum_ = where(x > y, x, y) + log1p_of_positive(exp(-abs(x - y)))
    return where(x.equals(y), x + LN_2, sum_)


def logaddexp2(x: Lanes, y: Lanes) -> Lanes:
    """log2(2^x + 2^y)."""
    tail = log1p_of_positive(exp2(-abs(x - y))) * LOG2_E[x.size][0]
    return where(x.equals(y), x + 1.0, where(x > y, x, y) + tail)


def arcsinh(x: Lanes) -> Lanes:
    """log1p(|x| + x^2 / (1 + sqrt(1 + x^2))), with the sign of x; log |x| + ln 2 for large ones."""
    size = abs(x)
    large = size > LARGE[x.size]
    square = size * size
    small = size + square / (sqrt(square + 1.0) + 1.0)
    y = _log1p_or_twice(small, size, large)
    y = where(size < INF, y, size)
    return where(size < TINY[x.size], x, copy_sign(y, x))


def arccosh(x: Lanes) -> Lanes:
    """log1p(t + sqrt(2 t + t^2)) with t = x - 1; log x + ln 2 for large ones."""
    t = x - 1.0
    y = _log1p_or_twice(t + sqrt(fma(t, t, t + t)), x, x > LARGE[x.size])
    return where(x >= 1.0, where(x < INF, y, x), NAN)


def _log1p_or_twice(small: Lanes, x: Lanes, large: Lanes) -> Lanes:
    """log(1 + small), or log(2 x) where x is large."""
    return log1p_of_positive(where(large, x, small)) + where(large, x.const(LN_2), 0.0)


def arctanh(x: Lanes) -> Lanes:
    """log1p(2 |x| / (1 - |x|)) / 2, with the sign of x."""
    size = abs(x)
    ratio = (size + size) / (1.0 - size)
    y = copy_sign(log1p_of_positive(ratio) * 0.5, x)
    y = where(size < 1.0, y, where(size.equals(1.0), copy_sign(x.const(INF), x), NAN))
    return where(size < TINY[x.size], x, y)


def log_expit(x: Lanes) -> Lanes:
    """log(1 / (1 + e^-x)) = min(x, 0) - log1p(e^-|x|)."""
    return -(log1p_of_positive(exp(-abs(x))) - where(x > 0.0, 0.0, x))


def logit(x: Lanes) -> Lanes:
    """log(x / (1 - x)), near 1/2 by log1p((2x - 1) / (1 - x))."""
    near = abs(x - 0.5) < 0.2
    rest = 1.0 - x
    whole, lost = two_sum(x.const(1.0), (x + x - 1.0) / rest)
    ratio = x / rest
    y = log_of_positive(where(near, whole, ratio), where(near, lost, 0.0))
    return where((x > 0.0) & (x < 1.0), y, checked_logit(x))


def checked_logit(x: Lanes) -> Lanes:
    """logit at and outside of the ends of its domain."""
    return where(x.equals(0.0), x.const(-INF), where(x.equals(1.0), x.const(INF), NAN))


def entr(x: Lanes) -> Lanes:
    """-x log x; 0 at 0, -inf below."""
    inside = -(x * log(x))
    return where(x > 0.0, inside, where(x < 0.0, x.const(-INF), where(x.equals(0.0), 0.0, x)))


def xlogy(x: Lanes, y: Lanes) -> Lanes:
    """x log y; 0 where x is 0 and y is no NaN."""
    return where(x.equals(0.0) & ~y.is_nan(), 0.0, x * log(y))


def xlog1py(x: Lanes, y: Lanes) -> Lanes:
    """x log(1 + y); 0 where x is 0 and y is no NaN."""
    return where(x.equals(0.0) & ~y.is_nan(), 0.0, x * log1p(y))
