"""Gemm to LLVM text: one function that computes a product and its epilogue, for a team of threads.

`gemm_plan.py` decides, this file writes the loops: x is packed by all threads if the plan says so,
then each thread goes through its units, packing a column panel where it begins one, and through the
tiles of each. A tile lies in registers (`gemm_tile.py`) until its epilogue has run. Where the depth
is cut, tiles go to scratch as partial sums, which are added in order once all threads are there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backpass.codegen.access import load_vector, store_vector
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
    when,
)
from backpass.codegen.gemm_choice import plan_gemm
from backpass.codegen.gemm_epilogue import Epilogue
from backpass.codegen.gemm_pack import Panel, pack
from backpass.codegen.gemm_plan import Plan, Run
from backpass.codegen.gemm_tile import (
    Shape,
    Stream,
    Tile,
    at,
    columns_of,
    multiply,
)
from backpass.codegen.machine import Machine
from backpass.codegen.text import Function, Module, Reg
from backpass.codegen.workspace import Workspace, aligned
from backpass.loops.kernel import Access, Gemm


@dataclass(frozen=True, slots=True)
class _Layout:
    """Bytes of scratch: packed x and partial sums, shared; a column panel and a tile each."""

    packed_x: int
    partial: int
    packed_y: int
    tile: int

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.packed_x + self.partial, self.packed_y + self.tile)


@dataclass(frozen=True, slots=True)
class _Site:
    """What every part of the emission needs."""

    f: Function
    plan: Plan
    layout: _Layout
    fused: bool
    own: str  # pointer to this thread's part of the scratch
    epilogue: Epilogue

    @property
    def gemm(self) -> Gemm:
        return self.plan.product

    @property
    def size(self) -> int:
        return self.plan.product.dtype.itemsize


@dataclass(frozen=True, slots=True)
class _Unit:
    """A piece of work: a part of the depth, a batch, a column panel and a chunk of row panels."""

    index: Index
    depth: Index
    batch: Index
    column: Index
    chunk: Index


def emit_gemm(module: Module, gemm: Gemm, name: str, machine: Machine) -> Workspace:
    """Write `gemm` as the function `name`, for float32 and float64; gives the scratch it needs."""
    if gemm.dtype.name not in ("float32", "float64"):
        raise TypeError(
            f"emit_gemm: dtype {gemm.dtype} of {gemm.name}; it takes float32 or float64"
        )
    buffers = "".join(f", ptr %b{i}" for i in range(len(gemm.buffers)))
    head = (
        f"define void @{name}(ptr %team, i64 %tid, i64 %n, ptr %scratch, ptr %status{buffers}) #0"
    )
    f = Function(module, head)
    layout = _Layout(0, 0, 0, 0)
    if gemm.batch and gemm.rows and gemm.columns:
        plan = plan_gemm(gemm, machine)
        layout = _layout(plan)
        epilogue = Epilogue(f, plan.product, plan.lanes)
        own = _own_scratch(f, plan, layout)
        _body(_Site(f, plan, layout, has_fma(machine), own, epilogue))
    f.emit("ret void")
    f.close()
    return layout.workspace


def has_fma(machine: Machine) -> bool:
    """Whether the machine multiplies and adds in one instruction."""
    return "+fma" in machine.features.split(",") or "+neon" in machine.features.split(",")


def _layout(plan: Plan) -> _Layout:
    gemm, size = plan.product, plan.product.dtype.itemsize
    packed_x = partial = packed_y = tile = 0
    if plan.pack_x:
        batches = gemm.batch if gemm.x.strides[0] else 1
        packed_x = batches * plan.row_panels * plan.panel_height * gemm.depth * size
    if plan.depth_chunks > 1:
        partial = plan.depth_chunks * gemm.batch * gemm.rows * _partial_width(plan) * size
    elif not plan.in_registers:
        tile = plan.rows[0].size * plan.panel_width * size
    if plan.pack_y:
        packed_y = plan.panel_width * plan.depth_chunk * size
        if plan.rows_first:
            packed_y *= plan.column_panels
    return _Layout(*(aligned(part) for part in (packed_x, partial, packed_y, tile)))


def _partial_width(plan: Plan) -> int:
    return plan.column_panels * plan.panel_width


def _own_scratch(f: Function, plan: Plan, layout: _Layout) -> str:
    work = layout.workspace
    tid: Index = "%tid" if plan.product.parallel else 0
    return at(f, "%scratch", (work.shared, 1), (tid, work.per_thread))


def _body(s: _Site) -> None:
    f, plan = s.f, s.plan
    s.epilogue.uniform()
    if plan.pack_x:
        _pack_all_x(s)
        _barrier(s)
    if plan.pack_y and plan.rows_first:
        _pack_all_y(s)
    first, last = _share(s, plan.units)
    axes = (plan.depth_chunks, s.gemm.batch, plan.column_panels, plan.chunks)
    with counted_or_empty(f, first, last) as index:
        if plan.rows_first:
            chunk, column = digits(f, index, (plan.chunks, plan.column_panels))
            _unit(s, _Unit(index, 0, 0, column, chunk), first)
        else:
            depth, batch, column, chunk = digits(f, index, axes)
            _unit(s, _Unit(index, depth, batch, column, chunk), first)
    if plan.depth_chunks > 1:
        _barrier(s)
        _add_partials(s)


def _share(s: _Site, total: int) -> tuple[Index, Index]:
    """This thread's part of range(total)."""
    if not s.gemm.parallel:
        return 0, total
    f = s.f
    after = plus(f, "%tid", 1)
    return over(f, times(f, "%tid", total), "%n"), over(f, times(f, after, total), "%n")


