"""Tiles: maps that read along one axis and write along another, as blocks turned in registers.

Where lanes go along axis v, an access whose unit stride is along another axis w would take its
lanes one by one. `tile_map` hands such a map on with w and v as its last two axes, and a tile of w
positions by LANES v positions is worked on at once: each such access moves whole vectors along w,
which a network of shuffles turns (Eklundh 1972).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backpass.codegen import access
from backpass.codegen.text import DType, Function, Reg, constant
from backpass.loops import LANES, Access, Indexed, LoopKernel, Op, Schedule, Space, Stage

_LEAST = 8  # extents below are not worth a tile
_AHEAD = 8192  # bytes from what is read to what is asked for
_LINE = 64


def tile_map(kernel: LoopKernel) -> LoopKernel | None:
    """The kernel with axes (..., w, v), of which v is inner and w its tile; None if not needed.

    Its `unroll` is the number of w positions in a tile.
    """
    vector = kernel.schedule.vector
    if vector is None or not _is_plain_map(kernel) or kernel.extents[vector] < _LEAST:
        return None
    ops = kernel.stages[0].ops
    crossing = [op for op in ops if _crosses(op, vector)]
    axis = _tile_axis(kernel, crossing, vector)
    if axis is None:
        return None
    rank = len(kernel.extents)
    order = [a for a in range(rank) if a not in (axis, vector)] + [axis, vector]
    rows = square_size(crossing)
    moved = tuple(_moved_op(op, order) for op in ops)
    return replace(
        kernel,
        extents=tuple(kernel.extents[a] for a in order),
        outer=rank - 1,
        stages=(Stage(True, moved),),
        schedule=Schedule(rank - 1, rows, kernel.schedule.parallel, kernel.schedule.band),
    )


def square_size(ops: Sequence[Op]) -> int:
    """Vectors that are turned at once: as many as a register of the widest has lanes, or half."""
    return LANES if max(op.dtype.itemsize for op in ops) <= 4 else LANES // 2


def turned_loads(kernel: LoopKernel, stage: Stage, vector: int) -> frozenset[int]:
    """Which ops of a stage are loads that lanes would take one by one, and rows along the innermost
    loop would not: the lanes are outer iterations and the unit stride is along the last axis.
    """
    last = len(kernel.extents) - 1
    loops = stage.loops and vector < kernel.outer <= last
    if not loops or kernel.extents[last] < _LEAST or kernel.extents[vector] < _LEAST:
        return frozenset()
    clipped = kernel.clip is not None and last == kernel.clip.inner
    if clipped or any(op.code == "scan" for op in stage.ops):
        return frozenset()
    found = [k for k, op in enumerate(stage.ops) if _is_turnable(kernel, op, vector, last)]
    return frozenset(found)


def _is_turnable(kernel: LoopKernel, op: Op, vector: int, last: int) -> bool:
    if op.code != "load" or op.args or op.dtype.itemsize < 4:
        return False
    place: Access = op.param
    memory = kernel.buffers[place.buffer].space is Space.MEMORY
    return memory and place.strides[last] == 1 and abs(place.strides[vector]) > 4


def _is_plain_map(kernel: LoopKernel) -> bool:
    """Whether every point of the domain is computed by itself."""
    if len(kernel.stages) != 1 or kernel.clip is not None:
        return False
    stage = kernel.stages[0]
    if not stage.loops and kernel.outer < len(kernel.extents):
        return False
    memory = all(b.space is Space.MEMORY for b in kernel.buffers)
    return memory and all(op.code not in ("reduce", "scan") for op in stage.ops)


def _crosses(op: Op, vector: int) -> bool:
    """Whether an op would take its lanes one by one."""
    return op.code in ("load", "store") and abs(op.param.strides[vector]) > 1


def _tile_axis(kernel: LoopKernel, crossing: Sequence[Op], vector: int) -> int | None:
    """The axis along which most of the crossing accesses have unit stride."""
    votes = [0] * len(kernel.extents)
    for op in crossing:
        for axis, stride in enumerate(op.param.strides):
            if stride == 1 and kernel.extents[axis] >= _LEAST:
                votes[axis] += 1
    votes[vector] = 0
    best = max(range(len(votes)), key=votes.__getitem__)
    return best if votes[best] else None


def _moved_op(op: Op, order: Sequence[int]) -> Op:
    match op.param:
        case Access():
            return replace(op, param=_moved_access(op.param, order))
        case Indexed():
            return replace(
                op, param=replace(op.param, access=_moved_access(op.param.access, order))
            )
        case _ if op.code == "index":
            return replace(op, param=order.index(op.param))
        case _:
            return op


def _moved_access(place: Access, order: Sequence[int]) -> Access:
    return replace(place, strides=tuple(place.strides[a] for a in order))


def load_turned(
    f: Function, dtype: DType, pointer: str, stride: int, tile: int, rows: int, count: int
) -> list[Reg]:
    """`rows` vectors, of which vector u has lane k from `pointer + k * stride + u`.

    Memory is touched for the first `count` lanes alone.
    """
    kept = access.stored_type(dtype)
    lines: list[Reg] = []
    for k in range(LANES):
        if k < count:
            place = access.offset_pointer(f, dtype, pointer, k * stride)
            lines.append(access.load_vector(f, kept, place, 1, tile, rows))
        else:
            lines.append(constant(0, kept, tile))
    groups = [_turned(f, lines[k : k + tile]) for k in range(0, LANES, tile)]
    joined = [_concatenated(f, [group[u] for group in groups]) for u in range(rows)]
    return [access.from_memory(f, x, dtype) for x in joined]


def ask_ahead(f: Function, op: Op, pointer: str, block: int, step: int) -> None:
    """Ask for `step` elements in their order in memory, some blocks of rows ahead.

    Short runs with gaps between them, as squares are loaded by, are no stream that a machine
    foresees: rows of 50 float64 came from memory at 5 GB/s, and asked for like this at 20.
    """
    size = op.dtype.itemsize
    far = op.param.offset + block * -(-_AHEAD // (block * size))
    for k in range(0, step, _LINE // size):
        access.prefetch(f, access.offset_pointer(f, op.dtype, pointer, far + k))


def store_turned(
    f: Function, vectors: Sequence[Reg], pointer: str, stride: int, tile: int, count: int
) -> None:
    """Lane k of vector u to `pointer + k * stride + u`, for the first `count` lanes."""
    kept = [access.to_memory(f, x) for x in vectors]
    dtype = kept[0].dtype
    kept += [constant(0, dtype, LANES)] * (tile - len(kept))
    for first in range(0, count, tile):
        lines = _turned(f, [_lanes(f, x, first, tile) for x in kept])
        for k in range(first, min(first + tile, count)):
            place = access.offset_pointer(f, dtype, pointer, k * stride)
            access.store_vector(f, lines[k - first], place, 1, len(vectors))


def _turned(f: Function, lines: list[Reg]) -> list[Reg]:
    """The transpose of n vectors of n lanes: blocks of 1, 2, 4, ... change places."""
    n = len(lines)
    lines = list(lines)
    distance = n // 2
    while distance:
        low = [k if not k & distance else n + k - distance for k in range(n)]
        high = [k + distance if not k & distance else n + k for k in range(n)]
        for i in range(n):
            if not i & distance:
                a, b = lines[i], lines[i + distance]
                lines[i], lines[i + distance] = (
                    access.shuffled(f, a, b, low),
                    access.shuffled(f, a, b, high),
                )
        distance //= 2
    return lines


def _lanes(f: Function, x: Reg, first: int, count: int) -> Reg:
    return x if count == x.width else access.shuffled(f, x, x, range(first, first + count))


def _concatenated(f: Function, parts: Sequence[Reg]) -> Reg:
    if len(parts) == 1:
        return parts[0]
    return access.shuffled(f, parts[0], parts[1], range(2 * parts[0].width))
