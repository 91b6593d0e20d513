"""The operands of a product as its tiles read them: in place, or packed into scratch.

x is packed before all else, by all threads for all threads: its rows are copied to where they do
not fall on one cache set, or its row panels packed. A column panel of y is packed by the thread
that comes to it; where rows go first, each thread packs all of them once.
"""

from __future__ import annotations

from backpass.codegen.access import load_vector, store_vector
from backpass.codegen.counted import (
    Index,
    counted,
    counted_or_empty,
    digits,
    least,
    plus,
    times,
    when,
)
from backpass.codegen.gemm_pack import Panel, pack
from backpass.codegen.gemm_plan import Run
from backpass.codegen.gemm_site import Site, by_run, share
from backpass.codegen.gemm_tile import Stream, at
from backpass.loops.kernel import Access

_PACK_DEPTH = 32


def x_in_place(s: Site, batch: Index, row: Index, depth: Index) -> Stream:
    """x from an element on."""
    b, r, _, d = s.gemm.x.strides
    return _stream(s, s.gemm.x, (batch, b), (row, r), (depth, d), item=r)


def y_in_place(s: Site, batch: Index, column: Index, depth: Index) -> Stream:
    """y from an element on."""
    b, _, c, d = s.gemm.y.strides
    return _stream(s, s.gemm.y, (batch, b), (column, c), (depth, d), item=c)


def _stream(s: Site, access: Access, *steps: tuple[Index, int], item: int) -> Stream:
    size = s.size
    places = [(index, stride * size) for index, stride in steps]
    pointer = at(s.f, f"%b{access.buffer}", (access.offset, size), *places)
    return Stream(pointer, item * size, access.strides[3] * size)


def pack_x(s: Site) -> None:
    """This thread's share of the packing of x."""
    if s.plan.copies_rows:
        _copy_rows(s)
    else:
        _pack_row_panels(s)


def _copy_rows(s: Site) -> None:
    f, plan, gemm = s.f, s.plan, s.gemm
    first, last = share(s, plan.packed_batches * gemm.rows)
    whole = gemm.depth // plan.lanes * plan.lanes
    with counted_or_empty(f, first, last) as index:
        batch, row = digits(f, index, (plan.packed_batches, gemm.rows))
        source = x_in_place(s, batch, row, 0).pointer
        target = at(f, "%scratch", (index, plan.padded_depth * s.size))
        if whole:
            with counted(f, 0, whole, plan.lanes) as k:
                _copy_vector(s, source, target, k, plan.lanes)
        if whole < gemm.depth:
            _copy_vector(s, source, target, whole, gemm.depth - whole)


def _copy_vector(s: Site, source: str, target: str, k: Index, wanted: int) -> None:
    f, lanes = s.f, s.plan.lanes
    value = load_vector(f, s.gemm.dtype, at(f, source, (k, s.size)), 1, lanes, wanted)
    store_vector(f, value, at(f, target, (k, s.size)), 1, wanted)


def _pack_row_panels(s: Site) -> None:
    """By blocks of the depth, for all panels of a block: neighbours in x are read together."""
    f, plan, gemm = s.f, s.plan, s.gemm
    axes = (plan.packed_batches, -(-gemm.depth // _PACK_DEPTH), plan.row_panels)
    first, last = share(s, axes[0] * axes[1] * axes[2])
    step = plan.panel_height * s.size
    batch_bytes = plan.packed_x_elements * s.size
    with counted_or_empty(f, first, last) as index:
        batch, block, panel = digits(f, index, axes)
        k = times(f, block, _PACK_DEPTH)
        depth: Index = _PACK_DEPTH
        if gemm.depth % _PACK_DEPTH:
            depth = least(f, _PACK_DEPTH, plus(f, gemm.depth, times(f, k, -1)))
        places = ((batch, batch_bytes), (panel, gemm.depth * step), (k, step))
        target = at(f, "%scratch", *places)

        def one(run: Run, row: Index) -> None:
            shape = Panel(gemm.dtype, run.size, plan.panel_height, plan.lanes)
            pack(f, shape, x_in_place(s, batch, row, k), target, depth)

        by_run(f, plan.rows, panel, one)


def x_of_tile(s: Site, batch: Index, panel: Index, row: Index, depth: Index) -> Stream:
    """The rows of a tile, from step `depth` on."""
    plan, size = s.plan, s.size
    if not plan.pack_x:
        return x_in_place(s, batch, row, depth)
    batch_bytes = plan.packed_x_elements * size if plan.packed_batches > 1 else 0
    if plan.copies_rows:
        row_bytes = plan.padded_depth * size
        pointer = at(s.f, "%scratch", (batch, batch_bytes), (row, row_bytes), (depth, size))
        return Stream(pointer, row_bytes, size)
    step = plan.panel_height * size
    panel_bytes = s.gemm.depth * step
    pointer = at(s.f, "%scratch", (batch, batch_bytes), (panel, panel_bytes), (depth, step))
    return Stream(pointer, size, step)


def pack_all_y(s: Site) -> None:
    """All column panels for this thread: where rows go first they are few and small."""
    f, plan, gemm = s.f, s.plan, s.gemm
    before = 0
    for run in plan.columns:
        with counted(f, before, before + run.count) as panel:
            column = plus(f, run.start, times(f, plus(f, panel, -before), run.size))
            pack(f, _panel(s, run), y_in_place(s, 0, column, 0), _packed(s, panel), gemm.depth)
        before += run.count


def _panel(s: Site, run: Run) -> Panel:
    return Panel(s.gemm.dtype, run.size, s.plan.panel_width, s.plan.lanes)


def _packed(s: Site, panel: Index) -> str:
    """Where a packed column panel lies: the only one there is, unless all are kept."""
    width = s.plan.panel_width * s.plan.depth_chunk * s.size
    return at(s.f, s.own, (panel if s.plan.rows_first else 0, width))


def y_of_unit(s: Site, batch: Index, column: tuple[Index, Index], depth: Index) -> Stream:
    """A column panel, given by its number and first column, from step `depth` on."""
    number, first = column
    if not s.plan.pack_y:
        return y_in_place(s, batch, first, depth)
    return Stream(_packed(s, number), s.size, s.plan.panel_width * s.size)


def pack_y(
    s: Site, run: Run, batch: Index, column: Index, part: tuple[Index, Index], new: str
) -> None:
    """Pack the column panel of a unit, for `part` (start, length) of the depth.

    Units that follow each other in a thread may have the same one: `new`, an i1 register, says
    that this one has another; empty if each has.
    """
    f = s.f
    start, depth = part
    if not new:
        pack(f, _panel(s, run), y_in_place(s, batch, column, start), _packed(s, 0), depth)
        return
    with when(f, new):
        pack(f, _panel(s, run), y_in_place(s, batch, column, start), _packed(s, 0), depth)
