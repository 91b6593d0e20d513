"""The oracle: runs a Kernel with NumPy, in the order of operations that the kernel language states.

All outer iterations run at once, for none may read what another writes. A reduction goes step by
step, with the partial results of `Schedule`, so that sums, products and extremes are equal to those
of the emitted code bit for bit. Elementwise ops are `references[code]`, functions of arrays, which
the caller has (the primitives stand above this room); `cast` needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from backpass.loops.kernel import (
    LANES,
    Access,
    Clip,
    DType,
    Gemm,
    Indexed,
    Kernel,
    LoopKernel,
    Op,
    ScatterAdd,
    Schedule,
    Space,
)

Array = np.ndarray[Any, DType]
References = Mapping[str, Callable[..., Any]]

_COMBINE: dict[str, Callable[..., Any]] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}


def interpret(kernel: Kernel, arrays: Sequence[Array], references: References) -> int:
    """Run a verified kernel and give its status, 0 or 1.

    Args:
        kernel: what to run.
        arrays: one flat array for each MEMORY buffer, in order; written in place.
        references: NumPy functions by op code.
    """
    with np.errstate(all="ignore"):
        match kernel:
            case LoopKernel():
                return _run_loops(kernel, arrays, references)
            case Gemm():
                return _run_gemm(kernel, arrays, references)
            case ScatterAdd():
                return _run_scatter(kernel, arrays, references)


def identity(kind: str, dtype: DType) -> Any:
    """What a reduction starts from: -0.0 for a float sum, which changes no number."""
    match kind:
        case "sum":
            return dtype.type(-0.0 if dtype.kind == "f" else 0)
        case "prod" | "all":
            return dtype.type(1)
        case "any":
            return dtype.type(0)
        case _:
            highest = kind == "min"
    if dtype.kind == "b":
        return dtype.type(highest)
    if dtype.kind == "f":
        return dtype.type(np.inf if highest else -np.inf)
    limits = np.iinfo(dtype)
    return dtype.type(limits.max if highest else limits.min)


@dataclass(slots=True)
class _Run:
    """A domain being visited; a value is an array that broadcasts over it."""

    extents: tuple[int, ...]
    outer: int
    buffers: list[Array]
    scratch: frozenset[int]
    references: References
    clip: Clip | None = None
    schedule: Schedule = field(default_factory=Schedule)
    values: list[Array] = field(default_factory=list[Array])
    status: int = 0

    def index(self, axis: int) -> Array:
        """The index of an axis, over the domain."""
        shape = [1] * len(self.extents)
        shape[axis] = self.extents[axis]
        return np.arange(self.extents[axis], dtype=np.int64).reshape(shape)

    def alive(self, loops: bool) -> Array:
        """Where the domain is not cut away."""
        if self.clip is None or not loops:
            return np.ones([1] * len(self.extents), np.bool_)
        block = self.extents[self.clip.inner]
        place = self.index(self.clip.outer) * block + self.index(self.clip.inner)
        return np.less(place, self.clip.total)

    def shape(self, loops: bool) -> tuple[int, ...]:
        """The shape of a stage's domain, with ones for what it does not visit."""
        inner = len(self.extents) - self.outer
        return self.extents if loops else self.extents[: self.outer] + (1,) * inner

    def place(self, access: Access) -> Array:
        """The element that an access means, over the domain; scratch lies apart for each row."""
        total = np.full([1] * len(self.extents), access.offset, np.int64)
        for axis, stride in enumerate(access.strides):
            if stride:
                total = total + stride * self.index(axis)
        if access.buffer in self.scratch:
            row = np.zeros([1] * len(self.extents), np.int64)
            for axis in range(self.outer):
                row = row * self.extents[axis] + self.index(axis)
            size = self.buffers[access.buffer].size // prod(self.extents[: self.outer])
            total = total + row * size
        return total

    def run(self, op: Op, loops: bool) -> Array:
        """The value of one op."""
        args = [self.values[a] for a in op.args]
        match op.code:
            case "load":
                return self.load(op, args, loops)
            case "wrap":
                return self.wrap(args[0], op.param, loops)
            case "load_at":
                return self.load_at(op.param, args, loops)
            case "store":
                return self.store(op.param, args[0], loops)
            case "const":
                return np.full([1] * len(self.extents), op.param, op.dtype)
            case "index":
                return self.index(op.param)
            case "reduce":
                return self.reduce(op, args[0])
            case "scan":
                return self.scan(op, args[0])
            case "cast":
                return np.asarray(args[0].astype(op.dtype))
            case _:
                further = () if op.param is None else (op.param,)
                return np.asarray(self.references[op.code](*args, *further), op.dtype)

    def load(self, op: Op, args: Sequence[Array], loops: bool) -> Array:
        """The element where it may be read, else 0."""
        read = self.alive(loops)
        if args:
            read = read & args[0]
        found = self.buffers[int(op.param.buffer)].take(np.where(read, self.place(op.param), 0))
        return np.where(args[0], found, np.zeros((), op.dtype)) if args else found

    def wrap(self, x: Array, extent: int, loops: bool) -> Array:
        """An index counted from the end where it is negative; out of range the status is set."""
        wrapped = np.where(x < 0, x + extent, x)
        inside = (wrapped >= 0) & (wrapped < extent)
        if not np.all(inside | ~self.alive(loops)):
            self.status = 1
        return np.where(inside, wrapped, 0)

    def load_at(self, indexed: Indexed, indices: Sequence[Array], loops: bool) -> Array:
        """A load through indices; out of range the status is set and index 0 read."""
        alive = self.alive(loops)
        place = self.place(indexed.access)
        for x, stride, extent in zip(indices, indexed.strides, indexed.extents, strict=True):
            wrapped = np.where(x < 0, x + extent, x)
            inside = (wrapped >= 0) & (wrapped < extent)
            if not np.all(inside | ~alive):
                self.status = 1
            place = place + stride * np.where(inside, wrapped, 0)
        return self.buffers[indexed.access.buffer].take(np.where(alive, place, 0))

    def store(self, access: Access, x: Array, loops: bool) -> Array:
        """Write over the whole domain of a stage."""
        shape = self.shape(loops)
        alive = np.broadcast_to(self.alive(loops), shape)
        place = np.broadcast_to(self.place(access), shape)
        self.buffers[access.buffer][place[alive]] = np.broadcast_to(x, shape)[alive]
        return x

    def steps(self, x: Array) -> Iterator[tuple[Array, Array]]:
        """The operands of a reduction in order: (outer, lanes) elements, and which are alive."""
        vector = self.schedule.vector
        inner = [a for a in range(self.outer, len(self.extents)) if a != vector]
        lanes = 1
        order = [*range(self.outer), *inner]
        if vector is not None and vector >= self.outer:
            lanes = LANES * self.schedule.unroll
            order.append(vector)
        rows = self.extents[: self.outer]
        full = np.broadcast_to(x, self.extents).transpose(order)
        alive = np.broadcast_to(self.alive(True), self.extents).transpose(order)
        length = full.shape[-1] if lanes > 1 else 1
        full, alive = full.reshape(*rows, -1, length), alive.reshape(*rows, -1, length)
        padding = [(0, 0)] * (self.outer + 1) + [(0, -length % lanes)]
        full, alive = np.pad(full, padding), np.pad(alive, padding)
        for position in range(full.shape[-2]):
            for first in range(0, full.shape[-1], lanes):
                part = (..., position, slice(first, first + lanes))
                yield full[part], alive[part]

    def reduce(self, op: Op, x: Array) -> Array:
        """A reduction over the inner axes, with the partial results of the schedule."""
        combine = _COMBINE[op.param]
        partial: Array | None = None
        for part, alive in self.steps(x):
            if partial is None:
                partial = np.full(part.shape, identity(op.param, op.dtype), op.dtype)
            partial = np.where(alive, combine(partial, part), partial)
        if partial is None:
            raise ValueError("a reduction over nothing")
        rows = self.extents[: self.outer]
        if partial.shape[-1] > 1:
            vectors = list(np.moveaxis(partial.reshape(*rows, -1, LANES), -2, 0))
            partial = _joined(combine, vectors)
        return partial.reshape(self.shape(loops=False))

    def scan(self, op: Op, x: Array) -> Array:
        """The running reduction along the last axis."""
        shape = np.broadcast_shapes(x.shape, (self.extents[-1],))
        result = np.empty(shape, op.dtype)
        running = np.full(shape[:-1], identity(op.param, op.dtype), op.dtype)
        x = np.broadcast_to(x, shape)
        for k in range(shape[-1]):
            running = _COMBINE[op.param](running, x[..., k])
            result[..., k] = running
        return result


