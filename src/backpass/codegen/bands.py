"""Kernels that share rows in the same way, so that no barrier stands between them.

A layer's row of a batch needs only this row of the layer before. Where kernels follow each other
like that, all are cut into the same `bands` of rows: a thread runs the whole chain for one band
after the other, and nobody waits. A band is what one thread of a team of `bands` would do, so the
emitted functions know nothing of it: share b of B is called as thread b of B. A long reduction is
done in chunks of rows; what makes the rows that it folds can run chunk by chunk with it, so that a
table that both read comes from memory once. Invariant: of all that banded kernels of a phase write,
each touches the same rows in the same band (`Rows`), and who owns a row never depends on the number
of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backpass.codegen.lower.elements import Entry, Key, Named, Spot
from backpass.codegen.lower.index import Form
from backpass.codegen.lower.schedule import Bound, scheduled
from backpass.codegen.nest import plan_loops
from backpass.loops import LANES, Access, Buffer, Gemm, Indexed, LoopKernel, Space

MOST_BANDS = 64
OPERAND = 1 << 17  # bytes of an operand that each thread reads as a whole
PACKED = 1 << 14  # elements that are packed again and again, for each band
TURNED = 128  # rows of a product for which its weights are turned before: 64 are too few
DEPTH = 2048  # of a product that is summed at once on any machine


@dataclass(frozen=True, slots=True)
class Rows:
    """Element e is that of band `e // size`, of so many."""

    bands: int
    size: int


def band_rows(rows: int) -> int:
    """The height of a band, a multiple of LANES; 0 where rows cannot be cut so."""
    height = LANES * max(1, rows // (LANES * MOST_BANDS))
    return height if rows % height == 0 and rows > height else 0


def heights_of(steps: Sequence[object]) -> dict[int, int]:
    """The heights of bands that long reductions ask for, by the number of rows."""
    return dict([s.chunk for s in steps if isinstance(s, Bound) and s.chunk is not None])


def banded(step: Bound, heights: Mapping[int, int]) -> Bound | None:
    """The step with its rows in bands, if they can be and each depends on its own.

    Args:
        heights: of the bands, for some numbers of rows; for others see `band_rows`.
    """
    kernel = step.kernel
    if isinstance(kernel, Gemm):
        height = heights.get(kernel.rows) or band_rows(kernel.rows)
        found = _banded_product(kernel, height)
    elif isinstance(kernel, LoopKernel):
        height = 1
        if step.chunk is None and kernel.extents:
            height = heights.get(kernel.extents[0]) or band_rows(kernel.extents[0])
        found = _chunked(kernel) if step.chunk is not None else _banded_loops(kernel, height)
    else:
        return None
    if found is None:
        return None
    rows = found.rows if isinstance(found, Gemm) else found.extents[0]
    made = replace(step, kernel=found, bands=-(-rows // height))
    used = list(_accesses(made))
    if any([isinstance(a, Access) and not _by_rows(made, a, stored) for a, stored in used]):
        return None
    local = [a for a, stored in used if not stored and rows_of(made, a) is not None]
    return made if local else None


def _banded_product(kernel: Gemm, height: int) -> Gemm | None:
    if not height or kernel.rows % height or kernel.batch != 1 or not 0 < kernel.depth <= DEPTH:
        return None
    bands, y = kernel.rows // height, kernel.columns * kernel.depth
    if y * kernel.dtype.itemsize > OPERAND or kernel.x.strides[3] != 1:
        return None
    if kernel.columns > 1 and kernel.y.strides[2] != 1 and y * bands > PACKED:
        return None
    return replace(kernel, bands=bands, parallel=True)


def turned(step: Bound) -> tuple[Bound, Bound] | None:
    """For a product whose bands would each pack y again: a copy of y in order, and the product
    that reads it. None for others.
    """
    kernel = step.kernel
    if not isinstance(kernel, Gemm) or kernel.columns == 1 or kernel.y.strides[2] == 1:
        return None
    if kernel.rows < TURNED:
        return None
    y, target = kernel.y, Named("turned", (kernel.name, step.keys))
    source = dict(step.memory())[y.buffer]
    depth, columns = kernel.depth, kernel.columns
    entries = [
        Entry("load", (), kernel.dtype, Spot(source, Form(y.offset, (y.strides[3], y.strides[2])))),
        Entry("store", (0,), kernel.dtype, Spot(target, Form(0, (columns, 1)))),
    ]
    copy = scheduled(f"{kernel.name}y", (depth, columns), entries, None)
    own = len(kernel.buffers)
    buffers = (*kernel.buffers, Buffer(kernel.dtype, depth * columns))
    access = Access(own, 0, (0, 0, 1, columns))
    product = replace(step, kernel=replace(kernel, buffers=buffers, y=access))
    return copy, replace(product, keys=(*step.keys, target))


def _chunked(kernel: LoopKernel) -> LoopKernel | None:
    """A reduction in chunks: share b of as many as there are chunks is chunk b."""
    blocked = plan_loops(kernel).blocked
    if kernel.extents[0] == 1 or (blocked is not None and blocked[0] == 0):
        return None
    return replace(kernel, schedule=replace(kernel.schedule, parallel=True))


def _banded_loops(kernel: LoopKernel, height: int) -> LoopKernel | None:
    if not height or kernel.outer != 1 or kernel.clip is not None or kernel.extents[0] <= height:
        return None
    band = height if kernel.extents[0] % height else 0
    schedule = replace(kernel.schedule, parallel=True, band=band)
    if schedule.vector == 0:
        schedule = replace(schedule, unroll=min(schedule.unroll, height // LANES))
    kernel = replace(kernel, schedule=schedule)
    axis, size = plan_loops(kernel).blocked or (0, 1)
    return kernel if axis == 0 and height % size == 0 else None


def _by_rows(step: Bound, access: Access, stored: bool) -> bool:
    """Whether an access keeps to the row of its iteration, or, reading, is the same in all."""
    return rows_of(step, access) is not None or (not stored and not access.strides[_axis(step)])


def _axis(step: Bound) -> int:
    return 1 if isinstance(step.kernel, Gemm) else 0


def band_height(step: Bound) -> int:
    """The iterations of a banded step's first rows axis that are one band."""
    kernel = step.kernel
    if isinstance(kernel, Gemm):
        return kernel.rows // step.bands
    assert isinstance(kernel, LoopKernel)
    return kernel.schedule.band or kernel.extents[0] // step.bands


