"""The choice of a Plan for a product: which tile, what is packed, how the work is cut.

Every rule here was measured; docs/performance-notes.md has the figures.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd

from backpass.codegen.gemm_plan import PAGE, Plan, equal_runs, full_runs, same_sets, transposed
from backpass.codegen.machine import Machine
from backpass.loops.kernel import Access, Gemm, Indexed, Op

_UNITS = 64  # as many units as this give many threads equal shares
_EVEN = 4  # of a few units, a multiple of this many
_LEAST_CHUNK = 64  # rows over which a packed column panel should be used
_REUSE = {16: 32, 32: 32, 64: 256}  # rows from which on packing y pays, by bytes of a vector
_TILE_ROWS = 14
_L1_WAYS = 8  # as many rows that fall on one set of L1 stay there together
_REGISTER_EPILOGUE = 280  # instructions; a longer epilogue runs row by row from memory
_DEPTH_CHUNK = 512
_INSTRUCTIONS = {
    **dict.fromkeys(("acc", "const", "identity", "stop_gradient"), 0),
    **dict.fromkeys(("add", "sub", "mul", "div", "neg", "abs", "square", "sqrt", "index"), 1),
    **dict.fromkeys(("select", "cast", "equal", "not_equal", "less", "less_equal"), 1),
    **dict.fromkeys(("greater", "greater_equal", "logical_and", "logical_or", "logical_not"), 1),
    **dict.fromkeys(("maximum", "minimum", "gate", "scale"), 4),
}
_LONG = 25  # instructions of any other op
_FEW_TILES = 32


def plan_gemm(gemm: Gemm, machine: Machine) -> Plan:
    """The plan of the cheaper of the product and its transpose; bands are of its own rows."""
    plain = _plan(gemm, machine, swapped=False)
    if gemm.bands:
        return plain
    swapped = _plan(transposed(gemm), machine, swapped=True)
    return swapped if _cycles(swapped) < _cycles(plain) else plain


def _plan(gemm: Gemm, machine: Machine, swapped: bool) -> Plan:
    size = gemm.dtype.itemsize
    full = machine.vector_bytes // size
    lanes = min(full, max(16 // size, 1 << (gemm.columns - 1).bit_length()))
    vectors, height = _tile(gemm, lanes, machine)
    rows = equal_runs(gemm.rows, height)
    columns = full_runs(gemm.columns, lanes * vectors)
    plan = Plan(
        product=gemm,
        swapped=swapped,
        lanes=lanes,
        vectors=vectors,
        rows=rows,
        columns=columns,
        chunks=1,
        rows_first=False,
        depth_chunk=gemm.depth,
        unroll=1 if rows[0].size * vectors >= 12 else 4,
        pack_x=False,
        pack_y=False,
        in_registers=True,
    )
    plan = replace(plan, depth_chunk=_depth_chunk(plan, machine))
    plan = replace(plan, rows_first=_rows_first(plan, machine), pack_y=_packs_y(plan, machine))
    plan = replace(plan, pack_x=_packs_x(plan, machine))
    return replace(
        plan,
        chunks=_chunks(plan, machine),
        in_registers=plan.depth_chunks == 1 and _short_epilogue(plan),
    )


def _tile(gemm: Gemm, lanes: int, machine: Machine) -> tuple[int, int]:
    """Vectors and most rows of a tile: those with the fewest cycles by a simple count."""
    wide = -(-gemm.columns // lanes)
    apart = gemm.x.strides[1] * gemm.dtype.itemsize
    one_set = gemm.x.strides[3] == 1 and apart and same_sets(apart)
    most = _L1_WAYS if one_set else _TILE_ROWS
    best = (0.0, 0, 0)
    for vectors in (2, 1, 3, 4):
        if vectors > wide and vectors > 1:
            continue
        height = min(most, (machine.vector_registers - vectors - 1) // vectors)
        height = _height(gemm, height, -(-wide // vectors))
        rows = equal_runs(gemm.rows, height)
        columns = full_runs(wide, vectors)
        cost = 0.0
        for r in rows:
            for c in columns:
                cost += r.count * c.count * _tile_cycles(r.size, c.size, lanes, machine)
        if not best[1] or cost < best[0]:
            best = (cost, vectors, height)
    return best[1], best[2]


def _height(gemm: Gemm, most: int, column_panels: int) -> int:
    """Rows of a tile: those that divide a band, or with which a few units are even for threads."""
    if gemm.bands:
        return max([h for h in range(1, most + 1) if gemm.rows // gemm.bands % h == 0])
    panels = -(-gemm.rows // most)
    if not gemm.parallel or gemm.batch > 1 or panels * column_panels > _EVEN * _EVEN:
        return most
    while panels * column_panels % _EVEN and panels * 8 < gemm.rows:
        panels += 1
    return -(-gemm.rows // panels)


def _tile_cycles(rows: int, vectors: int, lanes: int, machine: Machine) -> float:
    """FMAs of one step along the depth, but no fewer than its loads and its latency allow.

    To these comes a little for each element that streams in from L2.
    """
    narrow = machine.vector_bytes < 64
    loads = (rows + vectors) * (1.0 if narrow else 0.5)
    return max(rows * vectors, loads, 8 if narrow else 4) + 0.02 * (rows + vectors * lanes)


def _packs_y(plan: Plan, machine: Machine) -> bool:
    """Where columns aren't neighbours, or many rows read a panel that does not stay in L1."""
    gemm = plan.product
    size = gemm.dtype.itemsize
    _, _, column, depth = gemm.y.strides
    if gemm.columns > 1 and column != 1:
        return True
    if gemm.bands:
        return False
    apart = max(gcd(depth * size, PAGE), plan.panel_width * size)
    enough = gemm.rows >= _REUSE[machine.vector_bytes]
    return enough and plan.depth_chunk * apart > machine.l1 // 2