def _joined(combine: Callable[..., Any], vectors: list[Array]) -> Array:
    """Neighbouring vectors pairwise, then the lanes of the one that is left by halves."""
    while len(vectors) > 1:
        pairs = range(0, len(vectors) - 1, 2)
        joined = [combine(vectors[k], vectors[k + 1]) for k in pairs]
        vectors = [*joined, *vectors[2 * len(joined) :]]
    x = vectors[0]
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        x = combine(x[..., :half], x[..., half:])
    return x


def _run_loops(kernel: LoopKernel, arrays: Sequence[Array], references: References) -> int:
    rows = prod(kernel.extents[: kernel.outer])
    given = iter(arrays)
    buffers = [
        next(given) if b.space is Space.MEMORY else np.zeros(rows * b.size, b.dtype)
        for b in kernel.buffers
    ]
    scratch = frozenset(k for k, b in enumerate(kernel.buffers) if b.space is Space.SCRATCH)
    run = _Run(
        kernel.extents, kernel.outer, buffers, scratch, references, kernel.clip, kernel.schedule
    )
    for stage in kernel.stages:
        for op in stage.ops:
            run.values.append(run.run(op, stage.loops))
    return run.status


def _run_gemm(kernel: Gemm, arrays: Sequence[Array], references: References) -> int:
    extents = (kernel.batch, kernel.rows, kernel.columns, kernel.depth)
    run = _Run(extents, 3, list(arrays), frozenset(), references)
    x = run.buffers[kernel.x.buffer][run.place(kernel.x)]
    y = run.buffers[kernel.y.buffer][run.place(kernel.y)]
    wide = np.dtype(np.float64) if kernel.dtype.kind == "f" else kernel.dtype
    product = np.einsum(
        "bik,bjk->bij",
        np.broadcast_to(x[:, :, 0, :], (kernel.batch, kernel.rows, kernel.depth)).astype(wide),
        np.broadcast_to(y[:, 0, :, :], (kernel.batch, kernel.columns, kernel.depth)).astype(wide),
    )
    return _run_epilogue(kernel.epilogue, extents[:3], product, arrays, references)


