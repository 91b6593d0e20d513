"""The verifier of kernels: raises VerificationError where one breaks an invariant.

Sound means that the emitted code stays inside its buffers, reads nothing before it is written, and
gives one result however outer iterations are shared and lanes are taken. Tests run it on every
kernel that lowering makes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from backpass.errors import VerificationError
from backpass.loops.bounds import indexed_span, injective, span
from backpass.loops.change import change_of
from backpass.loops.kernel import (
    Access,
    Buffer,
    Clip,
    DType,
    Gemm,
    Indexed,
    Kernel,
    LoopKernel,
    Op,
    ScatterAdd,
    Space,
    Stage,
)

MAX_UNROLL = 8
_REDUCTIONS = {"reduce": ("sum", "prod", "max", "min", "any", "all"), "scan": ("sum", "prod")}
_INT64 = np.dtype(np.int64)
AnyKernel = TypeVar("AnyKernel", bound=Kernel)


def verify(kernel: AnyKernel) -> AnyKernel:
    """Return `kernel` if it is sound."""
    match kernel:
        case LoopKernel():
            _verify_loops(kernel)
        case Gemm():
            _verify_gemm(kernel)
        case ScatterAdd():
            _verify_scatter(kernel)
    return kernel


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise VerificationError(text)


@dataclass(slots=True)
class _Domain:
    """What the checks of ops need to know; it grows as ops are checked."""

    name: str
    buffers: tuple[Buffer, ...]
    extents: tuple[int, ...]
    outer: int
    clip: Clip | None
    lanes_inner: bool
    ops: list[Op] = field(default_factory=list[Op])
    stages: list[int] = field(default_factory=list[int])
    loops: list[bool] = field(default_factory=list[bool])

    def where(self, number: int, op: Op) -> str:
        """The op as the start of a message."""
        return f"kernel {self.name}: op {number} ({op.code})"


# ------------------------------------------------------------------------------------ loop kernels


def _verify_loops(kernel: LoopKernel) -> None:
    _check_frame(kernel)
    vector = kernel.schedule.vector
    lanes_inner = vector is not None and vector >= kernel.outer
    domain = _Domain(
        kernel.name, kernel.buffers, kernel.extents, kernel.outer, kernel.clip, lanes_inner
    )
    for k, stage in enumerate(kernel.stages):
        for op in stage.ops:
            _check_op(domain, k, stage, op)
            domain.ops.append(op)
            domain.stages.append(k)
            domain.loops.append(stage.loops)
    _check_hazards(domain)


def _check_frame(kernel: LoopKernel) -> None:
    name, rank = f"kernel {kernel.name}", len(kernel.extents)
    _require(all(n >= 1 for n in kernel.extents), f"{name}: extents {kernel.extents}: all >= 1")
    _require(0 <= kernel.outer <= rank, f"{name}: {kernel.outer} outer axes of {rank}")
    schedule = kernel.schedule
    _require(
        1 <= schedule.unroll <= MAX_UNROLL,
        f"{name}: unroll {schedule.unroll} is not in 1..{MAX_UNROLL}",
    )
    vector, outer = schedule.vector, kernel.outer
    _require(
        not schedule.band or (schedule.parallel and outer == 1),
        f"{name}: bands of {schedule.band} along {outer} outer axes",
    )
    _require(
        vector is None or max(outer - 1, 0) <= vector < rank,
        f"{name}: vector axis {vector} is neither the last outer axis nor an inner one",
    )
    clip = kernel.clip
    if clip is None:
        return
    _require(
        0 <= clip.outer < outer <= clip.inner < rank,
        f"{name}: the clip's axes {clip.outer}, {clip.inner} are not an outer and an inner one",
    )
    blocks, block = kernel.extents[clip.outer], kernel.extents[clip.inner]
    _require(
        (blocks - 1) * block < clip.total <= blocks * block,
        f"{name}: {clip.total} positions do not make {blocks} blocks of {block}",
    )
    _require(vector != clip.outer, f"{name}: lanes along the blocks of a clip differ in extent")


def _check_op(domain: _Domain, stage_number: int, stage: Stage, op: Op) -> None:
    number = len(domain.ops)
    where = domain.where(number, op)
    for a in op.args:
        _require(0 <= a < number, f"{where}: argument {a} is not an earlier op")
        seen = domain.stages[a] == stage_number or not domain.loops[a]
        late = domain.ops[a].code == "reduce" and domain.stages[a] == stage_number
        _require(
            (seen or domain.ops[a].code == "reduce") and not late,
            f"{where}: op {a} is not visible here",
        )
    types = [domain.ops[a].dtype for a in op.args]
    match op.code:
        case "load" | "load_at" | "store":
            _check_access_op(domain, where, stage.loops, op, types)
        case "const":
            _require(not op.args, f"{where}: a constant has no arguments")
        case "index":
            limit = len(domain.extents) if stage.loops else domain.outer
            _require(0 <= op.param < limit, f"{where}: axis {op.param} is not visited here")
            _require(op.dtype == _INT64, f"{where}: an index is int64")
        case "reduce" | "scan":
            _check_reduction(domain, where, stage.loops, op, types)
        case _:
            _require(bool(op.args), f"{where}: an elementwise op needs arguments")


def _check_reduction(domain: _Domain, where: str, loops: bool, op: Op, types: list[DType]) -> None:
    _require(loops, f"{where}: only a stage with loops reduces")
    kinds = _REDUCTIONS[op.code]
    _require(op.param in kinds, f"{where}: {op.param!r} is none of {kinds}")
    _require(types == [op.dtype], f"{where}: takes one {op.dtype}, has {types}")
    if op.param in ("any", "all"):
        _require(op.dtype.kind == "b", f"{where}: any and all are of booleans")
    if op.code == "scan":
        _require(len(domain.extents) > domain.outer, f"{where}: there is no inner axis")
        _require(not domain.lanes_inner, f"{where}: a scan runs along lanes")


def _check_access_op(domain: _Domain, where: str, loops: bool, op: Op, types: list[DType]) -> None:
    indexed = op.code == "load_at"
    _require(
        isinstance(op.param, Indexed if indexed else Access),
        f"{where}: its param is {type(op.param).__name__}",
    )
    access: Access = op.param.access if indexed else op.param
    _require(0 <= access.buffer < len(domain.buffers), f"{where}: no buffer {access.buffer}")
    buffer = domain.buffers[access.buffer]
    _require(buffer.dtype == op.dtype, f"{where}: {op.dtype} in a buffer of {buffer.dtype}")
    rank = len(domain.extents)
    _require(len(access.strides) == rank, f"{where}: {len(access.strides)} strides for {rank} axes")
    axes = range(rank if loops else domain.outer)
    idle = [a for a in range(rank) if a not in axes]
    if buffer.space is Space.SCRATCH:
        idle += range(domain.outer)
    _require(
        all(access.strides[a] == 0 for a in idle),
        f"{where}: strides {access.strides} along axes that are not visited",
    )
    low, high = span(access, domain.extents, domain.clip, axes)
    guarded = op.code == "load" and bool(op.args)
    if indexed:
        low, high = indexed_span(op.param, low, high)
        _require(
            len(op.args) == len(op.param.strides) >= 1 and all(t == _INT64 for t in types),
            f"{where}: {len(op.args)} indices of {types}",
        )
    _require(
        guarded or (low >= 0 and high < buffer.size),
        f"{where}: elements {low} to {high} of {buffer.size}",
    )
    if op.code == "load":
        _require(
            [t.kind for t in types] in ([], ["b"]), f"{where}: a load takes one guard, not {types}"
        )
    if op.code == "store":
        _require(buffer.written, f"{where}: buffer {access.buffer} is not said to be written")
        _require(types == [op.dtype], f"{where}: stores {types} as {op.dtype}")


# ------------------------------------------------------------------------------------ hazards


def _check_hazards(domain: _Domain) -> None:
    """Reads and writes of one buffer: nothing that one iteration writes is another's."""
    loads: dict[int, list[int]] = {}
    stores: dict[int, list[int]] = {}
    for number, op in enumerate(domain.ops):
        if op.code == "store":
            stores.setdefault(op.param.buffer, []).append(number)
        elif op.code in ("load", "load_at"):
            loads.setdefault(_access(op).buffer, []).append(number)
    for buffer, writers in stores.items():
        for writer in writers:
            _check_store_alone(domain, writer)
            for other in [*loads.get(buffer, ()), *(w for w in writers if w > writer)]:
                _check_pair(domain, writer, other)
    for buffer, readers in loads.items():
        if domain.buffers[buffer].space is Space.SCRATCH:
            first = min(stores.get(buffer, [len(domain.ops)]))
            for reader in readers:
                where = domain.where(reader, domain.ops[reader])
                _require(first < reader, f"{where}: reads scratch that nothing wrote")


