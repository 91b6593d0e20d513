"""power in float32 and float64; cbrt and hypot in float64 (float32 is widened).

power(x, y) = e^(y log x), where the logarithm is a sum of two floats that is good to 2^-64 of
itself, as y log x may be 745 and each of its bits counts (Tang 1991). For float32 one
float64 good to 2^-36 is enough; its special cases are told apart in float32.
"""

from __future__ import annotations

from backpass.codegen.elementary_exp import LN_2, LN_2_PARTS, exp, power_of_two, reduced
from backpass.codegen.elementary_log import INF, NAN, parted
from backpass.codegen.lanes import (
    F32,
    F64,
    Lanes,
    at_least,
    at_most,
    copy_sign,
    fast_two_sum,
    flip_sign,
    fma,
    from_bits,
    horner,
    magic,
    polynomial,
    round_even,
    sign_bit,
    sqrt,
    two_product,
    where,
)

# (2 artanh s - 2 s - 2/3 s^3) / s^5 for s^2 <= 0.0295: error 2^-71.7, times s^4 / 2
POWER_TAIL = (
    0.39999999999999997,
    0.28571428571432933,
    0.22222222220346902,
    0.1818181854729972,
    0.15384577354823092,
    0.13335588133400972,
    0.11688485791711342,
    0.11884039018111099,
)
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
# For float32: the first in s^2 to 2^-36.9, and (e^r - 1 - r) / r^2 to 2^-29.4
POWER_TAIL_32 = (0.6666666575420348, 0.40000339851974615, 0.2853598666331032, 0.236187250789546)
EXP_TAIL_32 = (
    0.5000000013715297,
    0.16666666758768414,
    0.04166646247079865,
    0.00833328513205666,
    0.0013933919932190518,
    0.00019908236899777868,
)
EXPONENT_LIMIT = {4: 2.0**100, 8: 2.0**900}  # x^y for any larger y is that of this one
# cube root on 0.353 <= v <= 2.83: error 2^-9
CBRT_START = (
    0.44338722172409745,
    0.8990254621819225,
    -0.4746049168676594,
    0.15362240303501834,
    -0.019590871812565455,
)
Pair = tuple[Lanes, Lanes]


def log_in_two(x: Lanes) -> Pair:
    """log x of a positive finite float64 x, as a sum of two floats."""
    p = parted(x)
    bottom, bottom_low = fast_two_sum(p.f.const(2.0), p.f)
    inverse = 1.0 / bottom
    s = p.f * inverse
    # f - s bottom, exactly: the product's upper part is near f
    product, error = two_product(s, bottom)
    s_low = (((p.f - product) - error) - s * bottom_low) * inverse
    z, z_low = two_product(s, s)
    z_low = fma(s + s, s_low, z_low)
    tail = z * polynomial(z, POWER_TAIL)
    factor, factor_low = fast_two_sum(tail.const(TWO_THIRDS[0]), tail)
    factor_low = factor_low + TWO_THIRDS[1]
    cube, cube_low = two_product(s, z)
    cube_low = cube_low + fma(s, z_low, s_low * z)
    rest, rest_low = two_product(cube, factor)
    rest_low = rest_low + fma(cube, factor_low, cube_low * factor)
    y, y_low = fast_two_sum(s + s, rest)
    y_low = y_low + (rest_low + (s_low + s_low))
    upper, lower = LN_2_PARTS[8]
    total, lost = fast_two_sum(p.k * upper, y)
    return fast_two_sum(total, lost + fma(p.k, lower, y_low))


def power(x: Lanes, y: Lanes) -> Lanes:
    """x^y with C99's special cases."""
    bounded = at_least(at_most(y, EXPONENT_LIMIT[x.size]), -EXPONENT_LIMIT[x.size])
    result = (_power_of_float32 if x.size == 4 else _power_of_float64)(abs(x), bounded)
    whole = round_even(y).equals(y)
    odd = whole & round_even(y * 0.5).differs(y * 0.5)
    result = flip_sign(result, where(odd, sign_bit(x), 0))
    result = where((x < 0.0) & (x > -INF) & ~whole, NAN, result)
    return where(y.equals(0.0) | x.equals(1.0), 1.0, result)


def _power_of_float64(x: Lanes, y: Lanes) -> Lanes:
    """x^y for x >= 0 and a bounded y."""
    high, low = log_in_two(x)
    high = where(x.equals(0.0), high.const(-INF), where(x < INF, high, x))
    exponent, error = two_product(y, high)
    error = fma(y, low, error)
    return exp(exponent, where(abs(exponent) < 800.0, error, 0.0))


def _power_of_float32(x: Lanes, y: Lanes) -> Lanes:
    """The same, by way of float64, whose range holds all results before they are rounded."""
    p = parted(x.convert("fpext", F64), normal=True)
    s = p.f / (p.f + 2.0)
    z = s * s
    tail = fma(s * z, horner(z, POWER_TAIL_32), s + s)
    logarithm = fma(p.k, LN_2, tail)
    logarithm = where(x.equals(0.0), logarithm.const(-INF), logarithm)
    logarithm = where(x < INF, logarithm, x.convert("fpext", F64))
    exponent = at_least(at_most(logarithm * y.convert("fpext", F64), 100.0), -110.0)
    t, high, low = reduced(exponent)
    r = high + low
    growth = fma(r * r, horner(r, EXP_TAIL_32), r) + 1.0
    return (growth * power_of_two(t, 0)).convert("fptrunc", F32)


def cbrt(x: Lanes) -> Lanes:
    """m^(1/3) 2^(k/3): a polynomial, Halley's step, and Newton's with an exact residual."""
    size = abs(x)
    p = parted(size)
    t = fma(p.k, 1.0 / 3.0, p.k.const(magic(F64)))
    third = t - magic(F64)
    rest = fma(third, -3.0, p.k)  # -1, 0 or 1
    v = (p.f + 1.0) * where(rest > 0.0, rest.const(2.0), where(rest < 0.0, rest.const(0.5), 1.0))
    y = horner(v, CBRT_START)
    cube = y * y * y
    y = y - y * (cube - v) / fma(cube, 2.0, v)
    square, square_low = two_product(y, y)
    cube, cube_low = two_product(square, y)
    residual = (cube - v) + fma(square_low, y, cube_low)
    y = y - residual / (square * 3.0)
    scale = from_bits((t.bits() + 1023) << 52)
    y = copy_sign(y * scale, x)
    return where((size > 0.0) & (size < INF), y, x)


def hypot(x: Lanes, y: Lanes) -> Lanes:
    """sqrt(x^2 + y^2), scaled by a power of 2 so that no square leaves the range."""
    a, b = abs(x), abs(y)
    big, small = where(a > b, a, b), where(a > b, b, a)
    huge, tiny = big > 2.0**500, big < 2.0**-450
    scale = where(huge, x.const(2.0**-600), where(tiny, x.const(2.0**600), 1.0))
    back = where(huge, x.const(2.0**600), where(tiny, x.const(2.0**-600), 1.0))
    big, small = big * scale, small * scale
    square, error = two_product(big, big)
    total, lost = fast_two_sum(square, small * small)
    root = sqrt(total)
    correction = ((total - root * root) if not x.fused else fma(root, -root, total)) + lost + error
    root = root + where(root > 0.0, correction / (root + root), 0.0)
    infinite = a.equals(INF) | b.equals(INF)
    return where(infinite, INF, where(x.is_nan() | y.is_nan(), NAN, root * back))
