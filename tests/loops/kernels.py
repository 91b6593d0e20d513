"""Typical kernels, written by hand, for tests and benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.loops import (
    Access,
    Buffer,
    Clip,
    Gemm,
    Indexed,
    LoopKernel,
    Op,
    ScatterAdd,
    Schedule,
    Space,
    Stage,
)

F32, I64, BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)


def load(buffer: int, strides: tuple[int, ...], offset: int = 0, dtype: np.dtype = F32) -> Op:
    """A load."""
    return Op("load", (), dtype, Access(buffer, offset, strides))


def store(
    value: int, buffer: int, strides: tuple[int, ...], offset: int = 0, dtype: np.dtype = F32
) -> Op:
    """A store."""
    return Op("store", (value,), dtype, Access(buffer, offset, strides))


def call(code: str, *args: int, dtype: np.dtype = F32) -> Op:
    """An elementwise op."""
    return Op(code, args, dtype)


def const(value: Any, dtype: np.dtype = F32) -> Op:
    """A constant."""
    return Op("const", (), dtype, value)


def reduce(kind: str, value: int, dtype: np.dtype = F32) -> Op:
    """A reduction."""
    return Op("reduce", (value,), dtype, kind)


def centred_rows(rows: int, columns: int, schedule: Schedule) -> LoopKernel:
    """y = (x - max(x)) / sum(x - max(x)) of each row, by way of scratch."""
    row = (columns, 1)
    stages = (
        Stage(True, (load(0, row), reduce("max", 0))),
        Stage(
            True,
            (load(0, row), call("sub", 2, 1), store(3, 2, (0, 1)), reduce("sum", 3)),
        ),
        Stage(False, (const(1.0), call("div", 6, 5))),
        Stage(True, (load(2, (0, 1)), call("mul", 8, 7), store(9, 1, row))),
    )
    buffers = (
        Buffer(F32, rows * columns),
        Buffer(F32, rows * columns, written=True),
        Buffer(F32, columns, Space.SCRATCH, written=True),
    )
    return LoopKernel("centred", buffers, (rows, columns), 1, stages, None, schedule)


def block_sums(total: int, block: int, schedule: Schedule) -> LoopKernel:
    """The sum of each block of a vector, of which the last may be short."""
    blocks = -(-total // block)
    stages = (
        Stage(True, (load(0, (block, 1)), reduce("sum", 0))),
        Stage(False, (store(1, 1, (1, 0)),)),
    )
    buffers = (Buffer(F32, total), Buffer(F32, blocks, written=True))
    return LoopKernel("sums", buffers, (blocks, block), 1, stages, Clip(0, 1, total), schedule)


def running_sums(rows: int, columns: int, schedule: Schedule) -> LoopKernel:
    """cumsum along the rows of a matrix."""
    row = (columns, 1)
    ops = (load(0, row), Op("scan", (0,), F32, "sum"), store(1, 1, row))
    buffers = (Buffer(F32, rows * columns), Buffer(F32, rows * columns, written=True))
    return LoopKernel("scan", buffers, (rows, columns), 1, (Stage(True, ops),), None, schedule)


def rows_at(rows: int, columns: int, count: int, schedule: Schedule) -> LoopKernel:
    """out[i, :] = table[index[i], :]."""
    ops = (
        load(1, (1, 0), dtype=I64),
        Op("load_at", (0,), F32, Indexed(Access(0, 0, (0, 1)), (columns,), (rows,))),
        store(1, 2, (columns, 1)),
    )
    buffers = (
        Buffer(F32, rows * columns),
        Buffer(I64, count),
        Buffer(F32, count * columns, written=True),
    )
    return LoopKernel("rows", buffers, (count, columns), 1, (Stage(True, ops),), None, schedule)


def descent(size: int, schedule: Schedule) -> LoopKernel:
    """p -= rate * gradient, in place."""
    ops = (
        load(2, (0,)),
        load(1, (1,)),
        call("mul", 1, 0),
        load(0, (1,)),
        call("sub", 3, 2),
        store(4, 0, (1,)),
    )
    buffers = (Buffer(F32, size, written=True), Buffer(F32, size), Buffer(F32, 1))
    return LoopKernel("descent", buffers, (size,), 0, (Stage(True, ops),), None, schedule)


def product(batch: int, rows: int, columns: int, depth: int) -> Gemm:
    """maximum(x @ y + bias, 0)."""
    epilogue = (
        Op("acc", (), F32),
        load(2, (0, 0, 1)),
        call("add", 0, 1),
        const(0.0),
        call("maximum", 2, 3),
        store(4, 3, (rows * columns, columns, 1)),
    )
    buffers = (
        Buffer(F32, batch * rows * depth),
        Buffer(F32, depth * columns),
        Buffer(F32, columns),
        Buffer(F32, batch * rows * columns, written=True),
    )
    x = Access(0, 0, (rows * depth, depth, 0, 1))
    y = Access(1, 0, (0, 0, 1, columns))
    return Gemm("product", buffers, batch, rows, columns, depth, F32, x, y, epilogue)


def scatter(extents: tuple[int, ...], count: int, width: int) -> ScatterAdd:
    """out, updates, then one buffer of indices for each extent."""
    rows = int(np.prod(extents))
    buffers = (
        Buffer(F32, rows * width, written=True),
        Buffer(F32, count * width),
        *[Buffer(I64, count) for _ in extents],
    )
    places = tuple(range(2, 2 + len(extents)))
    updates = Access(1, 0, (width, 1))
    return ScatterAdd("scatter", buffers, 0, updates, places, extents, (count,), width)