def _access(op: Op) -> Access:
    return op.param.access if isinstance(op.param, Indexed) else op.param


def _visited(domain: _Domain, number: int) -> range:
    """The axes that an op's access runs over, for one buffer's private iterations."""
    return range(len(domain.extents) if domain.loops[number] else domain.outer)


def _check_store_alone(domain: _Domain, number: int) -> None:
    op = domain.ops[number]
    scratch = domain.buffers[_access(op).buffer].space is Space.SCRATCH
    axes = [a for a in _visited(domain, number) if not (scratch and a < domain.outer)]
    strides = [op.param.strides[a] for a in axes]
    extents = [domain.extents[a] for a in axes]
    _require(
        injective(strides, extents),
        f"{domain.where(number, op)}: strides {op.param.strides} may write an element twice",
    )


def _check_pair(domain: _Domain, writer: int, other: int) -> None:
    """Two ops on one buffer, of which the first writes: the same element, or told apart."""
    store, op = domain.ops[writer], domain.ops[other]
    where = f"{domain.where(other, op)} and the store {writer}"
    same = op.code != "load_at" and op.param == store.param
    together = domain.stages[writer] == domain.stages[other]
    if same or _disjoint(domain, writer, other):  # no other iteration stores at that element
        return
    _require(not together, f"{where}: other elements of one buffer in one stage")
    a, b = _access(store), _access(op)
    if domain.buffers[a.buffer].space is Space.SCRATCH:
        return
    rows = slice(0, domain.outer)
    spans = [_inner_span(domain, n) for n in (writer, other)]
    reach = max(high for _, high in spans) - min(low for low, _ in spans)
    _require(
        a.strides[rows] == b.strides[rows]
        and injective(a.strides[rows], domain.extents[rows], reach),
        f"{where}: one outer iteration may touch what another writes",
    )


