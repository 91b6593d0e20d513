"""Gemm to LLVM text: one function that computes a product and its epilogue, for a team of threads.

`gemm_choice.py` decides, this file writes the loops: x is packed if the plan says so, then each
thread goes through its units, packing a column panel where it begins one, and through the tiles of
each. A tile lies in registers (`gemm_tile.py`) until its epilogue has run. Where the depth is cut,
tiles go to scratch as partial sums, which are added in order once all threads are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from backpass.codegen.access import store_vector
from backpass.codegen.counted import (
    Index,
    counted,
    counted_or_empty,
    digits,
    greatest,
    least,
    over,
    plus,
    times,
)
from backpass.codegen.gemm_choice import plan_gemm
from backpass.codegen.gemm_epilogue import Epilogue
from backpass.codegen.gemm_operands import pack_all_y, pack_x, pack_y, x_of_tile, y_of_unit
from backpass.codegen.gemm_partial import add_partials, load_row, partial_sum
from backpass.codegen.gemm_plan import Run
from backpass.codegen.gemm_site import Layout, Site, barrier, by_run, layout_of, own_scratch, share
from backpass.codegen.gemm_tile import Shape, Tile, at, columns_of, multiply
from backpass.codegen.machine import Machine
from backpass.codegen.text import Function, Module, Reg
from backpass.codegen.workspace import Workspace
from backpass.loops.kernel import Gemm


@dataclass(frozen=True, slots=True)
class _Unit:
    """A piece of work: a part of the depth, a batch, a column panel and a chunk of row panels.

    `first` is the first unit of this thread.
    """

    index: Index
    first: Index
    depth: Index
    batch: Index
    column: Index
    chunk: Index


def emit_gemm(module: Module, gemm: Gemm, name: str, machine: Machine) -> Workspace:
    """Write `gemm` as the function `name`; gives the scratch that it needs.

    Raises:
        TypeError: its dtype is neither float32 nor float64; lowering must not send such a product.
    """
    if gemm.dtype.name not in ("float32", "float64"):
        raise TypeError(f"emit_gemm: {gemm.name} is {gemm.dtype}: it takes float32 and float64")
    buffers = "".join(f", ptr %b{i}" for i in range(len(gemm.buffers)))
    head = (
        f"define void @{name}(ptr %team, i64 %tid, i64 %n, ptr %scratch, ptr %status{buffers}) #0"
    )
    f = Function(module, head)
    layout = Layout()
    if gemm.batch and gemm.rows and gemm.columns:
        plan = plan_gemm(gemm, machine)
        layout = layout_of(plan)
        own = own_scratch(f, plan, layout)
        epilogue = Epilogue(f, plan.product, plan.lanes)
        _body(Site(f, plan, layout, has_fma(machine), own, epilogue))
    f.emit("ret void")
    f.close()
    return layout.workspace


def has_fma(machine: Machine) -> bool:
    """Whether the machine multiplies and adds in one instruction."""
    return not {"+fma", "+neon"}.isdisjoint(machine.features.split(","))


def _body(s: Site) -> None:
    f, plan = s.f, s.plan
    s.epilogue.uniform()
    if plan.pack_x:
        pack_x(s)
        barrier(s)
    if plan.pack_y and plan.rows_first:
        pack_all_y(s)
    first, last = share(s, plan.units)
    with counted_or_empty(f, first, last) as index:
        if plan.rows_first:
            chunk, column = digits(f, index, (plan.chunks, plan.column_panels))
            depth = batch = 0
        else:
            axes = (plan.depth_chunks, s.gemm.batch, plan.column_panels, plan.chunks)
            depth, batch, column, chunk = digits(f, index, axes)
        unit = _Unit(index, first, depth, batch, column, chunk)
        by_run(f, plan.columns, column, lambda run, start: _column_panel(s, unit, run, start))
    if plan.depth_chunks > 1:
        barrier(s)
        add_partials(s, partial(_finish_row, s))


def _column_panel(s: Site, unit: _Unit, run: Run, column: Index) -> None:
    """All tiles of a unit."""
    f, plan = s.f, s.plan
    start = times(f, unit.depth, plan.depth_chunk)
    depth = least(f, plan.depth_chunk, plus(f, s.gemm.depth, times(f, start, -1)))
    if plan.pack_y and not plan.rows_first:
        pack_y(s, run, unit.batch, column, (start, depth), _another_panel(s, unit))
    y = y_of_unit(s, unit.batch, (unit.column, column), start)
    low = over(f, times(f, unit.chunk, plan.row_panels), plan.chunks)
    high = over(f, times(f, plus(f, unit.chunk, 1), plan.row_panels), plan.chunks)
    before = 0
    for rows in plan.rows:
        first, last = greatest(f, low, before), least(f, high, before + rows.count)
        with counted_or_empty(f, first, last) as panel:
            row = plus(f, rows.start, times(f, plus(f, panel, -before), rows.size))
            x = x_of_tile(s, unit.batch, panel, row, start)
            wanted = columns_of(run.size, plan.lanes)
            shape = Shape(s.gemm.dtype, rows.size, plan.lanes, wanted, s.fused)
            tile = multiply(f, shape, x, y, depth, plan.unroll, plan.pack_y)
            _finish(s, tile, unit, row, column, run.size)
        before += rows.count


def _another_panel(s: Site, unit: _Unit) -> str:
    """An i1: the thread's unit before had another column panel. Empty: it always had."""
    if s.plan.chunks == 1:
        return ""
    new = s.f.let_raw(f"icmp eq i64 {unit.chunk}, 0", "c")
    begun = s.f.let_raw(f"icmp eq i64 {unit.index}, {unit.first}", "c")
    return s.f.let_raw(f"or i1 {new}, {begun}", "c")


def _finish(s: Site, tile: Tile, unit: _Unit, row: Index, column: Index, width: int) -> None:
    """Run the epilogue on the tile, or leave it as a partial sum."""
    f, plan = s.f, s.plan
    if plan.depth_chunks > 1:
        place = partial_sum(s, unit.depth, unit.batch, row, column)
        _store_tile(s, tile, place, plan.partial_width)
        return
    if plan.in_registers:
        for r, vectors in enumerate(tile):
            _finish_row(s, vectors, unit.batch, plus(f, row, r), column, width)
        return
    base = at(f, s.own, (s.layout.packed_y, 1))
    _store_tile(s, tile, base, plan.panel_width)
    with counted(f, 0, len(tile)) as r:
        vectors = load_row(s, at(f, base, (r, plan.panel_width * s.size)), len(tile[0]))
        _finish_row(s, vectors, unit.batch, plus(f, row, r), column, width)


def _store_tile(s: Site, tile: Tile, base: str, width: int) -> None:
    for r, vectors in enumerate(tile):
        for v, vector in enumerate(vectors):
            place = at(s.f, base, (r * width + v * s.plan.lanes, s.size))
            store_vector(s.f, vector, place, 1, s.plan.lanes)


def _finish_row(
    s: Site, vectors: list[Reg], batch: Index, row: Index, column: Index, width: int
) -> None:
    """Run the epilogue on a row of a tile."""
    s.epilogue.row(batch, row)
    wanted = columns_of(width, s.plan.lanes)
    for v, vector in enumerate(vectors):
        s.epilogue.vector(vector, plus(s.f, column, v * s.plan.lanes), wanted[v])
