"""Random LoopKernels for the tests of the verifier, the oracle and the emitted code.

A kernel has up to three stages: one over the inner axes that loads, computes, reduces and stores,
one once a row, and one that reads again what the others made. Strides are drawn too: any order of
the axes, padding, backwards, and 0 for loads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from backpass.loops import (
    Access,
    Buffer,
    Clip,
    Indexed,
    LoopKernel,
    Op,
    Schedule,
    Space,
    Stage,
    verify,
)

F32, I64, BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)
REFERENCES = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "maximum": np.maximum,
    "less": np.less,
    "select": np.where,
    "neg": np.negative,
}
EXTENTS = [17, 16, 33, 15, 31, 5, 3, 2, 1, 48, 70, 100]


@dataclass
class Builder:
    """A kernel and its arrays under construction."""

    extents: tuple[int, ...]
    outer: int
    rng: np.random.Generator
    draw: Any
    buffers: list[Buffer] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    first: int = 0
    scratch: Access = field(default_factory=lambda: Access(0, 0, ()))

    def op(self, code: str, args: tuple[int, ...], dtype: np.dtype, param: Any = None) -> int:
        """Add an op; its number."""
        self.ops.append(Op(code, args, dtype, param))
        return self.first + len(self.ops) - 1

    def close(self, loops: bool) -> None:
        """End a stage."""
        self.stages.append(Stage(loops, tuple(self.ops)))
        self.first += len(self.ops)
        self.ops = []

    def access(self, dtype: np.dtype, loops: bool, written: bool, scratch: bool = False) -> Access:
        """A new buffer with random contents, and a random way through it."""
        draw, rank = self.draw, len(self.extents)
        axes = list(range(self.outer if scratch else 0, rank if loops else self.outer))
        order = draw(st.permutations(axes))
        strides, size, offset = [0] * rank, 1, 0
        for axis in order:
            if not written and draw(st.integers(0, 3)) == 0:
                continue
            step = size + draw(st.sampled_from([0, 0, 0, 1, 2, 5]))
            reach = step * (self.extents[axis] - 1)
            strides[axis] = step
            if draw(st.integers(0, 3)) == 0:
                strides[axis] = -step
                offset += reach
            size += reach
        start = 0 if scratch else draw(st.integers(0, 3))
        return Access(
            self.buffer(dtype, size + start, written, scratch), offset + start, tuple(strides)
        )

    def buffer(self, dtype: np.dtype, size: int, written: bool, scratch: bool = False) -> int:
        """A new buffer with small integers, exact in any order."""
        space = Space.SCRATCH if scratch else Space.MEMORY
        self.buffers.append(Buffer(dtype, size, space, written))
        if not scratch:
            values = self.rng.standard_normal(size)
            self.arrays.append((values > 0) if dtype == BOOL else values.astype(dtype))
        return len(self.buffers) - 1

    def load(self, dtype: np.dtype, loops: bool) -> int:
        """A load of a new buffer."""
        return self.op("load", (), dtype, self.access(dtype, loops, written=False))

    def store(self, value: int, dtype: np.dtype, loops: bool) -> Access:
        """A store to a new buffer."""
        access = self.access(dtype, loops, written=True)
        self.op("store", (value,), dtype, access)
        return access


@st.composite
def loop_kernels(draw: Any) -> tuple[LoopKernel, list[np.ndarray]]:
    """A verified kernel and its arrays."""
    outer = draw(st.sampled_from([1, 1, 2, 0]))
    inner = draw(st.sampled_from([1, 1, 2, 0]))
    extents = tuple(draw(st.sampled_from(EXTENTS)) for _ in range(outer + inner))
    while np.prod(extents) > 20000:
        extents = tuple(max(1, n // 2) for n in extents)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    vector = draw(st.sampled_from([*range(max(outer - 1, 0), outer + inner)] * 3 + [None]))
    b = Builder(extents, outer, rng, draw)
    rows = _first_stage(b, inner, vector)
    _second_stage(b, rows)
    _third_stage(b, rows, inner, vector)
    schedule = Schedule(vector, draw(st.integers(1, 4)), draw(st.booleans()))
    clip = _draw_clip(draw, extents, outer, vector)
    kernel = LoopKernel("random", tuple(b.buffers), extents, outer, tuple(b.stages), clip, schedule)
    verify(kernel)
    return kernel, b.arrays


@st.composite
def map_kernels(draw: Any) -> tuple[LoopKernel, list[np.ndarray]]:
    """One stage without reductions, often with transposed accesses."""
    rank, loops = draw(st.sampled_from([2, 3, 1])), draw(st.booleans())
    outer = draw(st.integers(0, rank - 1)) if loops else rank
    extents = tuple(draw(st.sampled_from(EXTENTS)) for _ in range(rank))
    while np.prod(extents) > 20000:
        extents = tuple(max(1, n // 2) for n in extents)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    b = Builder(extents, outer, rng, draw)
    dtype = draw(st.sampled_from([F32, np.dtype(np.float64), I64, BOOL]))
    x, y = b.load(dtype, loops), b.load(dtype, loops)
    small = b.load(BOOL, loops)
    if draw(st.booleans()):
        axis = draw(st.integers(0, rank - 1))
        small = b.op("less", (b.load(I64, loops), b.op("index", (), I64, axis)), BOOL)
    total = b.op("select", (small, x, y), dtype)
    if dtype == F32 and draw(st.booleans()):
        total = b.op("add", (total, _gather(b, loops)), F32)
    b.store(total, dtype, loops)
    b.store(small, BOOL, loops)
    if dtype == F32:
        place = b.access(F32, loops, written=True)
        moved = b.op("sub", (b.op("load", (), F32, place), total), F32)
        b.op("store", (moved,), F32, place)
    b.close(loops)
    vector = draw(st.sampled_from([*range(max(outer - 1, 0), rank)] * 3 + [None]))
    schedule = Schedule(vector, draw(st.integers(1, 4)), draw(st.booleans()))
    kernel = LoopKernel("map", tuple(b.buffers), extents, outer, tuple(b.stages), None, schedule)
    verify(kernel)
    return kernel, b.arrays


def _draw_clip(draw: Any, extents: tuple[int, ...], outer: int, vector: int | None) -> Clip | None:
    pairs = [(o, i) for o in range(outer) for i in range(outer, len(extents)) if o != vector]
    if not pairs or draw(st.integers(0, 3)) == 3:
        return None
    o, i = draw(st.sampled_from(pairs))
    return Clip(o, i, (extents[o] - 1) * extents[i] + draw(st.integers(1, extents[i])))


def _first_stage(b: Builder, inner: int, vector: int | None) -> list[int]:
    """Loads, arithmetic, reductions, stores; the row values that it makes."""
    x, y = b.load(F32, True), b.load(F32, True)
    z = b.op("add", (x, b.op("mul", (y, x), F32)), F32)
    small = b.op("less", (x, y), BOOL)
    z = b.op("select", (small, z, b.op("const", (), F32, 0.5)), F32)
    b.store(z, F32, True)
    b.store(small, BOOL, True)
    b.scratch = b.access(F32, True, written=True, scratch=True)
    b.op("store", (z,), F32, b.scratch)
    kinds = b.draw(st.lists(st.sampled_from(["sum", "max", "min", "prod"]), max_size=2))
    rows = [b.op("reduce", (b.draw(st.sampled_from([x, y, z])),), F32, k) for k in kinds]
    if b.draw(st.booleans()):
        b.op("reduce", (small,), BOOL, b.draw(st.sampled_from(["any", "all"])))
    if inner and (vector is None or vector < b.outer) and b.draw(st.booleans()):
        b.store(b.op("scan", (x,), F32, "sum"), F32, True)
    b.close(True)
    return rows


def _second_stage(b: Builder, rows: list[int]) -> None:
    """Arithmetic once a row."""
    value = b.load(F32, False)
    for row in rows:
        value = b.op("maximum", (value, row), F32)
    rows.append(value)
    b.store(value, F32, False)
    b.close(False)


def _third_stage(b: Builder, rows: list[int], inner: int, vector: int | None) -> None:
    """Scratch and rows again, a gather, an update in place."""
    total = b.op("load", (), F32, b.scratch)
    for row in rows:
        total = b.op("sub", (total, row), F32)
    if b.draw(st.booleans()):
        total = b.op("add", (total, _gather(b)), F32)
    if b.extents and b.draw(st.booleans()):
        axis = b.draw(st.integers(0, len(b.extents) - 1))
        limit = b.op("const", (), I64, 3)
        late = b.op("less", (limit, b.op("index", (), I64, axis)), BOOL)
        total = b.op("select", (late, total, b.op("neg", (total,), F32)), F32)
    place = b.access(F32, True, written=True)
    moved = b.op("sub", (b.op("load", (), F32, place), total), F32)
    b.op("store", (moved,), F32, place)
    b.close(True)


def _gather(b: Builder, loops: bool = True) -> int:
    """A load through one or two indices, negative ones among them and rarely bad ones."""
    indices, strides, extents = [], [], []
    size = 1
    bad = b.draw(st.integers(0, 3)) == 0
    for _ in range(b.draw(st.integers(1, 2))):
        x = b.load(I64, loops)
        extent = b.draw(st.integers(1, 9))
        array = b.arrays[-1]
        array[:] = b.rng.integers(-extent, extent + bad, array.size)
        indices.append(x)
        strides.append(size)
        extents.append(extent)
        size *= extent
    access = b.access(F32, loops, written=False)
    wide = b.buffers[access.buffer].size + size
    table = b.buffer(F32, wide, written=False)
    indexed = Indexed(Access(table, access.offset, access.strides), tuple(strides), tuple(extents))
    return b.op("load_at", tuple(indices), F32, indexed)
