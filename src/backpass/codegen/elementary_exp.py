"""exp and what is made of it: exp2, expm1, tanh, logistic, ..., in float32 and float64.

x = n ln 2 + r with |r| <= ln(2) / 2; e^r - 1 = r + r^2 q(r), q a minimax polynomial (Remez exchange
in 50 digits, as all polynomials of these files); then a scaling by 2^n through the exponent bits. n
comes out of the low bits of x / ln 2 + 1.5 * 2^52, so no conversion to integers is needed. ln 2 is
split so that n times its upper part is exact (Cody & Waite 1980).
"""

from __future__ import annotations

from backpass.codegen.lanes import (
    EXPONENT_BIAS,
    MANTISSA,
    Lanes,
    at_least,
    at_most,
    copy_sign,
    fma,
    from_bits,
    magic,
    polynomial,
    two_product,
    where,
)

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453
LN_10_PARTS = {
    4: (2.3025851249694824, -3.197543673785701e-08),
    8: (2.302585092994046, -2.1707562233822494e-16),
}
# ln 2 as a short upper part and the rest, by the size of the float
LN_2_PARTS = {
    4: (0.693145751953125, 1.4286068203094173e-06),
    8: (0.6931471805601177, -1.7239444525614835e-13),
}
# (e^r - 1 - r) / r^2 on |r| <= 0.3476: errors 2^-23.9 and 2^-53.1, times r^2
EXP_TAIL = {
    4: (
        0.5,
        0.16666576266288757,
        0.04166636988520622,
        0.008363360539078712,
        0.0013941603247076273,
    ),
    8: (
        0.5000000000000001,
        0.16666666666666674,
        0.0416666666666231,
        0.008333333333321742,
        0.0013888888917722869,
        0.000198412698880969,
        2.4801520508017342e-05,
        2.7557240545464035e-06,
        2.762046182259003e-07,
        2.5110756407008394e-08,
    ),
}
MAGIC_BITS = {4: 0x4B400000, 8: 0x4338000000000000}  # of 1.5 * 2^23 and 1.5 * 2^52
# Beyond these exp is 0 or inf, and sinh is inf.
EXP_RANGE = {4: (-105.0, 89.0), 8: (-746.0, 710.0)}
SINH_LIMIT = {4: 89.5, 8: 710.6}
EXP10_RANGE = {4: (-50.0, 40.0), 8: (-330.0, 310.0)}
EXP2_RANGE = {4: (-151.0, 128.0), 8: (-1076.0, 1024.0)}
ONE_BELOW = -50.0  # e^x - 1 is -1 below this
TANH_LIMIT = {4: 10.0, 8: 22.0}
# Below these x + x^3/3 is x.
TINY = {4: 2.0**-13, 8: 2.0**-28}


