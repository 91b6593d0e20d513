"""LLVM text under construction: one function, and one module of functions.

A register is `Reg(name, dtype, width)`: `width` lanes of a NumPy dtype, width 1 being a plain
scalar. Booleans are i1 in registers and i8 (0 or 1) in memory. Constants are registers too: their
`name` is the literal. Every instruction goes through `Function.emit`, so that text is only ever
appended.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

DType = np.dtype[Any]

_TYPES = {
    "bool": "i1",
    "int8": "i8",
    "uint8": "i8",
    "int16": "i16",
    "uint16": "i16",
    "int32": "i32",
    "uint32": "i32",
    "int64": "i64",
    "uint64": "i64",
    "float16": "half",
    "float32": "float",
    "float64": "double",
}
INT64 = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)


@dataclass(frozen=True, slots=True)
class Reg:
    """An SSA value or literal: `width` lanes of `dtype`."""

    name: str
    dtype: DType
    width: int

    @property
    def type(self) -> str:
        """Its LLVM type."""
        return llvm_type(self.dtype, self.width)

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


@lru_cache(maxsize=1024)  # NumPy makes a dtype's name anew each time, in 2 us
def llvm_type(dtype: DType, width: int = 1) -> str:
    """The LLVM type of `width` lanes of a dtype in registers."""
    element = _TYPES[dtype.name]
    return element if width == 1 else f"<{width} x {element}>"


def literal(value: Any, dtype: DType) -> str:
    """A scalar constant as LLVM writes it; floats by their bits, so nothing is rounded twice."""
    x = np.asarray(value).astype(dtype)
    match dtype.kind:
        case "b":
            return "true" if x else "false"
        case "f":
            bits: int
            if dtype.itemsize == 2:
                return f"0xH{int(x.view(np.uint16)):04X}"
            (bits,) = struct.unpack("<Q", struct.pack("<d", float(x)))
            return f"0x{bits:016X}"
        case _:
            return str(int(x))


def constant(value: Any, dtype: DType, width: int = 1) -> Reg:
    """A constant in every lane."""
    text = literal(value, dtype)
    if width > 1:
        text = f"splat ({llvm_type(dtype)} {text})"
    return Reg(text, dtype, width)


class Module:
    """Functions and the declarations that they need, in the order in which they were asked for.

    `fused` says that the machine has FMA: without it LLVM would call libm's fma.
    """

    def __init__(self, fused: bool = True) -> None:
        self.fused = fused
        self.declarations: dict[str, None] = {}
        self.functions: list[str] = []
        self.operations: set[str] = set()  # the functions of single operations that it has

    def declare(self, text: str) -> None:
        """Add a line such as `declare float @llvm.fabs.f32(float)`, or a constant, once."""
        self.declarations[text] = None

    def __str__(self) -> str:
        return "\n".join([*self.declarations, "", *self.functions, ""])


class Function:
    """One function under construction; `close` adds it to its module.

    `calls` are the operations that are computed by functions of the module, not in place.
    """

    def __init__(self, module: Module, head: str, calls: frozenset[str] = frozenset()) -> None:
        self.module = module
        self.calls = calls
        self.lines = [head + " {", "entry:"]
        self.block = "entry"
        self._names = 0

    def fresh(self, hint: str = "v") -> str:
        """A register name that was not used before, such as %v12."""
        self._names += 1
        return f"%{hint}{self._names}"

    def label(self, hint: str) -> str:
        """A block name that was not used before."""
        self._names += 1
        return f"{hint}{self._names}"

    def emit(self, text: str) -> None:
        """One instruction without a result."""
        self.lines.append("  " + text)

    def let(self, text: str, dtype: DType, width: int = 1, hint: str = "v") -> Reg:
        """One instruction with a result: `%fresh = text`."""
        name = self.fresh(hint)
        self.lines.append(f"  {name} = {text}")
        return Reg(name, dtype, width)

    def let_raw(self, text: str, hint: str = "p") -> str:
        """The same for what is no Reg: pointers, aggregates."""
        name = self.fresh(hint)
        self.lines.append(f"  {name} = {text}")
        return name

    def begin(self, label: str) -> None:
        """Start a block; the one before must have ended with a branch."""
        self.lines.append(f"{label}:")
        self.block = label

    def close(self) -> None:
        """End the function."""
        self.lines.append("}")
        self.module.functions.append("\n".join(self.lines))
