"""LoopKernel to LLVM text: the function, its share of the outer iterations, and their versions.

The outer loops run as one loop over flattened iterations, so that threads take ranges of them;
where lanes are rows, an iteration is a block of rows. What differs in the last block (rows that are
left over, or an inner axis that is clipped) is a version of the body of its own, chosen by a
branch, so that inside a body every extent is a constant. Next: `stages.py` writes a body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from backpass.codegen.access import stored_type
from backpass.codegen.blocks import Loop, add_constant, branch, lane_counts, share
from backpass.codegen.nest import Plan, plan_loops
from backpass.codegen.stages import Body
from backpass.codegen.text import BOOL, INT64, Function, Module, Reg, constant
from backpass.codegen.workspace import Workspace, aligned
from backpass.loops import LoopKernel, Space


def emit_loops(
    module: Module,
    kernel: LoopKernel,
    name: str,
    *,
    linkage: str = "",
    calls: frozenset[str] = frozenset(),
) -> Workspace:
    """Add the function `name` of a verified kernel to a module; the scratch that it needs.

    Args:
        linkage: "internal " for a function that the module alone calls.
        calls: the operations that are called rather than written out (`Function.calls`).
    """
    plan = plan_loops(kernel)
    memory = [k for k, b in enumerate(kernel.buffers) if b.space is Space.MEMORY]
    numbers = {k: i for i, k in enumerate(memory)}
    parameters = "".join(f", ptr %b{i}" for i in range(len(memory)))
    head = (
        f"define {linkage}void @{name}(ptr %team, i64 %tid, i64 %n, ptr %scratch, ptr %status"
        f"{parameters}) #0"
    )
    f = Function(module, head, calls)
    offsets, size = _scratch_layout(plan)
    base = _scratch_base(f, kernel, size)
    buffers = [
        f"%b{numbers[k]}" if k in numbers else f.let_raw(f"getelementptr i8, ptr {base}, i64 {at}")
        for k, at in enumerate(offsets)
    ]
    _outer_loop(f, plan, buffers)
    f.emit("ret void")
    f.close()
    return Workspace(0, size)


def _scratch_layout(plan: Plan) -> tuple[list[int], int]:
    """The byte offset of each scratch buffer in a thread's part, and the size of the part."""
    lanes = plan.block if plan.rows else 1
    offsets: list[int] = []
    size = 0
    for buffer in plan.kernel.buffers:
        offsets.append(size)
        if buffer.space is Space.SCRATCH:
            size += aligned(buffer.size * lanes * stored_type(buffer.dtype).itemsize)
    return offsets, size


def _scratch_base(f: Function, kernel: LoopKernel, size: int) -> str:
    if not size or not kernel.schedule.parallel:
        return "%scratch"
    at = f.let(f"mul nsw i64 %tid, {size}", INT64, hint="i")
    return f.let_raw(f"getelementptr i8, ptr %scratch, {at}")


@dataclass(frozen=True, slots=True)
class _Outer:
    """The outer axes that are visited, with how many iterations each has."""

    axes: tuple[int, ...]
    counts: tuple[int, ...]


