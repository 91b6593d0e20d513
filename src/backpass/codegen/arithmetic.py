"""The LLVM text of every elementwise operation, on any number of lanes: one row an operation.

A row says how an operation is computed on floats, on integers and on booleans (i1); a kind without
an entry is not emitted, and `can_emit` says so: the program then calls the NumPy reference, which
is the oracle of everything here. float16 is computed in float32 and each operation rounds. Some
operations end the current block (see `lanes.rarely`): after `emit`, read `f.block` again.
Next: `elementary.py` for the transcendental functions, `docs/accuracy.md` for their errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.codegen import elementary, elementary_power, integers, rounding
from backpass.codegen.casts import cast
from backpass.codegen.lanes import (
    F16,
    F32,
    Lanes,
    ceil,
    copy_sign,
    floor,
    round_even,
    sqrt,
    truncate,
    where,
)
from backpass.codegen.text import BOOL, DType, Function, Reg, llvm_type

Emitter = Callable[[Lanes], Lanes] | Callable[[Lanes, Lanes], Lanes]
INT32, UINT8 = np.dtype(np.int32), np.dtype(np.uint8)


@dataclass(frozen=True, slots=True)
class Row:
    """One operation: its number of operands, and its emitter by the kind of their dtype.

    `result` is the dtype of the result if it is not that of the operands. `half` says that `real`
    takes float16 as it is; `unsigned`, that `integer` takes unsigned integers only (NumPy refuses
    some signed ones).
    """

    arity: int
    real: Emitter | None = None
    integer: Emitter | None = None
    boolean: Emitter | None = None
    result: DType | None = None
    half: bool = False
    unsigned: bool = False

    def emitter(self, dtype: DType) -> Callable[..., Lanes] | None:
        """The emitter for operands of this dtype."""
        signed = None if self.unsigned else self.integer
        kinds = {"f": self.real, "i": signed, "u": self.integer, "b": self.boolean}
        return kinds[dtype.kind]


def _same(x: Lanes) -> Lanes:
    return x


def _false(x: Lanes) -> Lanes:
    return x.const(False, BOOL)


def _true(x: Lanes) -> Lanes:
    return x.const(True, BOOL)


def _nonzero(x: Lanes) -> Lanes:
    return x if x.dtype == BOOL else x.differs(0)


def _all_kinds(rule: Callable[..., Lanes], arity: int = 2) -> Row:
    """A function of truth values: anything that is not 0 is true."""

    def run(*xs: Lanes) -> Lanes:
        return rule(*[_nonzero(x) for x in xs])

    return Row(arity, run, run, run, BOOL)


def _comparison(number: Emitter, truth: Emitter) -> Row:
    return Row(2, number, number, truth, BOOL)


def _real(function: Emitter, arity: int = 1) -> Row:
    return Row(arity, real=function)


def _sign(x: Lanes) -> Lanes:
    """1, -1, 0, or NaN."""
    one = where(x > 0.0, x.const(1.0), where(x < 0.0, x.const(-1.0), 0.0))
    return where(x.is_nan(), x, one)


def _extreme(above: bool, tie_first: bool) -> Callable[[Lanes, Lanes], Lanes]:
    """maximum or minimum with NaN passed on. Of zeros of two signs NumPy takes the second one."""

    def run(x: Lanes, y: Lanes) -> Lanes:
        if tie_first:
            chosen = where(x >= y if above else x <= y, x, y)
        else:
            chosen = where(x > y if above else x < y, x, y)
        return where(x.is_nan(), x, chosen) if x.dtype.kind == "f" else chosen

    return run


def _extreme_real(above: bool) -> Callable[[Lanes, Lanes], Lanes]:
    usual, of_half = _extreme(above, False), _extreme(above, True)

    def run(x: Lanes, y: Lanes) -> Lanes:
        if x.dtype == F16:
            return cast(of_half(cast(x, F32), cast(y, F32)), F16)
        return usual(x, y)

    return run


def _scale(ct: Lanes, d: Lanes) -> Lanes:
    """ct * d, and 0.0 where ct is 0: one comparison and a masked product."""
    product = ct * d
    return where(ct.differs(0.0), product, 0.0) if product.dtype.kind == "f" else product


def _gate(x: Lanes, y: Lanes) -> Lanes:
    """x * y, and 0.0 where either is 0."""
    product = x * y
    if product.dtype.kind != "f":
        return product
    return where(x.differs(0.0) & y.differs(0.0), product, 0.0)


# fmt: off
ROWS: dict[str, Row] = {
    "add":    Row(2, Lanes.__add__, Lanes.__add__, Lanes.__or__),
    "sub":    Row(2, Lanes.__sub__, Lanes.__sub__),
    "mul":    Row(2, Lanes.__mul__, Lanes.__mul__, Lanes.__and__),
    "div":    Row(2, Lanes.__truediv__),
    "scale":  Row(2, _scale, _scale, Lanes.__and__),
    "gate":   Row(2, _gate, _gate, Lanes.__and__),
    "neg":    Row(1, Lanes.__neg__, Lanes.__neg__),
    "abs":    Row(1, abs, abs, _same),
    "square": Row(1, lambda x: x * x, lambda x: x * x),
    "sqrt":   Row(1, sqrt),
    "sign":   Row(1, _sign, integers.sign),
    "reciprocal": Row(1, lambda x: 1.0 / x, integers.reciprocal),
    "floor":  Row(1, floor, _same, _same),
    "ceil":   Row(1, ceil, _same, _same),
    "trunc":  Row(1, truncate, _same, _same),
    "rint":   Row(1, round_even),
    "maximum": Row(2, _extreme_real(True), _extreme(True, False), Lanes.__or__, half=True),
    "minimum": Row(2, _extreme_real(False), _extreme(False, False), Lanes.__and__, half=True),
    "copysign": Row(2, copy_sign, half=True),
    "nextafter": Row(2, rounding.nextafter, half=True),
    "spacing": Row(1, rounding.spacing, half=True),
    "exponent": Row(1, rounding.exponent, result=INT32, half=True),
    "bit_count": Row(1, None, integers.bit_count, _same, UINT8),
    "floor_divide": Row(2, rounding.floor_divide, integers.floor_divide),
    "remainder": Row(2, rounding.remainder, integers.remainder),
    "fmod":   Row(2, rounding.fmod, integers.fmod),
    "bitwise_and": Row(2, None, Lanes.__and__, Lanes.__and__),
    "bitwise_or":  Row(2, None, Lanes.__or__, Lanes.__or__),
    "bitwise_xor": Row(2, None, Lanes.__xor__, Lanes.__xor__),
    "invert":      Row(1, None, Lanes.__invert__, Lanes.__invert__),
    "left_shift":  Row(2, None, integers.left_shift),
    "right_shift": Row(2, None, integers.right_shift),
    "equal":         _comparison(Lanes.equals, lambda x, y: ~(x ^ y)),
    "not_equal":     _comparison(Lanes.differs, Lanes.__xor__),
    "less":          _comparison(Lanes.__lt__, lambda x, y: ~x & y),
    "less_equal":    _comparison(Lanes.__le__, lambda x, y: ~x | y),
    "greater":       _comparison(Lanes.__gt__, lambda x, y: x & ~y),
    "greater_equal": _comparison(Lanes.__ge__, lambda x, y: x | ~y),
    "logical_and": _all_kinds(Lanes.__and__),
    "logical_or":  _all_kinds(Lanes.__or__),
    "logical_xor": _all_kinds(Lanes.__xor__),
    "logical_not": _all_kinds(Lanes.__invert__, 1),
    "isfinite": Row(1, lambda x: abs(x) < float("inf"), _true, _true, BOOL),
    "isinf":    Row(1, lambda x: abs(x).equals(float("inf")), _false, _false, BOOL),
    "isnan":    Row(1, Lanes.is_nan, _false, _false, BOOL),
    "signbit":  Row(1, lambda x: x.bits() < 0, lambda x: x < 0, _false, BOOL, half=True),
    "identity":      Row(1, _same, _same, _same, half=True),
    "stop_gradient": Row(1, _same, _same, _same, half=True),
    "power": Row(2, elementary_power.power, integers.power, unsigned=True),
    **{name: _real(function) for name, function in elementary.NATIVE_1.items()},
    **{name: _real(elementary.wide_1(rule)) for name, rule in elementary.WIDE_1.items()},
    **{name: _real(function, 2) for name, function in elementary.NATIVE_2.items()},
    **{name: _real(elementary.wide_2(rule), 2) for name, rule in elementary.WIDE_2.items()},
}
# fmt: on


def can_emit(code: str, inputs: Sequence[DType], output: DType) -> bool:
    """Whether `emit` knows this operation for operands of these dtypes."""
    match code:
        case "cast":
            return len(inputs) == 1
        case "select":
            return len(inputs) == 3 and inputs[0] == BOOL and inputs[1] == inputs[2] == output
        case "ldexp":
            kinds = [d.kind for d in inputs]
            return kinds == ["f", "i"] and inputs[0] == output
        case _:
            row = ROWS.get(code)
    if row is None or len(inputs) != row.arity or any([d != inputs[0] for d in inputs]):
        return False
    return row.emitter(inputs[0]) is not None and output == (row.result or inputs[0])


def emit(f: Function, code: str, args: Sequence[Reg], dtype: DType, param: Any = None) -> Reg:
    """Append the operation to f; return a register of the arguments' width and of `dtype`.

    Args:
        code: the name of an elementwise primitive; `can_emit` says whether it is known.
        args: registers of one width.
        dtype: of the result; for `cast` it says to what.
        param: not used by any operation so far.
    """
    if code in f.calls and args[0].dtype.name in ("float32", "float64"):
        return _called(f, code, args, dtype)
    xs = [Lanes(f, reg) for reg in args]
    match code:
        case "cast":
            return cast(xs[0], dtype).reg
        case "select":
            return where(*xs).reg
        case "ldexp":
            return rounding.ldexp(xs[0], xs[1]).reg
        case _:
            return _by_row(code, xs, dtype).reg


def _called(f: Function, code: str, args: Sequence[Reg], dtype: DType) -> Reg:
    """The operation by a function of the module, which is made where it is missing."""
    width = args[0].width
    kind = llvm_type(dtype, width)
    name = ".".join(["op", code, *[a.dtype.name for a in args], dtype.name, str(width)])
    if name not in f.module.operations:
        f.module.operations.add(name)
        own = [Reg(f"%x{i}", a.dtype, width) for i, a in enumerate(args)]
        head = f"define internal {kind} @{name}({', '.join(map(str, own))}) #0"
        body = Function(f.module, head)
        body.emit(f"ret {emit(body, code, own, dtype)}")
        body.close()
    return f.let(f"call {kind} @{name}({', '.join(map(str, args))})", dtype, width)


def _by_row(code: str, xs: list[Lanes], dtype: DType) -> Lanes:
    row = ROWS.get(code)
    rule = row.emitter(xs[0].dtype) if row else None
    if row is None or rule is None:
        raise NotImplementedError(f"{code} of {xs[0].dtype} has no native code")
    if xs[0].dtype != F16 or row.half:
        return cast(rule(*xs), dtype)
    result = rule(*[cast(x, F32) for x in xs])
    # The fence keeps LLVM from joining this rounding to one before it: x86 has no instruction that
    # rounds float64 to float16.
    return cast(result.intrinsic("arithmetic.fence"), dtype) if dtype == F16 else result
