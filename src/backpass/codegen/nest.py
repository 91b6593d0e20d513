"""What is known of a LoopKernel before any text is written: lanes, and where each op is emitted.

Every value varies along some axes and not along others. A value that does not vary along the vector
axis stays a scalar. An op of a looping stage is emitted in the shallowest loop in which all that it
reads is known: its depth is 0 before the loops and d inside the d-th. Stores, reductions and scans
stay innermost. The loops of a stage are the inner axes in order, a vectorised inner axis last.
"""

from __future__ import annotations

from dataclasses import dataclass

from backpass.codegen.tile import tile_map, turned_loads
from backpass.loops import LANES, Access, Indexed, LoopKernel, Op, Space, Stage

Key = tuple[int, tuple[int, ...], int | None]
_INNERMOST = ("store", "reduce", "scan")


@dataclass(frozen=True, slots=True)
class Task:
    """One op (by number) at its place. `offset`: the index part of a `load_at`, not its load."""

    number: int
    op: Op
    vector: bool
    depth: int
    offset: bool = False


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The loops of a stage, and its tasks by depth; `reductions` are its reduce and scan ops.

    The loads `turned` are of its innermost loop, by squares: see `tile.turned_loads`.
    """

    order: tuple[int, ...]
    tasks: tuple[tuple[Task, ...], ...]
    keys: tuple[Key, ...]
    splats: frozenset[int]  # scalars that a vector task reads
    reductions: tuple[int, ...]
    turned: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """A kernel with what follows from it. `width` lanes, `unroll` vectors at once.

    The vectors of a tile are those of neighbouring positions of the tile axis, else they follow
    each other along the vector axis.
    """

    kernel: LoopKernel
    ops: tuple[Op, ...]
    vector: int | None
    width: int
    unroll: int
    axes: tuple[frozenset[int], ...]
    stages: tuple[StagePlan, ...]
    tile: int | None = None

    @property
    def rows(self) -> bool:
        """Whether each lane is another outer iteration."""
        return self.vector is not None and self.vector < self.kernel.outer

    @property
    def block(self) -> int:
        """Positions along the vector axis that are worked on at once."""
        return self.width if self.tile is not None else self.width * self.unroll

    @property
    def blocked(self) -> tuple[int, int] | None:
        """The outer axis of which an iteration takes many positions, and how many."""
        if self.tile is not None:
            return self.tile, self.unroll
        return (self.vector, self.block) if self.rows and self.vector is not None else None


@dataclass(frozen=True, slots=True)
class _LaneAxes:
    """The axes along which the registers of a vector value differ."""

    vector: int | None
    tile: int | None
    rows: bool

    def vary(self, axes: frozenset[int]) -> bool:
        """Whether a value that varies along `axes` is a vector."""
        return self.vector in axes or (self.tile is not None and self.tile in axes)


def plan_loops(kernel: LoopKernel) -> Plan:
    """The plan of a verified kernel."""
    tiled = tile_map(kernel)
    kernel = kernel if tiled is None else tiled
    tile = None if tiled is None else kernel.outer - 1
    vector = kernel.schedule.vector
    if vector is not None and kernel.extents[vector] == 1:
        vector = None
    ops = kernel.ops
    axes = _varying(kernel, ops, vector)
    unroll = 1 if vector is None else kernel.schedule.unroll
    width = 1 if vector is None else LANES
    lanes = _LaneAxes(vector, tile, vector is not None and vector < kernel.outer)
    plans: list[StagePlan] = []
    first = 0
    for stage in kernel.stages:
        plans.append(_plan_stage(kernel, stage, first, axes, lanes))
        first += len(stage.ops)
    return Plan(kernel, ops, vector, width, unroll, axes, tuple(plans), tile)


def access_of(op: Op) -> Access:
    """The access of a load, load_at or store."""
    return op.param.access if isinstance(op.param, Indexed) else op.param


def pointer_key(number: int, op: Op) -> Key:
    """Which running pointer an access uses: accesses that differ by a constant share one."""
    access = access_of(op)
    return access.buffer, access.strides, number if op.code == "load_at" else None


def _varying(
    kernel: LoopKernel, ops: tuple[Op, ...], vector: int | None
) -> tuple[frozenset[int], ...]:
    """For each op, the axes along which its value varies."""
    inner = frozenset(range(kernel.outer, len(kernel.extents)))
    last = frozenset({len(kernel.extents) - 1})
    result: list[frozenset[int]] = []
    for op in ops:
        axes = frozenset[int]().union(*[result[a] for a in op.args])
        match op.code:
            case "load" | "load_at" | "store":
                axes |= _access_axes(kernel, access_of(op), vector)
            case "index":
                axes = frozenset({int(op.param)})
            case "reduce":
                axes -= inner
            case "scan":
                axes |= last
            case _:
                pass
        result.append(axes)
    return tuple(result)


def _access_axes(kernel: LoopKernel, access: Access, vector: int | None) -> frozenset[int]:
    pairs = zip(access.strides, kernel.extents, strict=True)
    axes = frozenset(a for a, (stride, extent) in enumerate(pairs) if stride and extent > 1)
    if kernel.buffers[access.buffer].space is Space.SCRATCH and vector is not None:
        return axes | {vector} if vector < kernel.outer else axes
    return axes


def _plan_stage(
    kernel: LoopKernel,
    stage: Stage,
    first: int,
    axes: tuple[frozenset[int], ...],
    lanes: _LaneAxes,
) -> StagePlan:
    order = _loop_order(kernel, stage, lanes.vector)
    tasks: list[list[Task]] = [[] for _ in range(len(order) + 1)]
    splats: set[int] = set()
    keys: dict[Key, None] = {}
    reductions: list[int] = []
    for number, op in enumerate(stage.ops, first):
        if op.code in ("reduce", "scan"):
            reductions.append(number)
        if isinstance(op.param, Access | Indexed):
            keys[pointer_key(number, op)] = None
        for task in _tasks_of(number, op, axes, order, lanes):
            tasks[task.depth].append(task)
            if task.vector and (task.offset or op.code != "load_at"):
                splats |= {a for a in op.args if not lanes.vary(axes[a])}
    grouped = tuple(map(tuple, tasks))
    turned = frozenset[int]()
    if lanes.rows and lanes.vector is not None and lanes.tile is None:
        turned = frozenset([first + k for k in turned_loads(kernel, stage, lanes.vector)])
    return StagePlan(order, grouped, tuple(keys), frozenset(splats), tuple(reductions), turned)


def _loop_order(kernel: LoopKernel, stage: Stage, vector: int | None) -> tuple[int, ...]:
    if not stage.loops:
        return ()
    scans = any(op.code == "scan" for op in stage.ops)
    last = len(kernel.extents) - 1
    order = [
        a
        for a in range(kernel.outer, len(kernel.extents))
        if a != vector and (kernel.extents[a] > 1 or (scans and a == last))
    ]
    if vector is not None and vector >= kernel.outer:
        order.append(vector)
    return tuple(order)


def _tasks_of(
    number: int,
    op: Op,
    axes: tuple[frozenset[int], ...],
    order: tuple[int, ...],
    lanes: _LaneAxes,
) -> list[Task]:
    def depth(varying: frozenset[int]) -> int:
        if lanes.tile is not None and lanes.vary(varying):
            return len(order)
        return max((k + 1 for k, a in enumerate(order) if a in varying), default=0)

    own = len(order) if op.code in _INNERMOST else depth(axes[number])
    if lanes.rows:
        vector = lanes.vary(axes[number]) or op.code == "store"
    else:
        vector = lanes.vector in order and own == len(order)
    if op.code != "load_at":
        return [Task(number, op, vector, own)]
    varying = frozenset[int]().union(*[axes[a] for a in op.args])
    return [
        Task(number, op, vector and lanes.vary(varying), depth(varying), offset=True),
        Task(number, op, vector, own),
    ]