def _outer_loop(f: Function, plan: Plan, buffers: Sequence[str]) -> None:
    """All outer iterations, or this thread's share of them."""
    kernel = plan.kernel
    counts = list(kernel.extents[: kernel.outer])
    if plan.blocked is not None:
        axis, size = plan.blocked
        counts[axis] = -(-counts[axis] // size)
    axes = tuple(a for a, c in enumerate(counts) if c > 1)
    outer = _Outer(axes, tuple(counts[a] for a in axes))
    total = prod(outer.counts)
    first, last, end = constant(0, INT64), constant(total, INT64), None
    if kernel.schedule.parallel:
        first, last = _banded(f, plan, total) if kernel.schedule.band else share(f, total)
        some, end = branch(f, f.let(f"icmp slt {first}, {last.name}", BOOL))
        f.begin(some)
    if total == 1:
        _versions(f, plan, buffers, {}, counts)
    else:
        loop = Loop(f, [first, *_split(f, first, outer)])
        position, *places = loop.values
        index = dict(zip(axes, places or [position], strict=True))
        _versions(f, plan, buffers, index, counts)
        later = add_constant(f, position, 1)
        again = f.let(f"icmp ne {later}, {last.name}", BOOL)
        loop.close([later, *_advanced(f, places, outer)], again)
    if end is not None:
        f.emit(f"br label %{end}")
        f.begin(end)


def _banded(f: Function, plan: Plan, total: int) -> tuple[Reg, Reg]:
    """This share's band of iterations."""
    band = plan.kernel.schedule.band
    if plan.blocked is not None:
        band //= plan.blocked[1]
    f.module.declare("declare i64 @llvm.smin.i64(i64, i64)")
    first = f.let(f"mul nsw i64 %tid, {band}", INT64, hint="i")
    end = add_constant(f, first, band)
    return first, f.let(f"call i64 @llvm.smin.i64({end}, i64 {total})", INT64, hint="i")


def _split(f: Function, position: Reg, outer: _Outer) -> list[Reg]:
    """The index of each axis at a flattened position; none where there is but one axis."""
    if len(outer.axes) == 1:
        return []
    indices: list[Reg] = []
    for count in reversed(outer.counts[1:]):
        indices.append(f.let(f"urem {position}, {count}", INT64, hint="i"))
        position = f.let(f"udiv {position}, {count}", INT64, hint="i")
    return [position, *reversed(indices)]


def _advanced(f: Function, places: Sequence[Reg], outer: _Outer) -> list[Reg]:
    """The indices of the next iteration: the last axis by one, with carries."""
    if not places:
        return []
    later: list[Reg] = []
    carry = constant(1, INT64)
    for place, count in reversed(list(zip(places, outer.counts, strict=True))):
        moved = f.let(f"add nsw {place}, {carry.name}", INT64, hint="i")
        over = f.let(f"icmp eq {moved}, {count}", BOOL)
        later.append(f.let(f"select {over}, i64 0, {moved}", INT64, hint="i"))
        carry = f.let(f"zext {over} to i64", INT64, hint="i")
    return later[::-1]


def _versions(
    f: Function, plan: Plan, buffers: Sequence[str], index: dict[int, Reg], counts: Sequence[int]
) -> None:
    """The body for this iteration: for whole blocks and, behind branches, for the last ones."""
    special = _special_axes(plan)
    places = index
    if plan.blocked is not None and (blocked := plan.blocked[0]) in index:
        first = f.let(f"mul nsw {index[blocked]}, {plan.blocked[1]}", INT64, hint="i")
        places = index | {blocked: first}
    end = f.label("next")

    def write(axes: tuple[int, ...], last: frozenset[int]) -> None:
        if not axes:
            Body(f, plan, _extents(plan, last), _lanes(plan, last), places, buffers).emit()
            f.emit(f"br label %{end}")
        elif counts[axes[0]] == 1:
            write(axes[1:], last | {axes[0]})
        else:
            at_end = f"icmp eq {index[axes[0]]}, {counts[axes[0]] - 1}"
            yes, no = branch(f, f.let(at_end, BOOL))
            f.begin(yes)
            write(axes[1:], last | {axes[0]})
            f.begin(no)
            write(axes[1:], last)

    write(special, frozenset())
    f.begin(end)


def _special_axes(plan: Plan) -> tuple[int, ...]:
    """The outer axes whose last iteration has a body of its own."""
    kernel, axes = plan.kernel, list[int]()
    if (clip := kernel.clip) is not None:
        whole = kernel.extents[clip.outer] * kernel.extents[clip.inner]
        if clip.total != whole:
            axes.append(clip.outer)
    if plan.blocked is not None and kernel.extents[plan.blocked[0]] % plan.blocked[1]:
        axes.append(plan.blocked[0])
    return tuple(axes)


def _extents(plan: Plan, last: frozenset[int]) -> tuple[int, ...]:
    """The extents, with the clipped axis cut in its last block."""
    extents = list(plan.kernel.extents)
    clip = plan.kernel.clip
    if clip is not None and clip.outer in last:
        extents[clip.inner] = clip.total - (extents[clip.outer] - 1) * extents[clip.inner]
    return tuple(extents)


def _lanes(plan: Plan, last: frozenset[int]) -> tuple[int, ...]:
    """How many lanes of each vector are alive, by what the blocked axis has left."""
    whole = (plan.width,) * plan.unroll
    if plan.blocked is None or plan.blocked[0] not in last:
        return whole
    axis, size = plan.blocked
    rest = plan.kernel.extents[axis] % size
    if not rest:
        return whole
    return (plan.width,) * rest if plan.tile is not None else lane_counts(rest, plan.width)
