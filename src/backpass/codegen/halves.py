"""Sums over the rows of a batch in two halves, the first of which runs in bands.

The gradient of a bias sums a column over all rows: no band can do that alone, and a step of its own
reads from afar what the bands had at hand. Cut in two, each band adds up its own rows while they
are in the nearest cache, and a small step adds up the bands, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backpass.codegen.bands import Rows, band_rows, owners, rows_of
from backpass.codegen.lower.elements import Key, Named
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.schedule import chosen
from backpass.loops import Access, Buffer, LoopKernel, Op, Space, Stage

_FOLDS = frozenset({"sum", "max", "min", "any", "all"})


def in_halves(step: Bound, made: Mapping[Key, Rows]) -> tuple[Bound, Bound] | None:
    """The sum of each band, and the sum of those; None if the step is no such sum.

    Args:
        step: a kernel over columns, which folds rows.
        made: whose rows bands make, so that they are at hand there.
    """
    kernel = step.kernel
    if not isinstance(kernel, LoopKernel) or not _is_sum_of_rows(kernel):
        return None
    height = band_rows(kernel.extents[1])
    if not height:
        return None
    first = _of_bands(step, kernel, height)
    if first is None or not _reads_what_bands_make(first, made):
        return None
    return first, _of_all(step, kernel, first)


def _is_sum_of_rows(kernel: LoopKernel) -> bool:
    plain = kernel.outer == 1 and len(kernel.extents) == 2 and kernel.clip is None
    folding = [s for s in kernel.stages if s.loops]
    if not plain or len(folding) != 1 or any([b.space is not Space.MEMORY for b in kernel.buffers]):
        return False
    ops = kernel.ops
    folds = [op.param for op in ops if op.code == "reduce"]
    simple = all([op.code not in ("load_at", "scan", "wrap", "index") for op in ops])
    stores = any([op.code == "store" for op in folding[0].ops])
    return bool(folds) and simple and not stores and _FOLDS.issuperset(folds)


def _reads_what_bands_make(first: Bound, made: Mapping[Key, Rows]) -> bool:
    return any([made.get(key) == own for key, own in owners(first).items() if own is not None])


@dataclass(slots=True)
class _Half:
    """Ops of a kernel under construction; `numbers` are those of the whole kernel's ops."""

    whole: LoopKernel
    keys: Sequence[Key]
    buffers: list[Buffer] = field(default_factory=list[Buffer])
    kept: list[Key] = field(default_factory=list[Key])
    numbers: dict[int, int] = field(default_factory=dict[int, int])
    count: int = 0

    def buffer(self, key: Key, buffer: Buffer) -> int:
        """The number of a buffer, new or known."""
        if key not in self.kept:
            self.kept.append(key)
            self.buffers.append(buffer)
        return self.kept.index(key)

    def add(self, number: int | None, op: Op) -> Op:
        """An op whose arguments are numbered as in this half."""
        if number is not None:
            self.numbers[number] = self.count
        self.count += 1
        return op

    def moved(self, number: int, op: Op, strides: tuple[int, ...] | None) -> Op:
        """An op of the whole kernel, with other strides if it reads or writes."""
        op = replace(op, args=tuple([self.numbers[a] for a in op.args]))
        if isinstance(op.param, Access):
            assert strides is not None
            own = self.buffer(self.keys[op.param.buffer], self.whole.buffers[op.param.buffer])
            op = replace(op, param=Access(own, op.param.offset, strides))
        return self.add(number, op)


