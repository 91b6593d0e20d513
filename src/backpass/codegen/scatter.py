"""ScatterAdd to LLVM text.

Each thread owns some elements of the destination and goes through all indices in order, so every
sum has the order of the indices whatever the number of threads. Wide rows are shared by columns,
which is even for any indices; narrow ones by ranges of destination rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from backpass.codegen import access, arithmetic
from backpass.codegen.blocks import CountedLoop, Loop, add_constant, branch, share
from backpass.codegen.text import BOOL, INT64, DType, Function, Module, Reg, constant
from backpass.codegen.workspace import Workspace
from backpass.loops import LANES, ScatterAdd

UNIT = 4 * LANES  # columns that are worked on at once
_WIDE = 4 * UNIT  # rows from this width on are shared by columns

# Writes part of a row: the first column and the alive lanes of each vector.
Part = Callable[[Reg, Sequence[int]], None]


def emit_scatter(module: Module, kernel: ScatterAdd, name: str) -> Workspace:
    """Add the function `name` of a verified kernel to a module; it needs no scratch."""
    parameters = "".join(f", ptr %b{i}" for i in range(len(kernel.buffers)))
    head = (
        f"define void @{name}(ptr %team, i64 %tid, i64 %n, ptr %scratch, ptr %status"
        f"{parameters}) #0"
    )
    f = Function(module, head)
    rows = prod(kernel.extents)
    units = -(-kernel.width // UNIT)
    own = _Own(constant(0, INT64), constant(rows, INT64), None)
    end = None
    if kernel.parallel:
        wide = kernel.width >= _WIDE
        first, last = share(f, units if wide else rows)
        some, end = branch(f, f.let(f"icmp slt {first}, {last.name}", BOOL))
        f.begin(some)
        own = _Own(own.first, own.last, (first, last)) if wide else _Own(first, last, None)
    _clear(f, kernel, own)
    _add_all(f, kernel, own)
    if end is not None:
        f.emit(f"br label %{end}")
        f.begin(end)
    f.emit("ret void")
    f.close()
    return Workspace()


@dataclass(frozen=True, slots=True)
class _Own:
    """What a thread owns: destination rows, and units of columns (None: all)."""

    first: Reg
    last: Reg
    units: tuple[Reg, Reg] | None


def _clear(f: Function, kernel: ScatterAdd, own: _Own) -> None:
    """Zeros in all that this thread owns."""
    dtype = kernel.buffers[kernel.out].dtype
    loop = Loop(f, [own.first])
    (row,) = loop.values
    target = row_pointer(f, kernel, kernel.out, row)

    def write(column: Reg, counts: Sequence[int]) -> None:
        for u, count in enumerate(counts):
            zero = constant(0, dtype, lanes_of(kernel))
            _store(f, zero, _at(f, dtype, target, column, u), count)

    columns(f, kernel.width, own.units, write)
    later = add_constant(f, row, 1)
    loop.close([later], f.let(f"icmp ne {later}, {own.last.name}", BOOL))


def _add_all(f: Function, kernel: ScatterAdd, own: _Own) -> None:
    """Every update whose row is this thread's."""
    dtype = kernel.buffers[kernel.out].dtype
    loop = CountedLoop(f, kernel.count, [1], [])
    position = loop.multiples[1]
    row, valid = _destination(f, kernel, position)
    below = f.let(f"sub i64 {row.name}, {own.first.name}", INT64)
    size = f.let(f"sub i64 {own.last.name}, {own.first.name}", INT64)
    inside = f.let(f"icmp ult {below}, {size.name}", BOOL)
    mine, after = branch(f, f.let(f"and {valid}, {inside.name}", BOOL))
    f.begin(mine)
    target = row_pointer(f, kernel, kernel.out, row)
    source = update_pointer(f, kernel, position)

    def write(column: Reg, counts: Sequence[int]) -> None:
        places = [_at(f, dtype, target, column, u) for u in range(len(counts))]
        for u, count in enumerate(counts):
            old = _load(f, dtype, places[u], lanes_of(kernel), count)
            new = load_update(f, kernel, source, column, u, count)
            _store(f, arithmetic.emit(f, "add", (old, new), dtype, None), places[u], count)

    columns(f, kernel.width, own.units, write)
    f.emit(f"br label %{after}")
    f.begin(after)
    loop.close([])


def _destination(f: Function, kernel: ScatterAdd, position: Reg) -> tuple[Reg, Reg]:
    """The row that the indices at a position mean, and whether all are in range."""
    row, valid = constant(0, INT64), constant(True, BOOL)
    for buffer, extent in zip(kernel.indices, kernel.extents, strict=True):
        place = access.offset_pointer(f, INT64, f"%b{buffer}", position)
        x, inside = access.wrapped(f, access.load_scalar(f, INT64, place), extent)
        # No nsw: the row of an invalid index is compared below, and must not be poison.
        row = f.let(f"mul {row}, {extent}", INT64)
        row = f.let(f"add {row}, {x.name}", INT64)
        valid = f.let(f"and {valid}, {inside.name}", BOOL)
    access.report_invalid(f, valid, 1)
    return row, valid