def rows_of(step: Bound, access: Access | Indexed) -> Rows | None:
    """The rows of an array that are touched through an access of a banded step, band by band."""
    if isinstance(access, Indexed):
        return None
    kernel, axis = step.kernel, _axis(step)
    if isinstance(kernel, Gemm):
        extents = (kernel.batch, kernel.rows, kernel.columns, kernel.depth)[: len(access.strides)]
    else:
        assert isinstance(kernel, LoopKernel)
        extents = kernel.extents
    stride = access.strides[axis]
    low = high = access.offset
    for i, (s, n) in enumerate(zip(access.strides, extents, strict=True)):
        if i != axis:
            low, high = low + min(0, s * (n - 1)), high + max(0, s * (n - 1))
    if stride < 1 or low < 0 or high >= stride:
        return None
    return Rows(step.bands, stride * band_height(step))


def _accesses(step: Bound) -> Iterator[tuple[Access | Indexed, bool]]:
    """The accesses of memory, and whether each stores; not the operand that all rows share."""
    kernel = step.kernel
    if isinstance(kernel, Gemm):
        yield kernel.x, False
        ops = kernel.epilogue
    else:
        assert isinstance(kernel, LoopKernel)
        ops = kernel.ops
    for op in ops:
        if isinstance(op.param, Access | Indexed):
            place = op.param.buffer if isinstance(op.param, Access) else op.param.access.buffer
            if kernel.buffers[place].space is Space.MEMORY:
                yield op.param, op.code == "store"


def owners(step: Bound) -> Mapping[Key, Rows | None]:
    """Of each array that a banded step touches, the rows that its bands own; None: no such."""
    kernel, keys = step.kernel, dict(step.memory())
    found: dict[Key, Rows | None] = {}
    if isinstance(kernel, Gemm):
        found[keys[kernel.y.buffer]] = None
    for access, _ in _accesses(step):
        place = access.buffer if isinstance(access, Access) else access.access.buffer
        own = rows_of(step, access)
        found[keys[place]] = own if found.get(keys[place], own) == own else None
    return found