def _of_bands(step: Bound, kernel: LoopKernel, height: int) -> Bound | None:
    """Band b's sums: over (band, column) outside and the rows of a band inside."""
    columns, rows = kernel.extents
    bands = rows // height
    half = _Half(kernel, step.keys)
    needed = _needed(kernel, [n for n, op in _numbered(kernel) if op.code == "reduce"])
    stages: list[Stage] = []
    for stage, ops in _stages(kernel):
        kept = [half.moved(n, op, _in_bands(op, height)) for n, op in ops if n in needed]
        stages.append(Stage(stage.loops, tuple(kept)))
    stores: list[Op] = []
    for n, op in _numbered(kernel):
        if op.code == "reduce":
            place = half.buffer(_partial(step, n), Buffer(op.dtype, bands * columns, written=True))
            access = Access(place, 0, (columns, 1, 0))
            stores.append(half.add(None, Op("store", (half.numbers[n],), op.dtype, access)))
    stages = [*[s for s in stages if s.ops], Stage(False, tuple(stores))]
    made = LoopKernel(
        f"{kernel.name}b", tuple(half.buffers), (bands, columns, height), 2, _joined(stages)
    )
    made = chosen(made, parallel=False)
    if made.schedule.vector == 2:  # lanes along the rows: then a band has few columns
        return None
    made = replace(made, schedule=replace(made.schedule, parallel=True))
    found = replace(step, kernel=made, keys=tuple(half.kept), bands=bands)
    mine = [rows_of(found, op.param) for s in made.stages for op in s.ops if op.code == "load"]
    return found if any([own is not None for own in mine]) else None


def _in_bands(op: Op, height: int) -> tuple[int, ...] | None:
    if not isinstance(op.param, Access):
        return None
    column, row = op.param.strides
    return row * height, column, row


def _of_all(step: Bound, kernel: LoopKernel, first: Bound) -> Bound:
    """The sums of the bands' sums, and what is done with them."""
    assert isinstance(first.kernel, LoopKernel)
    columns, bands = kernel.extents[0], first.kernel.extents[0]
    half = _Half(kernel, step.keys)
    needed = _needed(kernel, [n for n, op in _numbered(kernel) if op.code == "store"])
    stages: list[Stage] = []
    for stage, ops in _stages(kernel):
        kept: list[Op] = []
        for n, op in ops:
            if op.code == "reduce":
                buffer = Buffer(op.dtype, bands * columns)
                access = Access(half.buffer(_partial(step, n), buffer), 0, (1, columns))
                kept.append(half.add(None, Op("load", (), op.dtype, access)))
                kept.append(half.add(n, replace(op, args=(half.count - 1,))))
            elif not stage.loops and n in needed:
                strides = op.param.strides if isinstance(op.param, Access) else None
                kept.append(half.moved(n, op, strides))
        stages.append(Stage(stage.loops, tuple(kept)))
    stages = [s for s in stages if s.ops]
    made = LoopKernel(kernel.name, tuple(half.buffers), (columns, bands), 1, _joined(stages))
    work = columns * bands + step.work // kernel.extents[1]
    return replace(step, kernel=chosen(made, parallel=False), keys=tuple(half.kept), work=work)


def _partial(step: Bound, number: int) -> Named:
    return Named("bands", (step.kernel.name, step.keys, number))


def _numbered(kernel: LoopKernel) -> list[tuple[int, Op]]:
    return list(enumerate(kernel.ops))


def _stages(kernel: LoopKernel) -> Iterable[tuple[Stage, list[tuple[int, Op]]]]:
    ops = _numbered(kernel)
    for stage in kernel.stages:
        yield stage, ops[: len(stage.ops)]
        ops = ops[len(stage.ops) :]


def _needed(kernel: LoopKernel, roots: Sequence[int]) -> set[int]:
    """The ops that some need; what a fold needs is no part of it but for the fold's own half."""
    ops = kernel.ops
    found, pending = set[int](), list(roots)
    while pending:
        n = pending.pop()
        if n not in found:
            found.add(n)
            if ops[n].code != "reduce" or n in roots:
                pending.extend(ops[n].args)
    return found


def _joined(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Neighbouring stages without loops as one."""
    found: list[Stage] = []
    for stage in stages:
        if found and not stage.loops and not found[-1].loops:
            found[-1] = Stage(False, (*found[-1].ops, *stage.ops))
        else:
            found.append(stage)
    return tuple(found)
