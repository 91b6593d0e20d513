"""Reductions in registers: where they start, one step, and how lanes are joined.

The identity of a float sum is -0.0, which changes no other number, so lanes that saw nothing leave
no trace. max and min give NaN as soon as one element is NaN. Lanes are joined by halves: 8 pairs,
4, 2, 1. `loops/interpret.py` does the same in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backpass.codegen import arithmetic
from backpass.codegen.access import mask_literal
from backpass.codegen.text import DType, Function, Reg, constant

_STEPS = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}


def identity(kind: str, dtype: DType, width: int) -> Reg:
    """The value that a reduction starts from."""
    match kind:
        case "sum":
            return constant(-0.0 if dtype.kind == "f" else 0, dtype, width)
        case "prod" | "all":
            return constant(1, dtype, width)
        case "any":
            return constant(0, dtype, width)
        case _:
            return constant(_extreme(kind == "min", dtype), dtype, width)


def _extreme(highest: bool, dtype: DType) -> float | int | bool:
    if dtype.kind == "f":
        return float("inf") if highest else float("-inf")
    if dtype.kind == "b":
        return highest
    limits = np.iinfo(dtype)
    return int(limits.max if highest else limits.min)


def combine(f: Function, kind: str, x: Reg, y: Reg) -> Reg:
    """One step of a reduction."""
    if x.dtype.kind == "b":
        code = "or" if kind in ("any", "max", "sum") else "and"
        return f.let(f"{code} {x}, {y.name}", x.dtype, x.width)
    return arithmetic.emit(f, _STEPS[kind], (x, y), x.dtype, None)


def keep_alive(f: Function, count: int, new: Reg, old: Reg) -> Reg:
    """The first `count` lanes of new, the rest of old."""
    if count >= new.width:
        return new
    mask = mask_literal([k < count for k in range(new.width)])
    return f.let(f"select <{new.width} x i1> {mask}, {new}, {old}", new.dtype, new.width)


def join(f: Function, kind: str, vectors: Sequence[Reg]) -> Reg:
    """All lanes of all vectors as one scalar; neighbouring vectors are joined first."""
    while len(vectors) > 1:
        pairs = [
            combine(f, kind, vectors[k], vectors[k + 1]) for k in range(0, len(vectors) - 1, 2)
        ]
        vectors = [*pairs, *vectors[len(pairs) * 2 :]]
    x = vectors[0]
    while x.width > 1:
        half = x.width // 2
        x = combine(f, kind, _part(f, x, 0, half), _part(f, x, half, half))
    return x


def _part(f: Function, x: Reg, first: int, count: int) -> Reg:
    if count == 1:
        return f.let(f"extractelement {x}, i64 {first}", x.dtype)
    lanes = ", ".join(f"i32 {first + k}" for k in range(count))
    return f.let(f"shufflevector {x}, {x.type} poison, <{count} x i32> <{lanes}>", x.dtype, count)