def _inner_span(domain: _Domain, number: int) -> tuple[int, int]:
    """The elements of one outer iteration."""
    op, axes = domain.ops[number], _visited(domain, number)[domain.outer :]
    low, high = span(_access(op), domain.extents, None, axes)
    return indexed_span(op.param, low, high) if op.code == "load_at" else (low, high)


def _disjoint(domain: _Domain, first: int, second: int) -> bool:
    """Whether two accesses touch different ranges."""
    ranges: list[tuple[int, int]] = []
    for number in (first, second):
        op = domain.ops[number]
        axes = _visited(domain, number)
        low, high = span(_access(op), domain.extents, domain.clip, axes)
        if op.code == "load_at":
            low, high = indexed_span(op.param, low, high)
        ranges.append((low, high))
    return ranges[0][1] < ranges[1][0] or ranges[1][1] < ranges[0][0]


# ------------------------------------------------------------------------------------ the others


def _verify_gemm(kernel: Gemm) -> None:
    name = f"kernel {kernel.name}"
    extents = (kernel.batch, kernel.rows, kernel.columns, kernel.depth)
    _require(all(n >= 1 for n in extents), f"{name}: extents {extents}: all >= 1")
    _require(
        not kernel.bands or (kernel.parallel and kernel.rows % kernel.bands == 0),
        f"{name}: {kernel.bands} bands of {kernel.rows} rows",
    )
    for which, access, idle in (("x", kernel.x, 2), ("y", kernel.y, 1)):
        buffer = kernel.buffers[access.buffer]
        _require(len(access.strides) == 4, f"{name}: {which} has no stride for each of 4 axes")
        _require(access.strides[idle] == 0, f"{name}: {which} has a stride along axis {idle}")
        _require(buffer.dtype == kernel.dtype, f"{name}: {which} is {buffer.dtype}")
        _require(not buffer.written, f"{name}: {which} is written")
        low, high = span(access, extents, None, range(4))
        _require(
            low >= 0 and high < buffer.size, f"{name}: {which}: {low} to {high} of {buffer.size}"
        )
    _require(all(b.space is Space.MEMORY for b in kernel.buffers), f"{name}: scratch in a product")
    _require(any(op.code == "store" for op in kernel.epilogue), f"{name}: stores nothing")
    _check_epilogue(kernel, extents[:3], kernel.dtype)


def _check_epilogue(kernel: Gemm | ScatterAdd, extents: tuple[int, ...], dtype: DType) -> None:
    """The ops of an epilogue over (batch, row, column), with `acc` of `dtype`."""
    domain = _Domain(kernel.name, kernel.buffers, extents, 3, None, False)
    stage = Stage(False, kernel.epilogue)
    for op in kernel.epilogue:
        if op.code == "acc":
            _require(
                not op.args and op.dtype == dtype,
                f"{domain.where(len(domain.ops), op)}: the product is {dtype}",
            )
        else:
            _check_op(domain, 0, stage, op)
        domain.ops.append(op)
        domain.stages.append(0)
        domain.loops.append(False)
    _check_hazards(domain)


def _verify_scatter(kernel: ScatterAdd) -> None:
    name = f"kernel {kernel.name}"
    _require(all(n >= 1 for n in kernel.counts), f"{name}: counts {kernel.counts}: all >= 1")
    updates = kernel.buffers[kernel.updates.buffer]
    extents = (*kernel.counts, kernel.width)
    _require(len(kernel.updates.strides) == len(extents), f"{name}: strides for {extents}")
    low, high = span(kernel.updates, extents, None, range(len(extents)))
    _require(low >= 0 and high < updates.size, f"{name}: updates {low} to {high} of {updates.size}")
    _require(not updates.written, f"{name}: updates are written")
    out = kernel.buffers[kernel.out]
    _require(out.written, f"{name}: out is not said to be written")
    _require(out.size >= kernel.rows * kernel.width, f"{name}: out has {out.size} elements")
    _require(
        len(kernel.indices) == len(kernel.extents) >= 1,
        f"{name}: {len(kernel.indices)} indices for {len(kernel.extents)} extents",
    )
    for k in kernel.indices:
        buffer = kernel.buffers[k]
        _require(
            buffer.dtype == _INT64 and buffer.size >= kernel.count,
            f"{name}: indices are {kernel.count} int64, not {buffer.size} {buffer.dtype}",
        )
    if not kernel.epilogue:
        _require(out.dtype == updates.dtype, f"{name}: adds {updates.dtype} to {out.dtype}")
        return
    _check_epilogue(kernel, (1, kernel.rows, kernel.width), updates.dtype)
    _require(change_of(kernel) is not None, f"{name}: its epilogue changes rows without a sum")