def _barrier(s: _Site) -> None:
    if s.gemm.parallel:
        s.f.emit("call void @bp_barrier(ptr %team, i64 %n)")


def _pack_all_x(s: _Site) -> None:
    f, plan, gemm = s.f, s.plan, s.gemm
    batches = gemm.batch if gemm.x.strides[0] else 1
    first, last = _share(s, batches * plan.row_panels)
    bytes_each = plan.panel_height * gemm.depth * s.size
    with counted_or_empty(f, first, last) as index:
        batch, panel = digits(f, index, (batches, plan.row_panels))
        target = at(f, "%scratch", (index, bytes_each))

        def one(run: Run, row: Index) -> None:
            shape = Panel(gemm.dtype, run.size, plan.panel_height, plan.lanes)
            pack(f, shape, _x_in_place(s, batch, row, 0), target, gemm.depth)

        _by_run(f, plan.rows, panel, one)


def _pack_all_y(s: _Site) -> None:
    """Each thread packs all column panels for itself: they are few and small."""
    f, plan, gemm = s.f, s.plan, s.gemm
    before = 0
    for run in plan.columns:
        with counted(f, before, before + run.count) as panel:
            column = plus(f, run.start, times(f, plus(f, panel, -before), run.size))
            source = _y_in_place(s, 0, column, 0)
            pack(f, _column_shape(s, run), source, _packed_y(s, panel), gemm.depth)
        before += run.count


def _column_shape(s: _Site, run: Run) -> Panel:
    return Panel(s.gemm.dtype, run.size, s.plan.panel_width, s.plan.lanes)


def _packed_y(s: _Site, panel: Index) -> str:
    """Where a packed column panel lies: the only one there is, unless all are kept."""
    width = s.plan.panel_width * s.plan.depth_chunk * s.size
    return at(s.f, s.own, (panel if s.plan.rows_first else 0, width))


def _by_run(
    f: Function, runs: tuple[Run, ...], panel: Index, emit: Callable[[Run, Index], None]
) -> None:
    """Emit code for a panel of any run, told apart as it runs; `emit` gets its first element."""
    before = 0
    for number, run in enumerate(runs):
        inside = panel if before == 0 else plus(f, panel, -before)
        start = plus(f, run.start, times(f, inside, run.size))
        if len(runs) == 1:
            emit(run, start)
            return
        order = "slt" if number == 0 else "sge"
        bound = runs[0].count
        with when(f, f.let_raw(f"icmp {order} i64 {panel}, {bound}", "c")):
            emit(run, start)
        before += run.count