def _run_scatter(kernel: ScatterAdd, arrays: Sequence[Array], references: References) -> int:
    updates = _Run((*kernel.counts, kernel.width), 0, list(arrays), frozenset(), references)
    whole = np.broadcast_to(updates.place(kernel.updates), updates.extents)
    added = arrays[kernel.updates.buffer].take(whole.reshape(kernel.count, kernel.width))
    valid = np.ones(kernel.count, np.bool_)
    places: list[Array] = []
    for buffer, extent in zip(kernel.indices, kernel.extents, strict=True):
        x = arrays[buffer]
        wrapped = np.where(x < 0, x + extent, x)
        valid &= (wrapped >= 0) & (wrapped < extent)
        places.append(wrapped)
    sums = np.zeros((*kernel.extents, kernel.width), added.dtype)
    np.add.at(sums, tuple(p[valid] for p in places), added[valid])
    if not kernel.epilogue:
        arrays[kernel.out][: sums.size] = sums.reshape(-1)
        return 0 if valid.all() else 1
    extents = (1, kernel.rows, kernel.width)
    return _run_epilogue(kernel.epilogue, extents, sums.reshape(extents), arrays, references)


def _run_epilogue(
    ops: Sequence[Op],
    extents: tuple[int, int, int],
    acc: Array,
    arrays: Sequence[Array],
    references: References,
) -> int:
    run = _Run(extents, 3, list(arrays), frozenset(), references)
    for op in ops:
        if op.code == "acc":
            run.values.append(np.asarray(acc.astype(op.dtype)))
        else:
            run.values.append(run.run(op, loops=False))
    return run.status
