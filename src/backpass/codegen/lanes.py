"""Lanes: a register with Python's operators, in which the elementary functions are written.

`x * y + 1.0` appends an fmul and an fadd; nothing is folded, reordered or contracted. `fma` is the
one fused operation; where the module says that the machine has none (`Module.fused` False) it is
a product and a sum, and `two_product` splits its factors instead (Dekker 1971). Only instructions
that stay vector instructions on AVX2 and AVX-512 are used, and no call of libm.
Next: `elementary.py`, the functions; `arithmetic.py`, which of them a primitive is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.codegen.text import BOOL, DType, Function, Reg, constant, llvm_type

F16, F32, F64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
I16, I32, I64 = np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64)
INTEGER_OF = {2: I16, 4: I32, 8: I64}
MANTISSA = {2: 10, 4: 23, 8: 52}  # stored bits of a float by its size in bytes
EXPONENT_BIAS = {2: 15, 4: 127, 8: 1023}


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """The lanes of one register of a function under construction."""

    f: Function
    reg: Reg

    @property
    def dtype(self) -> DType:
        """The dtype of every lane."""
        return self.reg.dtype

    @property
    def width(self) -> int:
        """The number of lanes."""
        return self.reg.width

    @property
    def size(self) -> int:
        """Bytes of one lane."""
        return self.reg.dtype.itemsize

    def const(self, value: Any, dtype: DType | None = None) -> Lanes:
        """A constant of this width, and this dtype unless told."""
        return Lanes(self.f, constant(value, dtype or self.dtype, self.width))

    def _other(self, other: Any) -> Lanes:
        return other if isinstance(other, Lanes) else self.const(other)

    def op(self, code: str, other: Any, dtype: DType | None = None) -> Lanes:
        """A binary LLVM instruction; the result has this dtype unless told."""
        text = f"{code} {self.reg}, {self._other(other).reg.name}"
        return Lanes(self.f, self.f.let(text, dtype or self.dtype, self.width))

    def _by_kind(self, real: str, signed: str, unsigned: str) -> str:
        return {"f": real, "i": signed}.get(self.dtype.kind, unsigned)

    def __add__(self, other: Any) -> Lanes:
        return self.op(self._by_kind("fadd", "add", "add"), other)

    def __radd__(self, other: Any) -> Lanes:
        return self._other(other) + self

    def __sub__(self, other: Any) -> Lanes:
        return self.op(self._by_kind("fsub", "sub", "sub"), other)

    def __rsub__(self, other: Any) -> Lanes:
        return self._other(other) - self

    def __mul__(self, other: Any) -> Lanes:
        return self.op(self._by_kind("fmul", "mul", "mul"), other)

    def __rmul__(self, other: Any) -> Lanes:
        return self._other(other) * self

    def __truediv__(self, other: Any) -> Lanes:
        return self.op("fdiv", other)

    def __rtruediv__(self, other: Any) -> Lanes:
        return self._other(other) / self

    def __neg__(self) -> Lanes:
        if self.dtype.kind != "f":
            return self.const(0) - self
        return Lanes(self.f, self.f.let(f"fneg {self.reg}", self.dtype, self.width))

    def __and__(self, other: Any) -> Lanes:
        return self.op("and", other)

    def __or__(self, other: Any) -> Lanes:
        return self.op("or", other)

    def __xor__(self, other: Any) -> Lanes:
        return self.op("xor", other)

    def __invert__(self) -> Lanes:
        return self ^ (True if self.dtype == BOOL else self.const(-1))

    def __lshift__(self, other: Any) -> Lanes:
        return self.op("shl", other)

    def __rshift__(self, other: Any) -> Lanes:
        """Arithmetic on signed, logical on unsigned integers."""
        return self.op(self._by_kind("", "ashr", "lshr"), other)

    def shift_right(self, other: Any) -> Lanes:
        """A logical shift of any integer: zeros come in."""
        return self.op("lshr", other)

    def _compare(self, real: str, signed: str, unsigned: str, other: Any) -> Lanes:
        head = "fcmp" if self.dtype.kind == "f" else "icmp"
        return self.op(f"{head} {self._by_kind(real, signed, unsigned)}", other, BOOL)

    def __lt__(self, other: Any) -> Lanes:
        return self._compare("olt", "slt", "ult", other)

    def __le__(self, other: Any) -> Lanes:
        return self._compare("ole", "sle", "ule", other)

    def __gt__(self, other: Any) -> Lanes:
        return self._compare("ogt", "sgt", "ugt", other)

    def __ge__(self, other: Any) -> Lanes:
        return self._compare("oge", "sge", "uge", other)

    def equals(self, other: Any) -> Lanes:
        """Whether they are equal; False on NaN."""
        return self._compare("oeq", "eq", "eq", other)

    def differs(self, other: Any) -> Lanes:
        """Whether they are not equal; True on NaN."""
        return self._compare("une", "ne", "ne", other)

    def is_nan(self) -> Lanes:
        """Whether a float is NaN."""
        return self._compare("uno", "", "", self)

    def convert(self, code: str, dtype: DType) -> Lanes:
        """A conversion instruction such as fpext, sitofp, bitcast."""
        text = f"{code} {self.reg} to {llvm_type(dtype, self.width)}"
        return Lanes(self.f, self.f.let(text, dtype, self.width))

    def bits(self) -> Lanes:
        """The bits of a float, as signed integers of its size."""
        return self.convert("bitcast", INTEGER_OF[self.size])

    def intrinsic(self, name: str, *others: Any) -> Lanes:
        """`llvm.NAME` of this and other operands, all of one type."""
        operands = [self.reg, *[self._other(x).reg for x in others]]
        letter = "f" if self.dtype.kind == "f" else "i"
        element = f"{letter}{8 * self.size}"
        suffix = element if self.width == 1 else f"v{self.width}{element}"
        kind = self.reg.type
        self.f.module.declare(
            f"declare {kind} @llvm.{name}.{suffix}({', '.join([kind] * len(operands))})"
        )
        call = f"call {kind} @llvm.{name}.{suffix}({', '.join(map(str, operands))})"
        return Lanes(self.f, self.f.let(call, self.dtype, self.width))

    def __abs__(self) -> Lanes:
        if self.dtype.kind == "f":
            return self.intrinsic("fabs")
        return where(self < 0, -self, self) if self.dtype.kind == "i" else self

    @property
    def fused(self) -> bool:
        """Whether the machine has a fused multiply-add."""
        return self.f.module.fused


def from_bits(x: Lanes) -> Lanes:
    """The float with these bits."""
    return x.convert("bitcast", {2: F16, 4: F32, 8: F64}[x.size])


def where(condition: Lanes, x: Any, y: Any) -> Lanes:
    """x where the condition holds, else y; one of them must be Lanes."""
    like = x if isinstance(x, Lanes) else y
    left, right = (v if isinstance(v, Lanes) else like.const(v) for v in (x, y))
    text = f"select {condition.reg}, {left.reg}, {right.reg}"
    return Lanes(like.f, like.f.let(text, like.dtype, like.width))


def fma(x: Lanes, y: Any, z: Any) -> Lanes:
    """x * y + z with one rounding, or two where the machine cannot."""
    if not x.fused:
        return x * y + z
    return x.intrinsic("fma", y, z)


def sqrt(x: Lanes) -> Lanes:
    """The square root, rounded correctly."""
    return x.intrinsic("sqrt")


def at_most(x: Lanes, bound: Any) -> Lanes:
    """min(x, bound); NaN stays NaN (one minps)."""
    return where(x > bound, bound, x)


def at_least(x: Lanes, bound: Any) -> Lanes:
    """max(x, bound); NaN stays NaN."""
    return where(x < bound, bound, x)


def sign_bit(x: Lanes) -> Lanes:
    """The bits of x but for its sign set to zero."""
    return x.bits() & (-1 << (8 * x.size - 1))


def copy_sign(x: Lanes, y: Lanes) -> Lanes:
    """|x| with the sign of y."""
    return from_bits(abs(x).bits() | sign_bit(y))


def flip_sign(x: Lanes, bits: Lanes) -> Lanes:
    """x, negated where the top bit of the integer `bits` is set and its other bits are not."""
    return from_bits(x.bits() ^ bits)


def polynomial(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """sum of coefficients[k] x^k. Long ones as two chains in x^2, which run side by side."""
    if len(coefficients) < 6:
        return horner(x, coefficients)
    square = x * x
    return fma(horner(square, coefficients[1::2]), x, horner(square, coefficients[::2]))


def horner(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """sum of coefficients[k] x^k, one multiply-add a term."""
    total = x.const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = fma(total, x, c)
    return total


def two_sum(x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """x + y and its rounding error, exactly (Knuth)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def fast_two_sum(x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """The same where |x| >= |y| or x is 0."""
    total = x + y
    return total, y - (total - x)


def two_product(x: Lanes, y: Any) -> tuple[Lanes, Lanes]:
    """x * y and its rounding error, exactly unless that underflows."""
    y = y if isinstance(y, Lanes) else x.const(y)
    product = x * y
    if x.fused:
        return product, fma(x, y, -product)
    x_high, x_low = _halves(x)
    y_high, y_low = _halves(y)
    error = ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low
    return product, error


def _halves(x: Lanes) -> tuple[Lanes, Lanes]:
    """x as a sum of two floats of half its bits: the upper one is rounded in its bits."""
    low_bits = (MANTISSA[x.size] + 2) // 2
    rounded = (x.bits() + (1 << (low_bits - 1))) & -(1 << low_bits)
    high = from_bits(rounded)
    return high, x - high


def magic(dtype: DType) -> float:
    """1.5 * 2^52 (2^23 in float32): added to a smaller x, its low bits are those of rint(x)."""
    return 1.5 * 2.0 ** MANTISSA[dtype.itemsize]


def round_even(x: Lanes) -> Lanes:
    """The nearest integer, ties to even, as a float."""
    if x.fused:
        return x.intrinsic("rint")
    limit = 2.0 ** MANTISSA[x.size]
    rounded = copy_sign((abs(x) + limit) - limit, x)
    return where(abs(x) < limit, rounded, x)


def floor(x: Lanes) -> Lanes:
    """The largest integer that is not above x, as a float."""
    if x.fused:
        return x.intrinsic("floor")
    rounded = round_even(x)
    return where(rounded > x, copy_sign(rounded - 1.0, x), rounded)


def ceil(x: Lanes) -> Lanes:
    """The smallest integer that is not below x, as a float."""
    if x.fused:
        return x.intrinsic("ceil")
    rounded = round_even(x)
    return where(rounded < x, copy_sign(rounded + 1.0, x), rounded)


def truncate(x: Lanes) -> Lanes:
    """x without its fraction."""
    if x.fused:
        return x.intrinsic("trunc")
    return copy_sign(floor(abs(x)), x)


def any_lane(mask: Lanes) -> str:
    """The name of an i1 that says whether the condition holds in any lane."""
    if mask.width == 1:
        return mask.reg.name
    whole = mask.f.let_raw(f"bitcast {mask.reg} to i{mask.width}", "any")
    return mask.f.let_raw(f"icmp ne i{mask.width} {whole}, 0", "any")


def rarely(
    mask: Lanes, usual: Sequence[Lanes], other: Callable[[], Sequence[Lanes]]
) -> list[Lanes]:
    """`usual`, or where the condition holds in any lane, what `other` computes in a block apart.

    The function goes on in a new block, so callers that make loops read `f.block` afterwards. LLVM
    is told that it is rare, so what `other` calls costs the usual way no register.
    """
    f = mask.f
    condition = any_lane(mask)
    rare, join = f.label("rare"), f.label("join")
    before = f.block
    f.module.declare('!0 = !{!"branch_weights", i32 1, i32 1000}')
    f.emit(f"br i1 {condition}, label %{rare}, label %{join}, !prof !0")
    f.begin(rare)
    found = other()
    after = f.block
    f.emit(f"br label %{join}")
    f.begin(join)
    results: list[Lanes] = []
    for x, y in zip(usual, found, strict=True):
        text = f"phi {x.reg.type} [ {x.reg.name}, %{before} ], [ {y.reg.name}, %{after} ]"
        results.append(Lanes(f, f.let(text, x.dtype, x.width)))
    return results


def repeat(
    start: Sequence[Lanes], step: Callable[..., tuple[Lanes, Sequence[Lanes]]]
) -> list[Lanes]:
    """`step(*values)` gives (whether to go on, the next values); it runs until no lane goes on.

    As with `rarely`, the function goes on in a new block.
    """
    f = start[0].f
    before, loop, done = f.block, f.label("repeat"), f.label("done")
    following = [f.fresh() for _ in start]
    f.emit(f"br label %{loop}")
    f.begin(loop)
    values: list[Lanes] = []
    for x, name in zip(start, following, strict=True):
        text = f"phi {x.reg.type} [ {x.reg.name}, %{before} ], [ {name}, %{loop} ]"
        values.append(Lanes(f, f.let(text, x.dtype, x.width)))
    more, found = step(*values)
    for x, name in zip(found, following, strict=True):
        f.emit(f"{name} = bitcast {x.reg} to {x.reg.type}")
    f.emit(f"br i1 {any_lane(more)}, label %{loop}, label %{done}")
    f.begin(done)
    return list(found)