def reduced(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(t, high, low): the bits of t end in n, and x = n ln 2 + high + low; high is exact."""
    upper, lower = LN_2_PARTS[x.size]
    t = fma(x, LOG2_E, x.const(magic(x.dtype)))
    n = t - magic(x.dtype)
    return t, fma(n, -upper, x), n * -lower


def exp_reduced(x: Lanes, low: Lanes | None = None) -> tuple[Lanes, Lanes]:
    """(t, e^r), where the bits of t end in n and x + low = n ln 2 + r."""
    t, high, rest = reduced(x)
    r = high + (rest if low is None else rest + low)
    return t, expm1_near_zero(r) + 1.0


def expm1_near_zero(r: Lanes) -> Lanes:
    """e^r - 1 for |r| <= ln(2) / 2."""
    return fma(r * r, polynomial(r, EXP_TAIL[r.size]), r)


def power_of_two(t: Lanes, extra: int) -> Lanes:
    """2^(n + extra), where the bits of t end in n and the result is a normal number."""
    return from_bits((t.bits() + (EXPONENT_BIAS[t.size] + extra)) << MANTISSA[t.size])


def scaled(y: Lanes, t: Lanes) -> Lanes:
    """y 2^n for any n that ends t's bits, rounded once: two factors of about 2^(n/2)."""
    bias, mantissa = EXPONENT_BIAS[y.size], MANTISSA[y.size]
    whole = t.bits() - (MAGIC_BITS[t.size] - 2 * bias)
    half = whole.shift_right(1)
    return y * from_bits(half << mantissa) * from_bits((whole - half) << mantissa)


def exp(x: Lanes, low: Lanes | None = None) -> Lanes:
    """e^(x + low), where low is a small correction of x."""
    lowest, highest = EXP_RANGE[x.size]
    t, y = exp_reduced(at_least(at_most(x, highest), lowest), low)
    return scaled(y, t)


def exp_of_negative(x: Lanes, low: Lanes | None = None) -> Lanes:
    """e^(x + low) for x <= 0 where the result is a normal number."""
    t, y = exp_reduced(x, low)
    return y * power_of_two(t, 0)


def exp2(x: Lanes) -> Lanes:
    """2^x: x less its nearest integer is exact."""
    lowest, highest = EXP2_RANGE[x.size]
    x = at_least(at_most(x, highest), lowest)
    t = x + magic(x.dtype)
    r = (x - (t - magic(x.dtype))) * LN_2
    return scaled(expm1_near_zero(r) + 1.0, t)


def exp10(x: Lanes) -> Lanes:
    """10^x = e^(x ln 10), the product in two parts."""
    lowest, highest = EXP10_RANGE[x.size]
    x = at_least(at_most(x, highest), lowest)
    upper, lower = LN_10_PARTS[x.size]
    product, error = two_product(x, upper)
    return exp(product, fma(x, lower, error))


def quarter_expm1(x: Lanes) -> Lanes:
    """(e^x - 1) / 4 for x up to SINH_LIMIT: the quarter keeps 2^n finite."""
    t, high, low = reduced(x)
    r = high + low
    tail = fma(r * r, polynomial(r, EXP_TAIL[r.size]), low)
    scale = power_of_two(t, -2)
    return fma(tail, scale, fma(high, scale, scale - 0.25))


def expm1(x: Lanes) -> Lanes:
    """e^x - 1; x itself where it is tiny."""
    q = quarter_expm1(at_least(at_most(x, SINH_LIMIT[x.size]), ONE_BELOW))
    return where(abs(x) < TINY[x.size] ** 2, x, q * 4.0)


def exprel(x: Lanes) -> Lanes:
    """(e^x - 1) / x; 1 at 0."""
    y = where(x < float("inf"), expm1(x) / x, x)
    return where(x.equals(0.0), 1.0, y)


def sinh(x: Lanes) -> Lanes:
    """(t + t / (t + 1)) / 2 with t = e^|x| - 1."""
    size = abs(x)
    half = quarter_expm1(at_most(size, SINH_LIMIT[x.size])) * 2.0
    part = at_most(half, 2.0**60)  # from there on the quotient is 1/2
    y = half + part / fma(part, 2.0, part.const(1.0))
    return where(size < TINY[x.size], x, copy_sign(y, x))


def cosh(x: Lanes) -> Lanes:
    """(e^|x| + e^-|x|) / 2."""
    half = quarter_expm1(at_most(abs(x), SINH_LIMIT[x.size])) * 2.0 + 0.5
    return half + 0.25 / half


def tanh(x: Lanes) -> Lanes:
    """t / (t + 2) with t = e^2|x| - 1."""
    size = abs(x)
    quarter = quarter_expm1(at_most(size + size, 2.0 * TANH_LIMIT[x.size]))
    y = quarter / (quarter + 0.5)
    return where(size < TINY[x.size], x, copy_sign(y, x))


def logistic(x: Lanes) -> Lanes:
    """1 / (1 + e^-x), by e^-|x|: no overflow, and its own small values where x is very negative."""
    e = exp(-abs(x))
    return where(x >= 0.0, 1.0, e) / (e + 1.0)
