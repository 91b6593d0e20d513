"""Packing: a panel of an operand copied into scratch so that tiles read it as one stream.

A packed panel holds, for each step of the depth, `padded` elements: the panel's own, zeros up to a
whole vector, and gaps. A panel whose items are neighbours is copied by vectors, one whose depths
are neighbours is transposed in registers a square of vectors at a time, any other is copied element
by element.
"""

from __future__ import annotations

from dataclasses import dataclass

from backpass.codegen.access import load_scalar, load_vector, store_scalar, store_vector
from backpass.codegen.counted import Index, counted, counted_or_empty, over, times
from backpass.codegen.gemm_tile import Stream, at, columns_of
from backpass.codegen.text import DType, Function, Reg, constant


@dataclass(frozen=True, slots=True)
class Panel:
    """`width` items side by side, `padded` elements apart from step to step; vectors of `lanes`."""

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
    with counted(f, 0, depth) as k:
        for v, wanted in enumerate(columns_of(panel.width, panel.lanes)):
            item = v * panel.lanes
            pointer = at(f, source.pointer, (k, source.depth), (item, source.item))
            value = load_vector(f, panel.dtype, pointer, 1, panel.lanes, wanted)
            pointer = at(f, packed.pointer, (k, packed.depth), (item, packed.item))
            store_vector(f, value, pointer, 1, panel.lanes)


def _gather(f: Function, panel: Panel, source: Stream, packed: Stream, depth: Index) -> None:
    zero = constant(0, panel.dtype)
    with counted(f, 0, depth) as k:
        with counted(f, 0, panel.width) as item:
            value = _element(f, panel, source, k, item)
            store_scalar(f, value, at(f, packed.pointer, (k, packed.depth), (item, packed.item)))
        for item in range(panel.width, -(-panel.width // panel.lanes) * panel.lanes):
            store_scalar(f, zero, at(f, packed.pointer, (k, packed.depth), (item, packed.item)))


def _element(f: Function, panel: Panel, source: Stream, k: Index, item: Index) -> Reg:
    place = at(f, source.pointer, (k, source.depth), (item, source.item))
    return load_scalar(f, panel.dtype, place)


def _transpose(f: Function, panel: Panel, source: Stream, packed: Stream, depth: Index) -> None:
    full, partial = divmod(panel.width, panel.lanes)
    if full:
        with counted(f, 0, full) as v:
            _transpose_vector(f, panel, source, packed, depth, times(f, v, panel.lanes))
    if partial:
        last = Panel(panel.dtype, partial, panel.padded, panel.lanes)
        _transpose_vector(f, last, source, packed, depth, full * panel.lanes)


def _transpose_vector(
    f: Function, panel: Panel, source: Stream, packed: Stream, depth: Index, item: Index
) -> None:
    """A vector's width of the panel, from `item` on: squares, then the depths that are left."""
    lanes = panel.lanes
    source = Stream(at(f, source.pointer, (item, source.item)), source.item, source.depth)
    packed = Stream(at(f, packed.pointer, (item, packed.item)), packed.item, packed.depth)
    full = over(f, depth, lanes)
    if full != 0:
        with counted_or_empty(f, 0, full) as block:
            _square(f, panel, source, packed, times(f, block, lanes), lanes)
    done = times(f, full, lanes)
    if isinstance(depth, int):
        if depth % lanes:
            _square(f, panel, source, packed, done, depth % lanes)
    else:
        with counted_or_empty(f, done, depth) as k:
            _spread_items(f, panel, source, packed, k)


def _square(
    f: Function, panel: Panel, source: Stream, packed: Stream, k: Index, depths: int
) -> None:
    """Transpose the panel's items, no more than lanes, by `depths` steps from step `k` on."""
    rows = [constant(0, panel.dtype, panel.lanes)] * panel.lanes
    for item in range(min(panel.width, panel.lanes)):
        pointer = at(f, source.pointer, (k, source.depth), (item, source.item))
        rows[item] = load_vector(f, panel.dtype, pointer, 1, panel.lanes, depths)
    for step, row in enumerate(transpose_registers(f, rows)[:depths]):
        pointer = at(f, packed.pointer, (k, packed.depth), (step, packed.depth))
        store_vector(f, row, pointer, 1, panel.lanes)


def _spread_items(f: Function, panel: Panel, source: Stream, packed: Stream, k: Index) -> None:
    """The same for one step of the depth, element by element."""
    for item in range(panel.lanes):
        value = constant(0, panel.dtype)
        if item < panel.width:
            value = _element(f, panel, source, k, item)
        store_scalar(f, value, at(f, packed.pointer, (k, packed.depth), (item, packed.item)))


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
