"""What all parts of a product's emission need: the function, the plan, the layout of scratch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backpass.codegen.counted import Index, over, plus, times, when
from backpass.codegen.gemm_epilogue import Epilogue
from backpass.codegen.gemm_plan import Plan, Run
from backpass.codegen.gemm_tile import at
from backpass.codegen.text import Function
from backpass.codegen.workspace import Workspace, aligned
from backpass.loops.kernel import Gemm


@dataclass(frozen=True, slots=True)
class Layout:
    """Bytes of scratch: packed x and partial sums, shared; column panels and a tile, per thread."""

    packed_x: int = 0
    partial: int = 0
    packed_y: int = 0
    tile: int = 0

    @property
    def workspace(self) -> Workspace:
        """What the caller must give."""
        return Workspace(self.packed_x + self.partial, self.packed_y + self.tile)


@dataclass(frozen=True, slots=True)
class Site:
    """Where text is being written; `own` points to this thread's part of the scratch."""

    f: Function
    plan: Plan
    layout: Layout
    fused: bool
    own: str
    epilogue: Epilogue

    @property
    def gemm(self) -> Gemm:
        """The product, transposed if the plan says so."""
        return self.plan.product

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return self.plan.product.dtype.itemsize


def layout_of(plan: Plan) -> Layout:
    """The scratch that a plan needs."""
    gemm, size = plan.product, plan.product.dtype.itemsize
    packed_x = partial = packed_y = tile = 0
    if plan.pack_x:
        packed_x = plan.packed_batches * plan.packed_x_elements * size
    if plan.depth_chunks > 1:
        partial = plan.depth_chunks * gemm.batch * gemm.rows * plan.partial_width * size
    elif not plan.in_registers:
        tile = plan.rows[0].size * plan.panel_width * size
    if plan.pack_y:
        panels = plan.column_panels if plan.rows_first else 1
        packed_y = panels * plan.panel_width * plan.depth_chunk * size
    return Layout(aligned(packed_x), aligned(partial), aligned(packed_y), aligned(tile))


def own_scratch(f: Function, plan: Plan, layout: Layout) -> str:
    """A pointer to this thread's part."""
    work = layout.workspace
    tid: Index = "%tid" if plan.product.parallel else 0
    return at(f, "%scratch", (work.shared, 1), (tid, work.per_thread))


def share(s: Site, total: int) -> tuple[Index, Index]:
    """This thread's part of range(total)."""
    if not s.gemm.parallel:
        return 0, total
    f = s.f
    after = plus(f, "%tid", 1)
    return over(f, times(f, "%tid", total), "%n"), over(f, times(f, after, total), "%n")


def barrier(s: Site) -> None:
    """Wait for all threads."""
    if s.gemm.parallel:
        s.f.emit("call void @bp_barrier(ptr %team, i64 %n)")


def by_run(
    f: Function, runs: tuple[Run, ...], panel: Index, emit: Callable[[Run, Index], None]
) -> None:
    """Write what is done with a panel once for each run, told apart as it runs.

    `emit` gets the run and the panel's first element.
    """
    before = 0
    for number, run in enumerate(runs):
        start = plus(f, run.start, times(f, plus(f, panel, -before), run.size))
        if len(runs) == 1:
            emit(run, start)
            return
        order = "slt" if number == 0 else "sge"
        with when(f, f.let_raw(f"icmp {order} i64 {panel}, {runs[0].count}", "c")):
            emit(run, start)
        before += run.count
