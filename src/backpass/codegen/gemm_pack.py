"""Packing: a panel of an operand copied into scratch so that tiles read it as one stream.

A packed panel holds, for each step of the depth, `padded` elements: the panel's own, then zeros. A
panel whose items are neighbours is copied by vectors, one whose depths are neighbours is transposed
in registers a square of vectors at a time, any other is copied element by element.
"""

from __future__ import annotations

from dataclasses import dataclass

from backpass.codegen.access import load_vector, store_vector
from backpass.codegen.counted import Index, counted, counted_or_empty, over, times
from backpass.codegen.gemm_tile import Stream, at, columns_of
from backpass.codegen.text import DType, Function, Reg, constant, llvm_type


@dataclass(frozen=True, slots=True)
class Panel:
    """`width` items side by side, `padded` of them once packed; vectors of `lanes`."""

    dtype: DType
    width: int
    padded: int
    lanes: int


def pack(f: Function, panel: Panel, source: Stream, target: str, depth: Index) -> Stream:
    """Copy `depth` steps of a panel; gives the packed one."""
    size = panel.dtype.itemsize
    packed = Stream(target, size, panel.padded * size)
    if depth == 0:
        return packed
    if source.item == size or panel.width == 1:
        _copy(f, panel, source, packed, depth)
    elif source.depth == size:
        _transpose(f, panel, source, packed, depth)
    else:
        _gather(f, panel, source, packed, depth)
    return packed


def _copy(f: Function, panel: Panel, source: Stream, packed: Stream, depth: Index) -> None:
    wanted = columns_of(panel.width, panel.lanes)
    with counted(f, 0, depth) as k:
        for v in range(panel.padded // panel.lanes):
            item = v * panel.lanes
            if v < len(wanted):
                pointer = at(f, source.pointer, (k, source.depth), (item, source.item))
                value = load_vector(f, panel.dtype, pointer, 1, panel.lanes, wanted[v])
            else:
                value = constant(0, panel.dtype, panel.lanes)
            pointer = at(f, packed.pointer, (k, packed.depth), (item, packed.item))
            store_vector(f, value, pointer, 1, panel.lanes)


def _gather(f: Function, panel: Panel, source: Stream, packed: Stream, depth: Index) -> None:
    element = llvm_type(panel.dtype)
    with counted(f, 0, depth) as k:
        with counted(f, 0, panel.width) as item:
            pointer = at(f, source.pointer, (k, source.depth), (item, source.item))
            value = f.let(f"load {element}, ptr {pointer}", panel.dtype)
            f.emit(f"store {value}, ptr {_packed_item(f, packed, k, item)}")
        if panel.padded > panel.width:
            with counted(f, panel.width, panel.padded) as item:
                zero = constant(0, panel.dtype)
                f.emit(f"store {zero}, ptr {_packed_item(f, packed, k, item)}")


def _packed_item(f: Function, packed: Stream, k: Index, item: Index) -> str:
    return at(f, packed.pointer, (k, packed.depth), (item, packed.item))


def _transpose(f: Function, panel: Panel, source: Stream, packed: Stream, depth: Index) -> None:
    """Squares of lanes x lanes; the last depths, fewer than lanes, one by one if not known."""
    lanes = panel.lanes
    wanted = columns_of(panel.width, lanes)
    full = over(f, depth, lanes)
    for v in range(panel.padded // lanes):
        have = wanted[v] if v < len(wanted) else 0
        first = at(f, source.pointer, (v * lanes, source.item))
        column = Stream(first, source.item, source.depth)
        target = Stream(at(f, packed.pointer, (v * lanes, packed.item)), packed.item, packed.depth)
        if full != 0:
            with counted_or_empty(f, 0, full) as block:
                k = times(f, block, lanes)
                _square(f, panel, column, target, k, have, lanes)
        done = times(f, full, lanes)
        if isinstance(depth, int):
            if depth % lanes:
                _square(f, panel, column, target, done, have, depth % lanes)
        else:
            _remaining(f, panel, column, target, (done, depth), have)


def _square(
    f: Function, panel: Panel, source: Stream, packed: Stream, k: Index, have: int, depths: int
) -> None:
    """Transpose `have` items by `depths` steps from step `k` on."""
    rows: list[Reg] = []
    for item in range(panel.lanes):
        if item < have:
            pointer = at(f, source.pointer, (k, source.depth), (item, source.item))
            rows.append(load_vector(f, panel.dtype, pointer, 1, panel.lanes, depths))
        else:
            rows.append(constant(0, panel.dtype, panel.lanes))
    for step, row in enumerate(transpose_registers(f, rows)[:depths]):
        pointer = at(f, packed.pointer, (k, packed.depth), (step, packed.depth))
        store_vector(f, row, pointer, 1, panel.lanes)


def _remaining(
    f: Function,
    panel: Panel,
    source: Stream,
    packed: Stream,
    depths: tuple[Index, Index],
    have: int,
) -> None:
    element = llvm_type(panel.dtype)
    with counted_or_empty(f, *depths) as k:
        for item in range(panel.lanes):
            value = constant(0, panel.dtype)
            if item < have:
                pointer = at(f, source.pointer, (k, source.depth), (item, source.item))
                value = f.let(f"load {element}, ptr {pointer}", panel.dtype)
            f.emit(f"store {value}, ptr {_packed_item(f, packed, k, item)}")


def transpose_registers(f: Function, rows: list[Reg]) -> list[Reg]:
    """The transpose of n vectors of n lanes, in moves that every machine has.

    First 16-byte blocks change places, by rounds that take the even and the odd ones of two
    vectors, then the elements inside each block, by rounds that interleave two vectors.
    """
    n, size = len(rows), rows[0].dtype.itemsize
    inside = min(n, 16 // size)
    blocks = n // inside
    moved = [_transpose_blocks(f, rows[s::inside], inside) for s in range(inside)]
    result: list[Reg] = []
    for block in range(blocks):
        result += _transpose_inside(f, [column[block] for column in moved], inside)
    return result


def _transpose_blocks(f: Function, rows: list[Reg], block: int) -> list[Reg]:
    """`rows` are as many as the blocks of `block` elements in each of them."""
    count, n = len(rows), rows[0].width
    places = list(range(2 * n))
    pieces = [places[i : i + block] for i in range(0, 2 * n, block)]
    even, odd = [[i for piece in pieces[first::2] for i in piece] for first in (0, 1)]
    for _ in range(count.bit_length() - 1):
        pairs = list(zip(rows[::2], rows[1::2], strict=True))
        rows = [_shuffle(f, a, b, even) for a, b in pairs] + [
            _shuffle(f, a, b, odd) for a, b in pairs
        ]
    return rows


def _transpose_inside(f: Function, rows: list[Reg], block: int) -> list[Reg]:
    """`rows` are as many as the elements of a block."""
    n, half = rows[0].width, block // 2
    low: list[int] = []
    high: list[int] = []
    for start in range(0, n, block):
        for i in range(half):
            low += [start + i, n + start + i]
            high += [start + half + i, n + start + half + i]
    for _ in range(block.bit_length() - 1):
        done: list[Reg] = []
        for a, b in zip(rows[:half], rows[half:], strict=True):
            done += [_shuffle(f, a, b, low), _shuffle(f, a, b, high)]
        rows = done
    return rows


def _shuffle(f: Function, a: Reg, b: Reg, places: list[int]) -> Reg:
    mask = ", ".join(f"i32 {place}" for place in places)
    text = f"shufflevector {a}, {b}, <{len(places)} x i32> <{mask}>"
    return f.let(text, a.dtype, len(places))
