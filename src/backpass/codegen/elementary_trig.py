"""sin, cos and tan, in float32 and float64, of arguments of any size.

x = n pi + r with |r| <= pi / 2 (tan: n pi / 2 and pi / 4). Where |x| is moderate, pi is taken in
three parts and the first multiply-add is exact (Cody & Waite 1980); machines without FMA take five
short parts. In a block apart, for arguments above LIMIT, x / 2 pi is computed modulo 1 from 192
bits of 1 / 2 pi that start where x's own bits end (Payne & Hanek 1983), in integers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from backpass.codegen.lanes import (
    F32,
    F64,
    I32,
    I64,
    Lanes,
    fast_two_sum,
    flip_sign,
    fma,
    magic,
    polynomial,
    rarely,
    sign_bit,
    two_product,
    two_sum,
    where,
)
from backpass.codegen.text import BOOL, Function, Reg, llvm_type

PI, PI_LOW = 3.141592653589793, 1.2246467991473532e-16
# pi in parts of all bits, for machines with FMA, and in short parts whose products by n are exact.
# All are positive, so that sin(-0.0) comes out as -0.0.
PI_PARTS = {
    (4, True): (3.141592502593994, 1.5099578831723193e-07, 1.078060505991553e-14),
    (8, True): (3.141592653589793, 1.224646799147353e-16, 2.1657133478438278e-32),
    (4, False): (
        3.140625,
        0.0009675025939941406,
        1.5099067240953445e-07,
        5.126565838509123e-12,
        1.2240642527361345e-16,
    ),
    (8, False): (
        3.141592651605606,
        1.9841871583270443e-09,
        1.03403659577805e-18,
        5.80771194594155e-28,
        2.0171708069407467e-37,
    ),
}
LIMIT = {(4, True): 2.0**17, (8, True): 2.0**30, (4, False): 2.0**13, (8, False): 2.0**22}
# (sin r - r) / r^3 in r^2, |r| <= pi / 2: errors 2^-26.5 and 2^-60.7
SIN_TAIL = {
    4: (
        -0.16666661202907562,
        0.008333083242177963,
        -0.0001980989327421412,
        2.6050195174320834e-06,
    ),
    8: (
        -0.16666666666666666,
        0.00833333333333324,
        -0.00019841269841221367,
        2.755731921267814e-06,
        -2.5052106974585014e-08,
        1.6058943231557656e-10,
        -7.643049514127756e-13,
        2.721493687316831e-15,
    ),
}
# The same for |r| <= pi / 4, and (cos r - 1 + r^2 / 2) / r^4: at most 2^-27.2 and 2^-57.1
SIN_QUARTER_TAIL = {
    4: (-0.16666655242443085, 0.00833209604024887, -0.00019503293151501566),
    8: (
        -0.1666666666666664,
        0.008333333333323575,
        -0.00019841269830064205,
        2.7557313621772893e-06,
        -2.5050729635347393e-08,
        1.5894416128152902e-10,
    ),
}
COS_QUARTER_TAIL = {
    4: (0.041666653007268906, -0.0013887649402022362, 2.44631664827466e-05),
    8: (
        0.04166666666666665,
        -0.0013888888888882785,
        2.4801587294577772e-05,
        -2.755731571977472e-07,
        2.087589464806612e-09,
        -1.1367797522426933e-11,
    ),
}
# 32-bit words of 1 / 2 pi after its binary point
TURN_WORDS = bytes.fromhex(
    "28be60db9391054a7f09d5f47d4d377036d8a5664f10e4107f9458eaf7aef1586dc91b8e909374b801924bba"
    "827464873f877ac72c4a69cfba208d7d4baed1213a671c09ad17df904e64758e60d4ce7d272117e2ef7e4a0e"
    "c7fe25fff7816603fbcbc462d6829b47db4d9fb3c9f2c26dd3d18fd9a797fa8b5d49eeb1faf97c5ecf41ce7d"
    "e294a4ba9afed7ec47e357421580cc11bf1edaeafc33ef0826bd0d876a78e45857b986c2"
)
TABLE = "@bp_turn"
ZERO_WORDS, WINDOW = 2, 6  # zeros before the words, so that small exponents have bits too
LOW_WORD = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Period:
    """n and r with x = (n + shift) pi / `divisor` + r; `precise`: r in two parts."""

    divisor: int
    shift: float = 0.0
    precise: bool = False


HALF_TURN, SHIFTED_HALF_TURN, QUARTER_TURN = (
    Period(1),
    Period(1, shift=0.5),
    Period(2, precise=True),
)


def sin(x: Lanes) -> Lanes:
    """(-1)^n sin r, of |x|, with the sign of x (so -0.0 too)."""
    n, r, _ = reduced(abs(x), HALF_TURN)
    return flip_sign(_sin_half(r), (n << (8 * x.size - 1)) ^ sign_bit(x))


def cos(x: Lanes) -> Lanes:
    """-(-1)^n sin r, where r is measured from the zeros of the cosine."""
    n, r, _ = reduced(abs(x), SHIFTED_HALF_TURN)
    return flip_sign(_sin_half(r), (~n) << (8 * x.size - 1))


def cosm1(x: Lanes) -> Lanes:
    """cos x - 1 = -2 sin(x / 2)^2."""
    s = sin(x * 0.5)
    return s * s * -2.0


def tan(x: Lanes) -> Lanes:
    """sin r / cos r, or -cos r / sin r where n is odd."""
    n, r, low = reduced(abs(x), QUARTER_TURN)
    z = r * r
    half = z * 0.5
    tail = fma(r * z, polynomial(z, SIN_QUARTER_TAIL[x.size]), fma(low, -half, low))
    sine = r + tail
    start = 1.0 - half
    lost = (1.0 - start) - half
    cosine = start + (lost + fma(z * z, polynomial(z, COS_QUARTER_TAIL[x.size]), -(r * low)))
    odd = (n & 1).differs(0)
    y = where(odd, -cosine, sine) / where(odd, sine, cosine)
    return flip_sign(y, sign_bit(x))


def _sin_half(r: Lanes) -> Lanes:
    """sin r for |r| <= pi / 2."""
    z = r * r
    return fma(r * z, polynomial(z, SIN_TAIL[r.size]), r)


def reduced(x: Lanes, period: Period) -> tuple[Lanes, Lanes, Lanes]:
    """(n, r, low) of x >= 0, n correct modulo 2, as an integer; see Period. low is 0 or precise."""
    divisor, unit = float(period.divisor), magic(x.dtype)
    if period.shift:
        t = fma(x, divisor / PI, x.const(-period.shift)) + unit
        n = (t - unit) + period.shift
    else:
        t = fma(x, divisor / PI, x.const(unit))
        n = t - unit
    parts = [part / divisor for part in PI_PARTS[x.size, x.fused]]
    r = x
    for part in parts[:-2]:
        r = fma(n, -part, r)
    if period.precise:
        product, error = two_product(n, parts[-2])
        r, low = two_sum(r, -product)
        low = fma(n, -parts[-1], low - error)
    else:
        r, low = fma(n, -parts[-1], fma(n, -parts[-2], r)), x.const(0.0)
    huge = x >= LIMIT[x.size, x.fused]
    usual = (t.bits(), r, low) if period.precise else (t.bits(), r)

    def other() -> list[Lanes]:
        far = _called_huge(x, huge, period)
        return [where(huge, y, z) for y, z in zip(far, usual, strict=False)]

    found = rarely(huge, usual, other)
    return found[0], found[1], found[2] if period.precise else low


def _called_huge(x: Lanes, huge: Lanes, period: Period) -> list[Lanes]:
    """`_reduced_huge` by a function of the module: it is long, and seldom needed."""
    f, module, width = x.f, x.f.module, x.width
    kinds = (I32 if x.size == 4 else I64, x.dtype, x.dtype)
    result = f"{{ {', '.join([llvm_type(k, width) for k in kinds])} }}"
    name = f"turns.{x.dtype.name}.{width}.{period.divisor}.{int(2 * period.shift)}"
    if name not in module.operations:
        module.operations.add(name)
        own = Reg("%x", x.dtype, width), Reg("%huge", BOOL, width)
        body = Function(module, f"define internal {result} @{name}({own[0]}, {own[1]}) #0")
        found = _reduced_huge(Lanes(body, own[0]), Lanes(body, own[1]), period)
        whole = "undef"
        for i, y in enumerate(found):
            whole = body.let_raw(f"insertvalue {result} {whole}, {y.reg}, {i}")
        body.emit(f"ret {result} {whole}")
        body.close()
    whole = f.let_raw(f"call {result} @{name}({x.reg}, {huge.reg})")
    return [
        Lanes(f, f.let(f"extractvalue {result} {whole}, {i}", kind, width))
        for i, kind in enumerate(kinds)
    ]


def _reduced_huge(x: Lanes, huge: Lanes, period: Period) -> tuple[Lanes, Lanes, Lanes]:
    """(n, r, low) of the lanes that are huge; NaN for infinity."""
    wide = where(huge, x, LIMIT[x.size, x.fused])
    wide = wide if x.size == 8 else wide.convert("fpext", F64)
    high, low = _turns(wide)
    if period.shift:
        high = high - (1 << 62)  # half of a half turn
    bits = period.divisor
    n = high.shift_right(64 - bits) + (high.shift_right(63 - bits) & 1)
    high = (high << bits) | low.shift_right(64 - bits)
    rest = (low << bits).shift_right(11).convert("sitofp", F64) * 2.0**-117
    # rounded, so that a small fraction keeps all its bits
    upper = (high >> 32) + (high.shift_right(31) & 1)
    rest = fma((high - (upper << 32)).convert("sitofp", F64), 2.0**-64, rest)
    fraction, lost = fast_two_sum(upper.convert("sitofp", F64) * 2.0**-32, rest)
    unit = PI / period.divisor
    product, error = two_product(fraction, unit)
    error = error + fma(fraction, PI_LOW / period.divisor, lost * unit)
    r, r_low = fast_two_sum(product, error)
    r = where(wide < float("inf"), r, float("nan"))
    if x.size == 4:
        short = r.convert("fptrunc", F32)
        r_low = (r - short.convert("fpext", F64)) + r_low
        return n.convert("trunc", I32), short, r_low.convert("fptrunc", F32)
    return n, r, r_low


def _turns(x: Lanes) -> tuple[Lanes, Lanes]:
    """x / 2 pi modulo 1 in units of 2^-64 and 2^-128, for float64 x >= 2^13."""
    bits = x.bits()
    mantissa = (bits & ((1 << 52) - 1)) | (1 << 52)
    # x = mantissa 2^(exponent - 1075): what is above bit `start` of the words is whole turns
    start = bits.shift_right(52) + (32 * ZERO_WORDS - 1075)
    words = _words(x, start.shift_right(5), WINDOW + 1)
    shift = start & 31
    window = [
        (((a << 32) | b) << shift).shift_right(32) for a, b in itertools.pairwise(words)
    ]  # most significant first
    low, high = mantissa & LOW_WORD, mantissa.shift_right(32)
    limbs: list[Lanes] = []
    carry, before = x.const(0, I64), x.const(0, I64)
    for word in reversed(window):
        first = low * word + carry
        second = high * before + (first & LOW_WORD)
        limbs.append(second & LOW_WORD)
        carry, before = first.shift_right(32) + second.shift_right(32), word
    return (limbs[5] << 32) | limbs[4], (limbs[3] << 32) | limbs[2]


def _words(x: Lanes, index: Lanes, count: int) -> list[Lanes]:
    """`count` words of the table from an index on, most significant first, as int64."""
    f, width = x.f, x.width
    zeros = bytes(4 * ZERO_WORDS)
    table = zeros + TURN_WORDS
    numbers = [int.from_bytes(table[i : i + 4], "big") for i in range(0, len(table), 4)]
    values = ", ".join([f"i32 {number}" for number in numbers])
    f.module.declare(f"{TABLE} = private unnamed_addr constant [{len(numbers)} x i32] [{values}]")
    pointers = f"<{width} x ptr>"
    found: list[Lanes] = []
    for i in range(count):
        place = index + i
        at = f.let_raw(f"getelementptr i32, ptr {TABLE}, {place.reg}")
        if width == 1:
            word = Lanes(f, f.let(f"load i32, ptr {at}", I32))
        else:
            name = f"llvm.masked.gather.v{width}i32.v{width}p0"
            kind, mask = llvm_type(I32, width), llvm_type(BOOL, width)
            f.module.declare(f"declare {kind} @{name}({pointers}, i32, {mask}, {kind})")
            text = (
                f"call {kind} @{name}({pointers} {at}, i32 4, {mask} splat (i1 true), "
                f"{kind} zeroinitializer)"
            )
            word = Lanes(f, f.let(text, I32, width))
        found.append(word.convert("zext", I64))
    return found
