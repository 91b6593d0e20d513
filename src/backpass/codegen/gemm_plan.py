"""How a product is computed, as data: tiles, panels, packing, and what threads share out.

A Plan cuts the rows and the columns of the product into runs of equal panels (128 rows are eight
panels of 13 and two of 12, never nine of 14 and one of 2); a tile is one row panel by one column
panel, held in registers over its whole depth. It is a pure function of shape, strides and machine,
so the order of every operation is too. Threads share out units: a column panel by a chunk of row
panels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from backpass.loops.kernel import Access, Gemm, Indexed, Op

PAGE = 4096  # elements this far apart fall on one set of any L1


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

    A tile has `lanes` elements a vector and `vectors` vectors a row. A unit is one column panel by
    one of the `chunks` of row panels; units go along the columns of a chunk if `rows_first`, else
    along the chunks of a column panel. The depth is cut into `depth_chunk`s, whose sums are added
    in order: into one if all are summed at once. `pack_x` copies x into row panels for all threads;
    `pack_y` says that a thread copies the column panels that it uses. `in_registers`: the epilogue
    runs on the tile's registers.
    """

    product: Gemm
    swapped: bool
    lanes: int
    vectors: int
    rows: tuple[Run, ...]
    columns: tuple[Run, ...]
    chunks: int
    rows_first: bool
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
    def partial_width(self) -> int:
        """Elements of a row of partial sums."""
        return self.column_panels * self.panel_width

    @property
    def panel_height(self) -> int:
        """Elements of a row of a packed row panel: the tile's rows, filled up to whole vectors."""
        return -(-self.rows[0].size // self.lanes) * self.lanes

    @property
    def copies_rows(self) -> bool:
        """Whether packed x is x row by row, not panel by panel."""
        return self.product.x.strides[3] == 1

    @property
    def padded_depth(self) -> int:
        """Elements from row to row of x packed by rows, which no cache set sees together."""
        size = self.product.dtype.itemsize
        padded = -(-self.product.depth // self.lanes) * self.lanes
        while same_sets(padded * size):
            padded += self.lanes
        return padded

    @property
    def packed_batches(self) -> int:
        """How often x is packed."""
        return self.product.batch if self.product.x.strides[0] else 1

    @property
    def packed_x_elements(self) -> int:
        """Elements of packed x, for one batch."""
        if self.copies_rows:
            return self.product.rows * self.padded_depth
        return self.row_panels * self.panel_height * self.product.depth

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
        facts += ["y packed"] * self.pack_y + ["rows first"] * self.rows_first
        if self.depth_chunks > 1:
            facts.append(f"depth in {self.depth_chunks} chunks of {self.depth_chunk}")
        facts.append("epilogue in registers" if self.in_registers else "epilogue by rows")
        return "; ".join(facts)


def same_sets(apart: int) -> bool:
    """Whether elements so many bytes apart fall on the same few sets of a cache."""
    return min(apart % PAGE, -apart % PAGE) < 128


def equal_runs(total: int, most: int) -> tuple[Run, ...]:
    """Panels of at most `most`, of two neighbouring sizes or one."""
    count = -(-total // most)
    size, taller = divmod(total, count)
    if taller == 0:
        return (Run(0, count, size),)
    return Run(0, taller, size + 1), Run(taller * (size + 1), count - taller, size)


def full_runs(total: int, size: int) -> tuple[Run, ...]:
    """Full panels, and what is left as one."""
    count, left = divmod(total, size)
    runs = (Run(0, count, size),) if count else ()
    return (*runs, Run(count * size, 1, left)) if left else runs


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
    if isinstance(op.param, Access):
        return replace(op, param=_transposed_access(op.param))
    if isinstance(op.param, Indexed):
        return replace(op, param=replace(op.param, access=_transposed_access(op.param.access)))
    if op.code == "index":
        return replace(op, param=(0, 2, 1)[op.param])
    return op


def _transposed_access(access: Access) -> Access:
    batch, row, column = access.strides
    return replace(access, strides=(batch, column, row))
