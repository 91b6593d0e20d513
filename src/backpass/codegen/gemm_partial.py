"""Partial sums of a product whose depth is cut: written by tiles, added in order of the depth.

They lie in shared scratch as [part of the depth, batch, row, column], rows as wide as all column
panels. So any thread can do any part of the depth, and the order of the additions depends on none.
"""

from __future__ import annotations

from collections.abc import Callable

from backpass.codegen.access import load_vector
from backpass.codegen.counted import Index, counted, counted_or_empty, digits, plus, times
from backpass.codegen.gemm_site import Site, share
from backpass.codegen.gemm_tile import at, columns_of
from backpass.codegen.text import Reg

Finish = Callable[[list[Reg], Index, Index, Index, int], None]


def partial_sum(s: Site, depth: Index, batch: Index, row: Index, column: Index) -> str:
    """Where a partial sum lies; `depth` counts parts."""
    row_bytes = s.plan.partial_width * s.size
    batch_bytes = s.gemm.rows * row_bytes
    steps = ((depth, s.gemm.batch * batch_bytes), (batch, batch_bytes), (row, row_bytes))
    return at(s.f, "%scratch", (s.layout.packed_x, 1), *steps, (column, s.size))


def load_row(s: Site, base: str, vectors: int) -> list[Reg]:
    """Vectors side by side."""
    f, lanes = s.f, s.plan.lanes
    places = [at(f, base, (v * lanes, s.size)) for v in range(vectors)]
    return [load_vector(f, s.gemm.dtype, place, 1, lanes, lanes) for place in places]


def add_partials(s: Site, finish: Finish) -> None:
    """Add up this thread's share of the rows; `finish(sums, batch, row, column, width)` is next."""
    f, plan, gemm = s.f, s.plan, s.gemm
    first, last = share(s, gemm.batch * gemm.rows)
    with counted_or_empty(f, first, last) as index:
        batch, row = digits(f, index, (gemm.batch, gemm.rows))
        for run in plan.columns:
            with counted(f, 0, run.count) as panel:
                column = plus(f, run.start, times(f, panel, run.size))
                vectors = len(columns_of(run.size, plan.lanes))
                finish(_sums(s, batch, row, column, vectors), batch, row, column, run.size)


def _sums(s: Site, batch: Index, row: Index, column: Index, vectors: int) -> list[Reg]:
    f, gemm = s.f, s.gemm
    sums = load_row(s, partial_sum(s, 0, batch, row, column), vectors)
    before, head, done = f.block, f.label("partial"), f.label("added")
    names = [(f.fresh("s"), f.fresh("s")) for _ in sums]
    index, following = f.fresh("i"), f.fresh("i")
    f.emit(f"br label %{head}")
    f.begin(head)
    f.emit(f"{index} = phi i64 [ 1, %{before} ], [ {following}, %{head} ]")
    for (now, after), start in zip(names, sums, strict=True):
        f.emit(f"{now} = phi {start.type} [ {start.name}, %{before} ], [ {after}, %{head} ]")
    more = load_row(s, partial_sum(s, index, batch, row, column), vectors)
    for (now, after), part in zip(names, more, strict=True):
        f.emit(f"{after} = fadd {part.type} {now}, {part.name}")
    f.emit(f"{following} = add nuw nsw i64 {index}, 1")
    again = f.let_raw(f"icmp slt i64 {following}, {s.plan.depth_chunks}", "c")
    f.emit(f"br i1 {again}, label %{head}, label %{done}")
    f.begin(done)
    return [Reg(after, gemm.dtype, s.plan.lanes) for _, after in names]
