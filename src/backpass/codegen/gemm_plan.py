"""From a Gemm and a Machine to tiles, panels and packing: all that `gemm.py` decides, as data.

A Plan cuts the rows and the columns of the product into runs of equal panels (128 rows are eight
panels of 13 and two of 12, never nine of 14 and one of 2); a tile is one row panel by one column
panel, held in registers over its whole depth. It is a pure function of shape, strides and machine,
so the order of every operation is too. Threads share out units: a column panel by a chunk of row
panels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from backpass.codegen.machine import Machine
from backpass.loops.kernel import Access, Gemm, Indexed, Op

_UNITS = 64  # as many units as this give many threads equal shares
_LEAST_CHUNK = 64  # rows over which a packed column panel should be used
_TILE_ROWS = 14
_REGISTER_EPILOGUE = 240  # instructions; a longer epilogue runs row by row from memory
_DEPTH_CHUNK = 512
_FEW_TILES = 32


@dataclass(frozen=True, slots=True)
class Run:
    """`count` panels of `size` elements one after the other; the first begins at `start`."""

    start: int
    count: int
    size: int

    @property
    def stop(self) -> int:
        """Where the elements after the run begin."""
        return self.start + self.count * self.size


@dataclass(frozen=True, slots=True)
class Plan:
    """How a product is computed; `product` is it, with rows and columns exchanged if `swapped`.

    A tile has `lanes` elements a vector and `vectors` vectors a row. `chunks` cuts the row panels
    for threads. The depth is cut into `depth_chunk`s whose sums are added in order: one if all are
    summed at once. `pack_x` copies x into row panels for all threads, `pack_y` each column panel
    for the thread that uses it. `in_registers`: the epilogue runs on the tile's registers.
    """

    product: Gemm
    swapped: bool
    lanes: int
    vectors: int
    rows: tuple[Run, ...]
    columns: tuple[Run, ...]
    chunks: int
    depth_chunk: int
    unroll: int
    pack_x: bool
    pack_y: bool
    in_registers: bool

    @property
    def row_panels(self) -> int:
        """How many row panels there are."""
        return sum(run.count for run in self.rows)

    @property
    def column_panels(self) -> int:
        """How many column panels there are."""
        return sum(run.count for run in self.columns)

    @property
    def depth_chunks(self) -> int:
        """How many sums over a part of the depth are added for one element."""
        return max(1, -(-self.product.depth // self.depth_chunk))

    @property
    def units(self) -> int:
        """How many pieces of work threads share out."""
        return self.depth_chunks * self.product.batch * self.column_panels * self.chunks

    @property
    def panel_width(self) -> int:
        """Elements of a row of a packed column panel: a full tile's."""
        return self.lanes * self.vectors

    @property
    def panel_height(self) -> int:
        """Elements of a row of a packed row panel: the tile's rows, filled up to whole vectors."""
        return -(-self.rows[0].size // self.lanes) * self.lanes

    def __str__(self) -> str:
        p = self.product
        rows = " + ".join(f"{run.count} x {run.size}" for run in self.rows)
        columns = " + ".join(f"{run.count} x {run.size}" for run in self.columns)
        facts = [
            f"{p.batch} x ({p.rows} x {p.columns} x {p.depth}) {p.dtype}",
            f"rows {rows}, columns {columns}, {self.lanes} lanes",
            f"{self.units} units, unroll {self.unroll}",
        ]
        facts += ["swapped"] * self.swapped + ["x packed"] * self.pack_x
        facts += ["y packed"] * self.pack_y
        if self.depth_chunks > 1:
            facts.append(f"depth in {self.depth_chunks} chunks of {self.depth_chunk}")
        facts.append("epilogue in registers" if self.in_registers else "epilogue by rows")
        return "; ".join(facts)


def plan_gemm(gemm: Gemm, machine: Machine) -> Plan:
    """The plan of the cheaper of the product and its transpose."""
    plain = _plan(gemm, machine, swapped=False)
    swapped = _plan(transposed(gemm), machine, swapped=True)
    return swapped if _cycles(swapped) < _cycles(plain) else plain


def transposed(gemm: Gemm) -> Gemm:
    """The same product by its transpose: rows are columns, and x and y change places."""
    xb, xr, _, xd = gemm.x.strides
    yb, _, yc, yd = gemm.y.strides
    return replace(
        gemm,
        rows=gemm.columns,
        columns=gemm.rows,
        x=replace(gemm.y, strides=(yb, yc, 0, yd)),
        y=replace(gemm.x, strides=(xb, 0, xr, xd)),
        epilogue=tuple(_transposed_op(op) for op in gemm.epilogue),
    )


def _transposed_op(op: Op) -> Op:
    param: Any = op.param
    match param:
        case Access():
            param = _transposed_access(param)
        case Indexed():
            param = replace(param, access=_transposed_access(param.access))
        case _ if op.code == "index":
            param = (0, 2, 1)[param]
        case _:
            pass
    return replace(op, param=param)


def _transposed_access(access: Access) -> Access:
    batch, row, column = access.strides
    return replace(access, strides=(batch, column, row))


def _plan(gemm: Gemm, machine: Machine, swapped: bool) -> Plan:
    size = gemm.dtype.itemsize
    full = machine.vector_bytes // size
    lanes = min(full, max(16 // size, 1 << (gemm.columns - 1).bit_length()))
    vectors, height = _tile(gemm, lanes, machine)
    rows = _equal_runs(gemm.rows, height)
    columns = _full_runs(gemm.columns, lanes * vectors)
    plan = Plan(
        product=gemm,
        swapped=swapped,
        lanes=lanes,
        vectors=vectors,
        rows=rows,
        columns=columns,
        chunks=1,
        depth_chunk=gemm.depth,
        unroll=1 if rows[0].size * vectors >= 12 else 4,
        pack_x=False,
        pack_y=_packs_y(gemm, machine),
        in_registers=True,
    )
    plan = replace(plan, depth_chunk=_depth_chunk(plan, machine))
    return replace(
        plan,
        chunks=_chunks(plan),
        pack_x=_packs_x(plan, machine),
        in_registers=plan.depth_chunks == 1 and _short_epilogue(plan),
    )


def _tile(gemm: Gemm, lanes: int, machine: Machine) -> tuple[int, int]:
    """Vectors and most rows of a tile: those with the fewest cycles by a simple count."""
    wide = -(-gemm.columns // lanes)
    best = (0.0, 0, 0)
    for vectors in (2, 1, 3, 4):
        if vectors > wide and vectors > 1:
            continue
        height = min(_TILE_ROWS, (machine.vector_registers - vectors - 1) // vectors)
        rows = _equal_runs(gemm.rows, height)
        columns = _full_runs(wide, vectors)
        cost = 0.0
        for r in rows:
            for c in columns:
                cost += r.count * c.count * _tile_cycles(r.size, c.size, lanes, machine)
        if not best[1] or cost < best[0]:
            best = (cost, vectors, height)
    return best[1], best[2]


def _tile_cycles(rows: int, vectors: int, lanes: int, machine: Machine) -> float:
    """FMAs of one step along the depth, but no fewer than its loads and its latency allow.

    To these comes a little for each element that streams in from L2.
    """
    narrow = machine.vector_bytes < 64
    loads = (rows + vectors) * (1.0 if narrow else 0.5)
    return max(rows * vectors, loads, 8 if narrow else 4) + 0.02 * (rows + vectors * lanes)


def _equal_runs(total: int, most: int) -> tuple[Run, ...]:
    """Panels of at most `most`, of two neighbouring sizes or one."""
    count = -(-total // most)
    size, taller = divmod(total, count)
    if taller == 0:
        return (Run(0, count, size),)
    return Run(0, taller, size + 1), Run(taller * (size + 1), count - taller, size)


def _full_runs(total: int, size: int) -> tuple[Run, ...]:
    """Full panels, and what is left as one."""
    count, left = divmod(total, size)
    runs = (Run(0, count, size),) if count else ()
    return (*runs, Run(count * size, 1, left)) if left else runs


def _packs_y(gemm: Gemm, machine: Machine) -> bool:
    """Where columns aren't neighbours, or many rows would read a panel that lies far apart."""
    _, _, column, depth = gemm.y.strides
    if gemm.columns > 1 and column != 1:
        return True
    return gemm.rows >= 32 and gemm.depth * abs(depth) * gemm.dtype.itemsize > machine.l1 // 2


def _packs_x(plan: Plan, machine: Machine) -> bool:
    """Where several column panels would read rows or depths that fall on the same cache sets."""
    gemm = plan.product
    size = gemm.dtype.itemsize
    _, row, _, depth = gemm.x.strides
    if plan.column_panels < 3 or gemm.rows * gemm.depth * size <= machine.l1 // 2:
        return False
    if depth in (0, 1):
        return row * size % 2048 == 0 and row != 0
    return gemm.depth * abs(depth) * size > machine.l1 and row != 0


def _depth_chunk(plan: Plan, machine: Machine) -> int:
    """Elements of the depth that are summed at once: a packed column panel fits half of L2."""
    gemm = plan.product
    most = machine.l2 // 2 // (plan.panel_width * gemm.dtype.itemsize)
    tiles = gemm.batch * plan.row_panels * plan.column_panels
    if tiles < _FEW_TILES and gemm.depth >= 4 * _DEPTH_CHUNK:
        most = _DEPTH_CHUNK
    most = max(most, 128)
    depth = max(gemm.depth, 1)
    chunks = -(-depth // most)
    return -(-depth // chunks)


def _chunks(plan: Plan) -> int:
    if not plan.product.parallel:
        return 1
    wanted = -(-_UNITS // plan.units)
    if plan.pack_y:
        wanted = min(wanted, max(1, plan.product.rows // _LEAST_CHUNK))
    return min(wanted, plan.row_panels)


def _short_epilogue(plan: Plan) -> bool:
    """Whether the epilogue is short enough to be written out for each vector of the tile."""
    each = sum(2 if op.code in ("load", "store") else 1 for op in plan.product.epilogue)
    for op in plan.product.epilogue:
        if isinstance(op.param, Access) and op.param.strides[2] not in (0, 1):
            each += 2 * plan.lanes
    return each * plan.rows[0].size * plan.vectors <= _REGISTER_EPILOGUE


def _cycles(plan: Plan) -> float:
    """A rough count of what the plan costs; only to choose between a product and its transpose."""
    gemm = plan.product
    full = plan.lanes * plan.vectors
    columns = sum(run.count * -(-run.size // plan.lanes) for run in plan.columns)
    tile = max(1.0, 4 / (plan.rows[0].size * min(columns, plan.vectors)))
    cycles = gemm.rows * columns * gemm.depth * tile
    if plan.pack_y:
        _, _, column, depth = gemm.y.strides
        each = 2.0 / plan.lanes if column == 1 else 0.4 if depth == 1 else 1.5
        cycles += gemm.depth * full * plan.column_panels * each
    for op in gemm.epilogue:
        if isinstance(op.param, Access) and op.param.strides[2] not in (0, 1):
            cycles += 1.5 * gemm.rows * gemm.columns
    return cycles * gemm.batch