def _x_in_place(s: _Site, batch: Index, row: Index, depth: Index) -> Stream:
    b, r, _, d = s.gemm.x.strides
    return _stream(s, s.gemm.x, (batch, b), (row, r), (depth, d), item=r)


def _y_in_place(s: _Site, batch: Index, column: Index, depth: Index) -> Stream:
    b, _, c, d = s.gemm.y.strides
    return _stream(s, s.gemm.y, (batch, b), (column, c), (depth, d), item=c)


def _stream(s: _Site, access: Access, *steps: tuple[Index, int], item: int) -> Stream:
    size = s.size
    places = [(index, stride * size) for index, stride in steps]
    pointer = at(s.f, f"%b{access.buffer}", (access.offset, size), *places)
    return Stream(pointer, item * size, access.strides[3] * size)


def _unit(s: _Site, unit: _Unit, first: Index) -> None:
    def one(run: Run, column: Index) -> None:
        _column_panel(s, unit, run, column, first)

    _by_run(s.f, s.plan.columns, unit.column, one)


def _column_panel(s: _Site, unit: _Unit, run: Run, column: Index, first: Index) -> None:
    """All tiles of a unit; its column panel is packed where the thread comes to it."""
    f, plan, gemm = s.f, s.plan, s.gemm
    start = times(f, unit.depth, plan.depth_chunk)
    depth = least(f, plan.depth_chunk, plus(f, gemm.depth, times(f, start, -1)))
    y = _y_of_unit(s, unit, run, column, (start, depth), first)
    panels = plan.row_panels
    low = over(f, times(f, unit.chunk, panels), plan.chunks)
    high = over(f, times(f, plus(f, unit.chunk, 1), panels), plan.chunks)
    before = 0
    for rows in plan.rows:
        start_panel = greatest(f, low, before)
        end_panel = least(f, high, before + rows.count)
        with counted_or_empty(f, start_panel, end_panel) as p:
            row = plus(f, rows.start, times(f, plus(f, p, -before), rows.size))
            x = _x_of_tile(s, unit.batch, p, row, start)
            shape = Shape(
                gemm.dtype, rows.size, plan.lanes, columns_of(run.size, plan.lanes), s.fused
            )
            tile = multiply(f, shape, x, y, depth, plan.unroll, plan.pack_y)
            _finish(s, tile, unit, row, column, run.size)
        before += rows.count


def _y_of_unit(
    s: _Site, unit: _Unit, run: Run, column: Index, part: tuple[Index, Index], first: Index
) -> Stream:
    """The column panel of a unit; packed if need be where the thread comes to it."""
    f, plan = s.f, s.plan
    start, depth = part
    if not plan.pack_y:
        return _y_in_place(s, unit.batch, column, start)
    panel, target = _column_shape(s, run), _packed_y(s, unit.column)
    if plan.rows_first:
        return Stream(target, s.size, plan.panel_width * s.size)
    if plan.chunks == 1:
        return pack(f, panel, _y_in_place(s, unit.batch, column, start), target, depth)
    new = f.let_raw(f"icmp eq i64 {unit.chunk}, 0", "c")
    begun = f.let_raw(f"icmp eq i64 {unit.index}, {first}", "c")
    with when(f, f.let_raw(f"or i1 {new}, {begun}", "c")):
        return pack(f, panel, _y_in_place(s, unit.batch, column, start), target, depth)


def _x_of_tile(s: _Site, batch: Index, panel: Index, row: Index, depth: Index) -> Stream:
    if not s.plan.pack_x:
        return _x_in_place(s, batch, row, depth)
    step = s.plan.panel_height * s.size
    panel_bytes = s.gemm.depth * step
    batch_bytes = s.plan.row_panels * panel_bytes if s.gemm.x.strides[0] else 0
    pointer = at(s.f, "%scratch", (batch, batch_bytes), (panel, panel_bytes), (depth, step))
    return Stream(pointer, s.size, step)


