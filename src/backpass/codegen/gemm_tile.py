"""The micro-kernel of a product: a tile of accumulators, all in registers, over the whole depth.

One step along the depth loads the vectors of a row of y, and for each row of the tile spreads one
element of x over a vector and adds their products. An element has one accumulator and its terms are
added in the order of the depth, so its bits do not depend on the tile it is in. Written as it
should run: LLVM folds the addresses into the instructions and has nothing to optimise.
"""

from __future__ import annotations

from dataclasses import dataclass

from backpass.codegen.access import load_scalar, load_vector, splat, suffix
from backpass.codegen.counted import Index, address, plus, times
from backpass.codegen.text import DType, Function, Reg, constant, llvm_type


@dataclass(frozen=True, slots=True)
class Stream:
    """Where a tile's operand lies: `pointer` is its first element, strides are in bytes.

    `item` leads from row to row (x) or from column to column (y), `depth` along the depth.
    """

    pointer: str
    item: int
    depth: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows of a tile, and for each of its vectors how many lanes of `lanes` are wanted."""

    dtype: DType
    rows: int
    lanes: int
    wanted: tuple[int, ...]
    fused: bool  # the machine has FMA instructions


Tile = list[list[Reg]]


def columns_of(width: int, lanes: int) -> tuple[int, ...]:
    """The lanes wanted of each vector of a panel `width` columns wide."""
    return tuple(min(lanes, width - at) for at in range(0, width, lanes))


def multiply(
    f: Function, shape: Shape, x: Stream, y: Stream, depth: Index, unroll: int, padded: bool
) -> Tile:
    """The tile of sums over `depth` steps; `padded` says that all lanes of y may be read."""
    zero = constant(0, shape.dtype, shape.lanes)
    tile: Tile = [[zero] * len(shape.wanted) for _ in range(shape.rows)]
    if isinstance(depth, int):
        loops, left = divmod(depth, unroll)
    else:
        loops, left, unroll = depth, 0, 1
    xp, yp = x.pointer, y.pointer
    if loops != 0 and loops != 1:
        tile, xp, yp = _loop(f, shape, x, y, loops, unroll, padded)
    elif loops == 1:
        left += unroll
    for step in range(left):
        tile = _step(f, shape, tile, x, y, (xp, yp), step, padded)
    return tile


def _loop(
    f: Function, shape: Shape, x: Stream, y: Stream, loops: Index, unroll: int, padded: bool
) -> tuple[Tile, str, str]:
    before, head, done = f.block, f.label("depth"), f.label("summed")
    sums = [[f.fresh("a") for _ in row] for row in _grid(shape)]
    counter, following = f.fresh("k"), f.fresh("k")
    xp, yp, x_next, y_next = f.fresh("x"), f.fresh("y"), f.fresh("x"), f.fresh("y")
    start = len(f.lines) + 2
    f.emit(f"br label %{head}")
    f.begin(head)
    f.emit(f"{counter} = phi i64 [ 0, %{before} ], [ {following}, %{head} ]")
    f.emit(f"{xp} = phi ptr [ {x.pointer}, %{before} ], [ {x_next}, %{head} ]")
    f.emit(f"{yp} = phi ptr [ {y.pointer}, %{before} ], [ {y_next}, %{head} ]")
    start = len(f.lines)
    tile: Tile = [[Reg(name, shape.dtype, shape.lanes) for name in row] for row in sums]
    for step in range(unroll):
        tile = _step(f, shape, tile, x, y, (xp, yp), step, padded)
    vector = llvm_type(shape.dtype, shape.lanes)
    f.lines[start:start] = [
        f"  {name} = phi {vector} [ zeroinitializer, %{before} ], [ {reg.name}, %{head} ]"
        for names, regs in zip(sums, tile, strict=True)
        for name, reg in zip(names, regs, strict=True)
    ]
    f.emit(f"{x_next} = getelementptr i8, ptr {xp}, i64 {x.depth * unroll}")
    f.emit(f"{y_next} = getelementptr i8, ptr {yp}, i64 {y.depth * unroll}")
    f.emit(f"{following} = add nuw nsw i64 {counter}, 1")
    again = f.let_raw(f"icmp ult i64 {following}, {loops}", "c")
    f.emit(f"br i1 {again}, label %{head}, label %{done}")
    f.begin(done)
    return tile, x_next, y_next


def _grid(shape: Shape) -> list[list[int]]:
    return [list(shape.wanted) for _ in range(shape.rows)]


def _step(
    f: Function,
    shape: Shape,
    tile: Tile,
    x: Stream,
    y: Stream,
    at: tuple[str, str],
    step: int,
    padded: bool,
) -> Tile:
    xp, yp = at
    lanes, dtype = shape.lanes, shape.dtype
    row: list[Reg] = []
    for v, wanted in enumerate(shape.wanted):
        pointer = address(f, yp, step * y.depth + v * lanes * y.item)
        row.append(load_vector(f, dtype, pointer, 1, lanes, lanes if padded else wanted))
    result: Tile = []
    for r in range(shape.rows):
        pointer = address(f, xp, step * x.depth + r * x.item)
        spread = splat(f, load_scalar(f, dtype, pointer), lanes)
        result.append([_madd(f, shape, spread, y_, a) for y_, a in zip(row, tile[r], strict=True)])
    return result


def _madd(f: Function, shape: Shape, a: Reg, b: Reg, c: Reg) -> Reg:
    if not shape.fused:
        product = f.let(f"fmul {a}, {b.name}", a.dtype, a.width)
        return f.let(f"fadd {c}, {product.name}", a.dtype, a.width)
    name = f"@llvm.fma.{suffix(a.dtype, a.width)}"
    f.module.declare(f"declare {a.type} {name}({a.type}, {a.type}, {a.type})")
    return f.let(f"call {a.type} {name}({a}, {b}, {c})", a.dtype, a.width)


def at(f: Function, pointer: str, *steps: tuple[Index, int]) -> str:
    """`pointer` and for each (index, stride in bytes) that many bytes on."""
    known = sum(index * stride for index, stride in steps if isinstance(index, int))
    offset: Index = 0
    for index, stride in steps:
        if not isinstance(index, int):
            offset = plus(f, offset, times(f, index, stride))
    return address(f, address(f, pointer, offset), known)
