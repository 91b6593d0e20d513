"""The epilogue of a product at one vector of its result: rows, columns and batch are known there.

`acc` is the vector of products; ops load, compute and store beside it. An access with stride 1
along columns is a vector load, with stride 0 one element spread, any other goes lane by lane. Only
the wanted lanes touch memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from backpass.codegen import arithmetic
from backpass.codegen.access import load_scalar, load_vector, splat, store_vector
from backpass.codegen.counted import Index
from backpass.codegen.gemm_tile import at
from backpass.codegen.text import Function, Reg, constant
from backpass.loops.kernel import Access, Gemm, Op


@dataclass(frozen=True, slots=True)
class Place:
    """A vector of the result: batch, row and first column, and how many lanes are wanted."""

    batch: Index
    row: Index
    column: Index
    wanted: int


def emit_epilogue(f: Function, gemm: Gemm, acc: Reg, place: Place) -> None:
    """Run the epilogue on one vector."""
    values: list[Reg] = []
    for op in gemm.epilogue:
        values.append(_op(f, gemm, op, values, acc, place))


def _op(f: Function, gemm: Gemm, op: Op, values: list[Reg], acc: Reg, place: Place) -> Reg:
    args = [values[arg] for arg in op.args]
    match op.code:
        case "acc":
            return acc
        case "load":
            return _load(f, gemm, op, place, acc.width)
        case "store":
            _store(f, gemm, op.param, args[0], place)
            return args[0]
        case "const":
            return constant(op.param, op.dtype, acc.width)
        case code:
            return arithmetic.emit(f, code, args, op.dtype, op.param)


def _pointer(f: Function, gemm: Gemm, access: Access, place: Place) -> str:
    size = gemm.buffers[access.buffer].dtype.itemsize
    batch, row, column = access.strides
    return at(
        f,
        f"%b{access.buffer}",
        (access.offset, size),
        (place.batch, batch * size),
        (place.row, row * size),
        (place.column, column * size),
    )


def _load(f: Function, gemm: Gemm, op: Op, place: Place, lanes: int) -> Reg:
    access: Access = op.param
    stride = access.strides[2]
    pointer = _pointer(f, gemm, access, place)
    if stride == 0:
        return splat(f, load_scalar(f, op.dtype, pointer), lanes)
    return load_vector(f, op.dtype, pointer, stride, lanes, place.wanted)


def _store(f: Function, gemm: Gemm, access: Access, value: Reg, place: Place) -> None:
    store_vector(f, value, _pointer(f, gemm, access, place), access.strides[2], place.wanted)
