"""Arithmetic of floats that is exact or a question of bits: remainders, neighbours, exponents.

fmod is exact for any quotient: multiples of y are taken off by up to 2^51 at a time, in a loop that
runs again only where a quotient is that large. floor_divide and remainder follow NumPy's divmod.
"""

from __future__ import annotations

from backpass.codegen.casts import cast, resize
from backpass.codegen.lanes import (
    EXPONENT_BIAS,
    F16,
    F32,
    F64,
    I32,
    I64,
    MANTISSA,
    Lanes,
    at_least,
    at_most,
    copy_sign,
    floor,
    from_bits,
    repeat,
    sign_bit,
    truncate,
    two_product,
    where,
)

INF, NAN = float("inf"), float("nan")
QUOTIENT_BITS = 51  # of a quotient that float64 holds exactly with room to spare


def fmod(x: Lanes, y: Lanes) -> Lanes:
    """x - y trunc(x / y), exactly; NaN where x is infinite or y is 0."""
    if x.size == 4:
        return cast(fmod(cast(x, F64), cast(y, F64)), F32)
    size, step = abs(x), abs(y)
    good = (size < INF) & (step > 0.0)
    rest = _reduced(where(good, size, 0.0), where(good & (step < INF), step, 1.0))
    rest = where(step.equals(INF), size, rest)
    return where(good, copy_sign(rest, x), NAN)


def _reduced(x: Lanes, y: Lanes) -> Lanes:
    """fmod of x >= 0 and y > 0, both finite: a loop that mostly runs once."""
    y_exponent = _exponent_field(y)

    def step(rest: Lanes) -> tuple[Lanes, list[Lanes]]:
        # y 2^power is below rest by at least 2^50, or it is y
        power = at_least(_exponent_field(rest) - y_exponent - QUOTIENT_BITS, 0)
        half = power.shift_right(1)
        multiple = y * _two_to(half) * _two_to(power - half)
        quotient = truncate(rest / multiple)
        # a quotient that was rounded up may not overflow: so large numbers are scaled down, exactly
        large = rest > 2.0**900
        down, up = where(large, y.const(2.0**-100), 1.0), where(large, y.const(2.0**100), 1.0)
        multiple = multiple * down
        product, error = two_product(quotient, multiple)
        left = (rest * down - product) - error
        left = where(left < 0.0, left + multiple, left) * up
        return power > 0, [where(rest < y, rest, left)]  # lanes that are done stay as they are

    return repeat([x], step)[0]


def _two_to(power: Lanes) -> Lanes:
    """2^power for a power from -1022 to 1023."""
    return from_bits((power + EXPONENT_BIAS[8]) << MANTISSA[8])


def _exponent_field(x: Lanes) -> Lanes:
    """The biased exponent of a number >= 0; of subnormal ones as if it went on below 0."""
    small = x < 2.0**-1022
    bits = where(small, x * 2.0**54, x).bits()
    return bits.shift_right(MANTISSA[8]) - where(small, bits.const(54), 0)


def _divided(x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """NumPy's divmod: (floor of the quotient, remainder of y's sign), for y other than 0."""
    rest = fmod(x, y)
    quotient = (x - rest) / y
    crossing = rest.differs(0.0) & ((y < 0.0) ^ (rest < 0.0))
    quotient = where(crossing, quotient - 1.0, quotient)
    signed = where(crossing, rest + y, where(rest.equals(0.0), copy_sign(x.const(0.0), y), rest))
    whole = floor(quotient)
    whole = where(quotient - whole > 0.5, whole + 1.0, whole)
    zero = copy_sign(x.const(0.0), x / y)
    return where(quotient.equals(0.0), zero, whole), signed


def floor_divide(x: Lanes, y: Lanes) -> Lanes:
    """The floor of x / y; x / y itself where y is 0."""
    return where(y.equals(0.0), x / y, _divided(x, y)[0])


def remainder(x: Lanes, y: Lanes) -> Lanes:
    """x - y floor(x / y)."""
    return where(y.equals(0.0), NAN, _divided(x, y)[1])


def nextafter(x: Lanes, y: Lanes) -> Lanes:
    """The neighbour of x on the way to y; y where they are equal (x in float16)."""
    a, b = (cast(v, F32) if v.dtype == F16 else v for v in (x, y))
    bits = x.bits()
    outward = (b > a).op("xor", a < 0.0)
    moved = bits + where(outward, bits.const(1), -1)
    smallest = sign_bit(y) | 1
    found = from_bits(where(a.equals(0.0), smallest, moved))
    found = where(a.equals(b), x if x.dtype == F16 else y, found)
    return where(a.is_nan() | b.is_nan(), NAN, found)


def spacing(x: Lanes) -> Lanes:
    """The distance to the neighbour away from 0, of x's sign; of float16 to the neighbour above."""
    if x.dtype == F16:
        return _spacing_of_half(x)
    distance = from_bits(x.bits() + 1) - x
    return where(x.equals(0.0), from_bits(x.bits().const(1)), distance)


def _spacing_of_half(x: Lanes) -> Lanes:
    bits = x.bits()
    wide = cast(x, F32)
    above = cast(from_bits(bits + where(wide > 0.0, bits.const(1), -1)), F32)
    distance = cast(where(wide.equals(0.0), 2.0**-24, above - wide), F16)
    return where(abs(wide) < INF, distance, NAN)


def exponent(x: Lanes) -> Lanes:
    """The exponent that frexp gives, as int32; 0 for 0, infinities and NaN."""
    if x.dtype == F16:
        x = cast(x, F32)
    size, mantissa = abs(x), MANTISSA[x.size]
    small = size < 2.0 ** (1 - EXPONENT_BIAS[x.size])
    bits = where(small, size * 2.0 ** (mantissa + 2), size).bits()
    lift = where(small, bits.const(EXPONENT_BIAS[x.size] + mantissa + 1), EXPONENT_BIAS[x.size] - 1)
    found = bits.shift_right(mantissa) - lift
    plain = (size > 0.0) & (size < INF)
    return resize(where(plain, found, 0), I32)


def ldexp(x: Lanes, n: Lanes) -> Lanes:
    """x 2^n for any integer n, rounded once: by float64, in up to three steps."""
    wide = cast(x, F64)
    n = resize(at_least(at_most(n, _bound(n, 2300)), _bound(n, -2300)), I64)
    first = at_least(at_most(n, 1000), -1000)
    rest = n - first
    second = at_least(at_most(rest, 1000), -1000)
    # a factor below 1 comes last, so that only one product rounds
    product = wide * _two_to(first) * _two_to(second) * _two_to(rest - second)
    return cast(product, x.dtype)


def _bound(n: Lanes, limit: int) -> int:
    """The limit, or the end of n's own range if that is nearer."""
    top = 2 ** (8 * n.size - 1) - 1
    return max(-top, min(top, limit))
