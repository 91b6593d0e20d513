"""The schedule of a LoopKernel: which axis takes the lanes, how many vectors at once, and threads.

The choice follows from the kernel alone (never from the machine or its threads), so bits do not
depend on where a program was compiled. Costs are in instructions on vectors of LANES lanes,
measured on Zen 4: lanes at unit stride are one, lanes at any other are moved one by one.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod

from backpass.codegen.nest import access_of
from backpass.codegen.tile import tile_map, turned_loads
from backpass.loops import LANES, LoopKernel, Op, Schedule, Space

# Instructions of an elementwise op that takes more than a few.
_COSTS = {
    **dict.fromkeys(("div", "sqrt", "reciprocal", "floor_divide", "remainder", "fmod"), 8),
    **dict.fromkeys(("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logistic"), 20),
    **dict.fromkeys(("tanh", "sin", "cos", "sinh", "cosh", "erf", "log_ndtr"), 25),
    **dict.fromkeys(("power", "tan", "arctan2", "logaddexp", "hypot", "erfinv", "lgamma"), 60),
}
_LANE = 1.5  # a lane that is moved by itself
_LATENCY = 4  # a step of a reduction without lanes, which waits for the one before
_TURNED = 5  # a vector of a tile
_SQUARE = 14  # of a square in a loop over a row, beside what else a join of lanes is taken to cost
_JOIN = 25  # the join of the lanes of a reduction
_SCRATCH = 1 << 15  # bytes of scratch that stay in the nearest cache
_PARALLEL = 8000  # about 2 microseconds: from here on threads are worth their start
BESIDE = 4000  # the same where threads are together anyway: only a barrier is to pay
_SHARES = 4


def chosen(kernel: LoopKernel, parallel: bool, least: float | None = None) -> LoopKernel:
    """The kernel with its cheapest schedule; threads share it if `parallel` allows it.

    Args:
        least: instructions from which on it is shared; by default what a start of threads costs.
    """
    if kernel.extents:
        least_cost, vector, unroll = _known(replace(kernel, name="", schedule=Schedule()))
    else:  # it may be long, and no other is equal
        least_cost, vector, unroll = _cheapest(kernel)
    parallel = parallel and least_cost >= (_PARALLEL if least is None else least)
    if parallel and vector is not None and vector < kernel.outer:
        unroll = min(unroll, _shares(kernel, vector))
    return replace(kernel, schedule=Schedule(vector, unroll, parallel))


def _cheapest(kernel: LoopKernel) -> tuple[float, int | None, int]:
    """The cost of a kernel of any name with its best axis for lanes, that axis, how many at once.

    The numbers of its constants decide nothing here: 1 and True may be one.
    """
    axes: list[int | None] = [None, *range(max(kernel.outer - 1, 0), len(kernel.extents))]
    least_cost, vector = min(
        ((_cost(kernel, axis), axis) for axis in axes if _allowed(kernel, axis)),
        key=lambda pair: pair[0],
    )
    return least_cost, vector, 1 if vector is None else _unroll(kernel, vector)


_known = lru_cache(maxsize=256)(_cheapest)  # layers of a network have equal kernels


def _shares(kernel: LoopKernel, vector: int) -> int:
    """How many vectors at once leave a few shares for threads."""
    others = prod(kernel.extents[: kernel.outer]) // kernel.extents[vector]
    vectors = -(-kernel.extents[vector] // LANES)
    return max(1, others * vectors // _SHARES)


def _allowed(kernel: LoopKernel, axis: int | None) -> bool:
    if axis is None:
        return True
    if kernel.extents[axis] == 1:
        return False
    if axis < kernel.outer:
        return kernel.clip is None or kernel.clip.outer != axis
    return not any(op.code == "scan" for op in kernel.ops)


def cost(kernel: LoopKernel) -> float:
    """Instructions of the whole kernel as it is scheduled."""
    return _cost(kernel, kernel.schedule.vector)


def _cost(kernel: LoopKernel, vector: int | None) -> float:
    """Instructions of the whole kernel with lanes along an axis."""
    outer_points, points = _visits(kernel, vector)
    turned = vector is not None and _is_tiled(kernel, vector)
    rows = vector is not None and vector < kernel.outer
    total = 0.0
    for stage in kernel.stages:
        squares = frozenset[int]() if vector is None else turned_loads(kernel, stage, vector)
        for k, op in enumerate(stage.ops):
            lanes = vector if stage.loops or rows else None
            each = _SQUARE if k in squares else _op_cost(kernel, op, lanes, turned)
            total += each * (points if stage.loops else outer_points)
            if op.code == "reduce" and vector is not None and not rows:
                total += _JOIN * outer_points
    if rows and _scratch_bytes(kernel) * LANES > _SCRATCH:
        total *= 2
    return total


def _visits(kernel: LoopKernel, vector: int | None) -> tuple[int, int]:
    """How often a stage without loops runs, and the points of one with loops, vectors as one."""
    counts = list(kernel.extents)
    if vector is not None:
        counts[vector] = -(-counts[vector] // LANES)
    outer_points = points = 1
    for axis, count in enumerate(counts):
        points *= count
        outer_points *= count if axis < kernel.outer else 1
    return outer_points, points


def _is_tiled(kernel: LoopKernel, vector: int) -> bool:
    return tile_map(replace(kernel, schedule=Schedule(vector))) is not None


def _op_cost(kernel: LoopKernel, op: Op, vector: int | None, turned: bool) -> float:
    match op.code:
        case "const" | "index":
            return 0
        case "load" | "store" | "load_at":
            return _access_cost(kernel, op, vector, turned)
        case "reduce" | "scan" if vector is None:
            return _LATENCY
        case _:
            return _COSTS.get(op.code, 1)


def _access_cost(kernel: LoopKernel, op: Op, vector: int | None, turned: bool) -> float:
    access = access_of(op)
    if vector is None:
        return 1
    rows = vector < kernel.outer
    if rows and kernel.buffers[access.buffer].space is Space.SCRATCH:
        return 1
    if op.code == "load_at" and (rows or not _is_shared(kernel, op, vector)):
        return _LANE * LANES
    stride = abs(access.strides[vector])
    if stride <= 1:
        return 1
    if turned:
        return _TURNED
    if stride <= 4 and op.dtype.itemsize <= 4:
        return 2 * stride
    return _LANE * LANES


def _is_shared(kernel: LoopKernel, op: Op, vector: int) -> bool:
    """Whether all lanes have the same index: it is loaded once for them."""
    ops = [o for stage in kernel.stages for o in stage.ops]
    pending, seen = list(op.args), set[int]()
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        other = ops[number]
        pending += other.args
        if other.code == "index" and other.param == vector:
            return False
        if other.code in ("load", "load_at") and access_of(other).strides[vector]:
            return False
    return True


def _scratch_bytes(kernel: LoopKernel) -> int:
    return sum(b.size * b.dtype.itemsize for b in kernel.buffers if b.space is Space.SCRATCH)


def _unroll(kernel: LoopKernel, vector: int) -> int:
    """Vectors at once: enough reductions to hide their latency, few where code is long anyway.

    Column sums take eight, so that each row of a wide matrix gives whole lines. Rows that are
    turned take one: a square of 8 x 16 fills the registers.
    """
    if any([turned_loads(kernel, stage, vector) for stage in kernel.stages]):
        return 1
    ops = kernel.ops
    each = sum(_op_cost(kernel, op, vector, False) for op in ops)
    reduces = any(op.code == "reduce" for op in ops)
    if each > 60:
        best = 2 if reduces else 1
    else:
        best = 4 if reduces else 2
    if vector < kernel.outer:
        if reduces and each < 8 and kernel.extents[vector] >= 512:
            best = 8
        while best > 1 and _scratch_bytes(kernel) * LANES * best > _SCRATCH:
            best //= 2
    vectors = -(-kernel.extents[vector] // LANES)
    return min(best, vectors)
