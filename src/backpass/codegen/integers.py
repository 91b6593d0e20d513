"""Integer arithmetic as NumPy has it: wrap-around, no trap.

Division by 0 gives 0, and the smallest number divided by -1 is itself. Floor division and remainder
round to minus infinity. A shift count that is negative or not below the width leaves only the sign.
"""

from __future__ import annotations

import numpy as np

from backpass.codegen.casts import reinterpret
from backpass.codegen.lanes import Lanes, repeat, where
from backpass.codegen.text import DType

UNSIGNED = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}


def _is_signed(x: Lanes) -> bool:
    return x.dtype.kind == "i"


def _unsigned(dtype: DType) -> DType:
    return np.dtype(UNSIGNED[dtype.itemsize])


def _divided(x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """Quotient towards 0 and its remainder, 0 and 0 for a divisor of 0."""
    zero = y.equals(0)
    if not _is_signed(x):
        quotient = x.op("udiv", where(zero, 1, y))
        return where(zero, 0, quotient), where(zero, 0, x - quotient * y)
    minus = y.equals(-1)
    quotient = x.op("sdiv", where(zero | minus, 1, y))
    quotient = where(zero, 0, where(minus, -x, quotient))
    return quotient, where(zero, 0, x - quotient * y)


def floor_divide(x: Lanes, y: Lanes) -> Lanes:
    """The floor of the quotient."""
    quotient, rest = _divided(x, y)
    if not _is_signed(x):
        return quotient
    return where(rest.differs(0) & ((rest ^ y) < 0), quotient - 1, quotient)


def remainder(x: Lanes, y: Lanes) -> Lanes:
    """The remainder of the floor, with y's sign."""
    _, rest = _divided(x, y)
    if not _is_signed(x):
        return rest
    return where(rest.differs(0) & ((rest ^ y) < 0), rest + y, rest)


def fmod(x: Lanes, y: Lanes) -> Lanes:
    """The remainder of the quotient towards 0, with x's sign."""
    return _divided(x, y)[1]


def _small_count(x: Lanes, n: Lanes) -> Lanes:
    """Whether n is from 0 to the width of x."""
    return reinterpret(n, _unsigned(n.dtype)) < 8 * x.size


def left_shift(x: Lanes, n: Lanes) -> Lanes:
    """x 2^n; 0 for counts that the type does not have."""
    return where(_small_count(x, n), x << n, 0)


def right_shift(x: Lanes, n: Lanes) -> Lanes:
    """x / 2^n rounded down; 0 or -1 for counts that the type does not have."""
    last = x >> (8 * x.size - 1) if _is_signed(x) else x.const(0)
    return where(_small_count(x, n), x >> n, last)


def sign(x: Lanes) -> Lanes:
    """-1, 0 or 1."""
    one = where(x > 0, x.const(1), 0)
    return where(x < 0, -1, one) if _is_signed(x) else one


def reciprocal(x: Lanes) -> Lanes:
    """1 / x towards 0; of 0 the smallest int32 or int64, 0 in other types."""
    one = where(x.equals(1), x.const(1), 0)
    if not _is_signed(x):
        return one
    found = where(x.equals(-1), -1, one)
    return where(x.equals(0), np.iinfo(x.dtype).min, found) if x.size >= 4 else found


def bit_count(x: Lanes) -> Lanes:
    """The bits that are set in |x|, in x's type."""
    return reinterpret(abs(x).intrinsic("ctpop"), _unsigned(x.dtype))


def power(x: Lanes, n: Lanes) -> Lanes:
    """x^n of unsigned integers, by squaring."""

    def step(result: Lanes, square: Lanes, left: Lanes) -> tuple[Lanes, list[Lanes]]:
        result = where((left & 1).differs(0), result * square, result)
        left = left >> 1
        return left.differs(0), [result, square * square, left]

    return repeat([x.const(1), x, n], step)[0]