def _packs_x(plan: Plan, machine: Machine) -> bool:
    """Where many column panels read x from beyond the cache that a tile has time to wait for."""
    gemm = plan.product
    size = gemm.dtype.itemsize
    _, row, _, depth = gemm.x.strides
    if plan.column_panels < 3 or gemm.rows < 8 or row == 0 or gemm.bands:
        return False
    beyond = gemm.rows * plan.depth_chunk * size
    if depth in (0, 1):
        narrow = machine.vector_bytes < 64
        return depth == 1 and narrow and beyond >= machine.l2 and same_sets(row * size)
    if row == 1 and machine.vector_bytes == 64:
        # A tile of 14 x 32 has time to wait for L2; a long walk over the same sets is too much.
        return same_sets(depth * size) and plan.depth_chunk >= 1024 and beyond > machine.l2
    if row == 1:
        return beyond > machine.l1 and not plan.rows_first
    return beyond > machine.l1


def _rows_first(plan: Plan, machine: Machine) -> bool:
    """Where y stays in L2 and x does not: then x is read once, chunk by chunk."""
    gemm = plan.product
    size = gemm.dtype.itemsize
    if plan.depth_chunks > 1 or gemm.batch > 1 or plan.column_panels == 1:
        return False
    if gemm.bands:
        return True
    y = plan.depth_chunk * plan.column_panels * plan.panel_width * size
    return 4 * y <= machine.l2 < 2 * gemm.rows * gemm.depth * size


def _depth_chunk(plan: Plan, machine: Machine) -> int:
    """Elements of the depth that are summed at once: a column panel takes a quarter of L2."""
    gemm = plan.product
    if gemm.bands:
        return max(gemm.depth, 1)
    most = machine.l2 // 4 // (plan.panel_width * gemm.dtype.itemsize)
    tiles = gemm.batch * plan.row_panels * plan.column_panels
    if tiles < _FEW_TILES and gemm.depth >= 4 * _DEPTH_CHUNK:
        most = _DEPTH_CHUNK
    most = max(most, 128)
    depth = max(gemm.depth, 1)
    chunks = -(-depth // most)
    return -(-depth // chunks)


def _chunks(plan: Plan, machine: Machine) -> int:
    gemm = plan.product
    if gemm.bands:
        return gemm.bands
    wanted = -(-_UNITS // plan.units) if gemm.parallel else 1
    if plan.rows_first:
        x = gemm.rows * gemm.depth * gemm.dtype.itemsize
        wanted = max(wanted, -(-4 * x // machine.l2))
    elif plan.pack_y:
        wanted = min(wanted, max(1, gemm.rows // _LEAST_CHUNK))
    return min(wanted, plan.row_panels)


def _short_epilogue(plan: Plan) -> bool:
    """Whether the epilogue is short enough to be written out for each vector of the tile."""
    each = sum(_instructions(op, plan.lanes) for op in plan.product.epilogue)
    return each * plan.rows[0].size * plan.vectors <= _REGISTER_EPILOGUE


def _instructions(op: Op, lanes: int) -> int:
    """Roughly how many instructions an op takes for a vector."""
    if isinstance(op.param, Indexed):
        return 4 * lanes
    if isinstance(op.param, Access):
        return 2 if op.param.strides[2] in (0, 1) else 2 * lanes
    return _INSTRUCTIONS.get(op.code, _LONG)


def _cycles(plan: Plan) -> float:
    """A rough count of what the plan costs; only to choose between a product and its transpose."""
    gemm = plan.product
    full = plan.lanes * plan.vectors
    columns = sum(run.count * -(-run.size // plan.lanes) for run in plan.columns)
    tile = max(1.0, 4 / (plan.rows[0].size * min(columns, plan.vectors)))
    cycles = gemm.rows * columns * gemm.depth * tile
    if plan.pack_y:
        _, _, column, depth = gemm.y.strides
        cycles += gemm.depth * full * plan.column_panels * _packing(column, depth, plan.lanes)
    if plan.pack_x:
        _, row, _, depth = gemm.x.strides
        cycles += gemm.depth * gemm.rows * _packing(row, depth, plan.lanes)
    for op in gemm.epilogue:
        if isinstance(op.param, Access) and op.param.strides[2] not in (0, 1):
            cycles += 2 * gemm.rows * gemm.columns
    return cycles * gemm.batch


def _packing(item: int, depth: int, lanes: int) -> float:
    """Cycles to pack an element: by vectors, by squares, or alone."""
    if item == 1:
        return 2 / lanes
    return (1 + lanes.bit_length()) / (2 * lanes) if depth == 1 else 1.5