def update_pointer(f: Function, kernel: ScatterAdd, position: Reg) -> str:
    """Where the row of updates at a position begins."""
    terms: list[Reg] = []
    rest = position
    for n, stride in reversed(
        list(zip(kernel.counts[1:], kernel.updates.strides[1:-1], strict=True))
    ):
        above = f.let(f"udiv {rest}, {n}", INT64, hint="i")
        if stride:
            whole = f.let(f"mul nsw {above}, {n}", INT64, hint="i")
            own = f.let(f"sub nsw {rest}, {whole.name}", INT64, hint="i")
            terms.append(f.let(f"mul nsw {own}, {stride}", INT64, hint="i"))
        rest = above
    terms.append(f.let(f"mul nsw {rest}, {kernel.updates.strides[0]}", INT64, hint="i"))
    total = constant(kernel.updates.offset, INT64)
    for term in terms:
        total = f.let(f"add nsw {total}, {term.name}", INT64, hint="i")
    dtype = kernel.buffers[kernel.updates.buffer].dtype
    return access.offset_pointer(f, dtype, f"%b{kernel.updates.buffer}", total)


def load_update(f: Function, kernel: ScatterAdd, row: str, column: Reg, u: int, count: int) -> Reg:
    """Vector u from a column on, of a row of updates."""
    dtype, stride = kernel.buffers[kernel.updates.buffer].dtype, kernel.updates.strides[-1]
    if kernel.width == 1:
        return access.load_scalar(f, dtype, row)
    if stride not in (0, 1):
        column = f.let(f"mul nsw {column}, {stride}", INT64, hint="i")
    if stride:
        row = access.offset_pointer(f, dtype, row, column)
        row = access.offset_pointer(f, dtype, row, u * LANES * stride)
    return access.load_vector(f, dtype, row, stride, LANES, count)


def lanes_of(kernel: ScatterAdd) -> int:
    return 1 if kernel.width == 1 else LANES


def row_pointer(f: Function, kernel: ScatterAdd, buffer: int, row: Reg) -> str:
    start = f.let(f"mul nsw {row}, {kernel.width}", INT64, hint="i")
    return access.offset_pointer(f, kernel.buffers[buffer].dtype, f"%b{buffer}", start)


def _at(f: Function, dtype: DType, pointer: str, column: Reg, u: int) -> str:
    pointer = access.offset_pointer(f, dtype, pointer, column)
    return access.offset_pointer(f, dtype, pointer, u * LANES)


def _load(f: Function, dtype: DType, pointer: str, width: int, count: int) -> Reg:
    if width == 1:
        return access.load_scalar(f, dtype, pointer)
    return access.load_vector(f, dtype, pointer, 1, width, count)


def _store(f: Function, x: Reg, pointer: str, count: int) -> None:
    if x.width == 1:
        access.store_scalar(f, x, pointer)
    else:
        access.store_vector(f, x, pointer, 1, count)


def columns(f: Function, width: int, units: tuple[Reg, Reg] | None, write: Part) -> None:
    """All columns of a row, or those of a range of units."""
    whole, rest = divmod(width, UNIT)
    left = [LANES] * (rest // LANES) + ([rest % LANES] if rest % LANES else [])
    full = [LANES] * (UNIT // LANES)
    if units is None:
        if whole:
            loop = CountedLoop(f, whole, [UNIT], [])
            write(loop.multiples[UNIT], full)
            loop.close([])
        if left:
            write(constant(whole * UNIT, INT64), left)
        return
    first, last = units
    stop = f.let(f"call i64 @llvm.smin.i64({last}, i64 {whole})", INT64)
    f.module.declare("declare i64 @llvm.smin.i64(i64, i64)")
    some, none = branch(f, f.let(f"icmp slt {first}, {stop.name}", BOOL))
    f.begin(some)
    unit_loop = Loop(f, [first])
    (unit,) = unit_loop.values
    write(f.let(f"mul nsw {unit}, {UNIT}", INT64), full)
    later = add_constant(f, unit, 1)
    unit_loop.close([later], f.let(f"icmp ne {later}, {stop.name}", BOOL))
    f.emit(f"br label %{none}")
    f.begin(none)
    if left:
        tail, done = branch(f, f.let(f"icmp sgt {last}, {whole}", BOOL))
        f.begin(tail)
        write(constant(whole * UNIT, INT64), left)
        f.emit(f"br label %{done}")
        f.begin(done)
