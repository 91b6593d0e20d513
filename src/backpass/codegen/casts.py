"""Conversions between dtypes as NumPy's `astype` does them on x86.

Floats beyond an integer's range give what the processor gives: the smallest int32 or int64, of
which smaller integers keep the low bits; unsigned ones of 32 and 64 bits are reached by taking off
2^31 or 2^63. LLVM leaves these cases undefined, so they are selected here. float16 is converted by
instructions where the machine has FMA (it then has these too), else by integer arithmetic.
"""

from __future__ import annotations

import numpy as np

from backpass.codegen.lanes import F16, F32, F64, I16, I32, I64, Lanes, from_bits, where
from backpass.codegen.text import BOOL, DType

SIGN_OF_HALF, REST_OF_HALF = 0x8000, 0x7FFF
HALF_INFINITY, HALF_NAN = 0x7C00, 0x7E00
HALF_OVERFLOW, HALF_NORMAL = 65520.0, 2.0**-14
REBIAS = 112 << 23  # float32's exponent bias less float16's


def cast(x: Lanes, dtype: DType) -> Lanes:
    """x as another dtype."""
    source = x.dtype
    if source == dtype:
        return x
    if source == F16:
        return _from_half(x, dtype)
    if dtype == BOOL:
        return x.differs(0)
    if source == BOOL:
        return _from_bool(x, dtype)
    if dtype == F16:
        return narrow_to_half(x)
    match (source.kind == "f", dtype.kind == "f"):
        case (True, True):
            return x.convert("fpext" if dtype == F64 else "fptrunc", dtype)
        case (True, False):
            return _float_to_integer(x, dtype)
        case (False, True):
            return x.convert("sitofp" if source.kind == "i" else "uitofp", dtype)
        case _:
            return resize(x, dtype)


def resize(x: Lanes, dtype: DType) -> Lanes:
    """An integer as an integer of another size or sign."""
    if x.size == dtype.itemsize:
        return reinterpret(x, dtype)
    if x.size > dtype.itemsize:
        return x.convert("trunc", dtype)
    return x.convert("sext" if x.dtype.kind == "i" else "zext", dtype)


def reinterpret(x: Lanes, dtype: DType) -> Lanes:
    """The same bits under another integer dtype: LLVM's integers have no sign."""
    return Lanes(x.f, type(x.reg)(x.reg.name, dtype, x.width))


def _from_half(x: Lanes, dtype: DType) -> Lanes:
    wide = widen_half(x)
    if dtype.kind == "u" and dtype.itemsize == 4:
        return resize(_truncated(wide, I64), dtype)  # so NaN and infinity give 0
    return cast(wide, dtype)


def _from_bool(x: Lanes, dtype: DType) -> Lanes:
    if dtype.kind in "iu":
        return x.convert("zext", dtype)
    return where(x, x.const(1.0, dtype), x.const(0.0, dtype))


def _float_to_integer(x: Lanes, dtype: DType) -> Lanes:
    if dtype.itemsize == 8:
        middle = I64
    else:
        middle = I32
    if dtype.kind == "u" and dtype.itemsize >= 4:
        limit = 2.0 ** (8 * dtype.itemsize - 1)
        high = x >= limit
        part = _truncated(where(high, x - limit, x), middle)
        return reinterpret(part ^ where(high, part.const(int(-limit)), 0), dtype)
    return resize(_truncated(x, middle), dtype)


def _truncated(x: Lanes, dtype: DType) -> Lanes:
    """The signed integer, or the smallest one where x is out of range or NaN."""
    limit = 2.0 ** (8 * dtype.itemsize - 1)
    inside = (x < limit) & (x >= -limit)
    found = where(inside, x, 0.0).convert("fptosi", dtype)
    return where(inside, found, int(-limit))


def widen_half(x: Lanes) -> Lanes:
    """float16 to float32, exactly."""
    if x.fused:
        return x.convert("fpext", F32)
    bits = x.bits().convert("zext", I32)
    size = bits & REST_OF_HALF
    value = from_bits(size << 13) * 2.0**112
    value = where(size >= HALF_INFINITY, from_bits((size << 13) | 0x7F800000), value)
    return from_bits(value.bits() | ((bits & SIGN_OF_HALF) << 16))


def narrow_to_half(x: Lanes) -> Lanes:
    """A number to float16, rounded once; integers go by way of float32, as NumPy has it."""
    if x.dtype.kind != "f":
        x = cast(x, F32)
    elif x.size == 8:
        x = round_to_odd(x)
    if x.fused:
        return x.convert("fptrunc", F16)
    bits = abs(x).bits()
    normal = ((bits - REBIAS) + (((bits >> 13) & 1) + 0xFFF)) >> 13
    small = (abs(x) + 0.5).bits() - 0x3F000000  # the spacing at 1/2 is float16's smallest number
    half = where(abs(x) < HALF_NORMAL, small, normal)
    half = where(abs(x) >= HALF_OVERFLOW, half.const(HALF_INFINITY), half)
    half = where(x.is_nan(), half.const(HALF_NAN), half)
    half = half | (x.bits().shift_right(16) & SIGN_OF_HALF)
    return from_bits(half.convert("trunc", I16))


def round_to_odd(x: Lanes) -> Lanes:
    """float64 to float32, the last bit set where inexact: rounding it again is then right."""
    bits = x.bits()
    lost = bits & ((1 << 29) - 1)
    kept = (bits & ~((1 << 29) - 1)) | where(lost.differs(0), bits.const(1 << 29), 0)
    return where(abs(x) < np.inf, from_bits(kept), x).convert("fptrunc", F32)