def _finish(s: _Site, tile: Tile, unit: _Unit, row: Index, column: Index, width: int) -> None:
    """Run the epilogue on the tile, or leave it as a partial sum."""
    f, plan = s.f, s.plan
    if plan.depth_chunks > 1:
        base = _partial(s, unit.depth, unit.batch, row, column)
        _store_tile(s, tile, base, _partial_width(plan))
        return
    if plan.in_registers:
        for r, vectors in enumerate(tile):
            _epilogue_row(s, vectors, unit.batch, plus(f, row, r), column, width)
        return
    base = at(f, s.own, (s.layout.packed_y, 1))
    _store_tile(s, tile, base, plan.panel_width)
    with counted(f, 0, len(tile)) as r:
        vectors = _load_row(s, at(f, base, (r, plan.panel_width * s.size)), len(tile[0]))
        _epilogue_row(s, vectors, unit.batch, plus(f, row, r), column, width)


def _store_tile(s: _Site, tile: Tile, base: str, width: int) -> None:
    for r, vectors in enumerate(tile):
        for v, vector in enumerate(vectors):
            place = at(s.f, base, (r * width + v * s.plan.lanes, s.size))
            store_vector(s.f, vector, place, 1, s.plan.lanes)


def _load_row(s: _Site, base: str, vectors: int) -> list[Reg]:
    f, lanes = s.f, s.plan.lanes
    places = [at(f, base, (v * lanes, s.size)) for v in range(vectors)]
    return [load_vector(f, s.gemm.dtype, place, 1, lanes, lanes) for place in places]


def _epilogue_row(
    s: _Site, vectors: list[Reg], batch: Index, row: Index, column: Index, width: int
) -> None:
    s.epilogue.row(batch, row)
    wanted = columns_of(width, s.plan.lanes)
    for v, vector in enumerate(vectors):
        s.epilogue.vector(vector, plus(s.f, column, v * s.plan.lanes), wanted[v])


def _partial(s: _Site, depth: Index, batch: Index, row: Index, column: Index) -> str:
    row_bytes = _partial_width(s.plan) * s.size
    batch_bytes = s.gemm.rows * row_bytes
    steps = ((depth, s.gemm.batch * batch_bytes), (batch, batch_bytes), (row, row_bytes))
    return at(s.f, "%scratch", (s.layout.packed_x, 1), *steps, (column, s.size))


def _add_partials(s: _Site) -> None:
    """Add the partial sums of each row in the order of the depth, and run the epilogue."""
    f, plan, gemm = s.f, s.plan, s.gemm
    first, last = _share(s, gemm.batch * gemm.rows)
    with counted_or_empty(f, first, last) as index:
        batch, row = digits(f, index, (gemm.batch, gemm.rows))
        for run in plan.columns:
            with counted(f, 0, run.count) as panel:
                column = plus(f, run.start, times(f, panel, run.size))
                sums = _sum_of_partials(s, batch, row, column, run.size)
                _epilogue_row(s, sums, batch, row, column, run.size)


def _sum_of_partials(s: _Site, batch: Index, row: Index, column: Index, width: int) -> list[Reg]:
    f, gemm = s.f, s.gemm
    count = len(columns_of(width, s.plan.lanes))
    sums = _load_row(s, _partial(s, 0, batch, row, column), count)
    before, head, done = f.block, f.label("partial"), f.label("added")
    names = [(f.fresh("s"), f.fresh("s")) for _ in sums]
    index, following = f.fresh("i"), f.fresh("i")
    f.emit(f"br label %{head}")
    f.begin(head)
    f.emit(f"{index} = phi i64 [ 1, %{before} ], [ {following}, %{head} ]")
    for (now, after), start in zip(names, sums, strict=True):
        f.emit(f"{now} = phi {start.type} [ {start.name}, %{before} ], [ {after}, %{head} ]")
    more = _load_row(s, _partial(s, index, batch, row, column), count)
    for (now, after), part in zip(names, more, strict=True):
        f.emit(f"{after} = fadd {part.type} {now}, {part.name}")
    f.emit(f"{following} = add nuw nsw i64 {index}, 1")
    again = f.let_raw(f"icmp slt i64 {following}, {s.plan.depth_chunks}", "c")
    f.emit(f"br i1 {again}, label %{head}, label %{done}")
    f.begin(done)
    return [Reg(after, gemm.dtype, s.plan.lanes) for _, after in names]
