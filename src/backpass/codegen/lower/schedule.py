"""From entries to a loop kernel: which variables are loops of what kind, in which order.

The choice follows from shapes and strides alone. Lanes go along the variable in which most of the
memory lies side by side; variables whose accesses are one run are joined; long runs are cut into
blocks, which threads share. `stages.py` then says what runs when, and `codegen/schedule.py` how
many vectors at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from backpass.codegen.lower.elements import Entry, Key, Named, Spot, extent_of
from backpass.codegen.lower.index import Form, bounds
from backpass.codegen.lower.stages import Stages
from backpass.codegen.lower.stored import COSTS
from backpass.codegen.schedule import chosen
from backpass.loops import (
    LANES,
    Access,
    Buffer,
    Clip,
    Indexed,
    Kernel,
    LoopKernel,
    Op,
    Space,
    Stage,
)

BLOCK = 2048  # elements of a long run that one thread works on at a time
PARALLEL_WORK = 1 << 16  # operations below which threads do not pay
LANE_BY_LANE = 12.0  # cost of a vector whose lanes do not lie side by side, which has one for 1
CHUNK = 4096  # elements of one part of a long reduction
SHORT = 256  # and the fewest, where what they read is to stay in a cache
INT64 = np.dtype(np.int64)


@dataclass(frozen=True, slots=True)
class Bound:
    """A kernel, and what each of its buffers in memory is; into how many `bands` rows are cut.

    `chunk`, of a long reduction, is how many positions it folds and how many are one chunk, which
    its first axis counts.
    """

    kernel: Kernel
    keys: tuple[Key, ...]
    work: int
    bands: int = 0
    chunk: tuple[int, int] | None = None

    def memory(self) -> list[tuple[int, Key]]:
        """The numbers of the kernel's buffers in memory, and what each of them is."""
        places = [i for i, b in enumerate(self.kernel.buffers) if b.space is Space.MEMORY]
        return list(zip(places, self.keys, strict=True))


@dataclass(frozen=True, slots=True)
class Loops:
    """Entries over axes of `extents`, the first `outer` of which are outer ones."""

    extents: tuple[int, ...]
    entries: tuple[Entry, ...]
    outer: int

    def forms(self) -> list[Form]:
        """The forms of all accesses and indices."""
        return [f for e in self.entries if (f := e.form) is not None]

    def moved(
        self, extents: Sequence[int], outer: int, coefs: Callable[[tuple[int, ...]], Sequence[int]]
    ) -> Loops:
        """With new axes, on which a form's coefficients are `coefs(old coefficients)`."""
        return Loops(tuple(extents), tuple([_moved(e, coefs) for e in self.entries]), outer)


def _moved(e: Entry, coefs: Callable[[tuple[int, ...]], Sequence[int]]) -> Entry:
    f = e.form
    if f is None:
        return e
    new = Form(f.constant, tuple(coefs(f.coefs)))
    if new == f:
        return e
    param = replace(e.param, form=new) if isinstance(e.param, Spot) else new
    return Entry(e.code, e.args, e.dtype, param)


def permuted(loops: Loops, order: Sequence[int], outer: int) -> Loops:
    """The axes in another order: new axis i is old axis order[i]."""
    return loops.moved(
        [loops.extents[v] for v in order], outer, lambda old: [old[v] for v in order]
    )


def joined(loops: Loops) -> Loops:
    """Neighbouring axes of one kind as one, wherever every access goes on without a gap."""
    axis = len(loops.extents) - 1
    while axis > 0:
        a, b, n = axis - 1, axis, loops.extents[axis]
        same = (a < loops.outer) == (b < loops.outer)
        if same and all([f.coefs[a] == f.coefs[b] * n for f in loops.forms()]):
            extents = [*loops.extents[:a], loops.extents[a] * n, *loops.extents[b + 1 :]]
            outer = loops.outer - (a < loops.outer)
            loops = loops.moved(extents, outer, _without(a))
        axis -= 1
    return loops


def _without(axis: int) -> Callable[[tuple[int, ...]], Sequence[int]]:
    return lambda old: [*old[:axis], *old[axis + 1 :]]


def cut(loops: Loops, axis: int, block: int) -> tuple[Loops, Clip | None]:
    """Inner axis `axis` in blocks, counted by a new last outer axis."""
    n, at = loops.extents[axis], loops.outer
    extents = [*loops.extents[:at], -(-n // block), *loops.extents[at:]]
    extents[axis + 1] = block

    def coefs(old: tuple[int, ...]) -> Sequence[int]:
        return [*old[:at], old[axis] * block, *old[at:]]

    clip = None if n % block == 0 else Clip(at, axis + 1, n)
    return loops.moved(extents, at + 1, coefs), clip


def vector_axis(loops: Loops, candidates: Sequence[int]) -> int:
    """The axis for the lanes: least moved lane by lane, least waste in the last vector."""
    costs: dict[int, float] = {}
    for axis in candidates:
        n, cost = loops.extents[axis], 0.01
        for e in loops.entries:
            if isinstance(e.param, Spot):
                c = abs(e.param.form.coefs[axis])
                cost += 1.0 if c == 1 else 1.5 if not c else LANE_BY_LANE
        costs[axis] = cost * (-(-n // LANES) * LANES) / n
    return min(costs, key=lambda axis: (costs[axis], -axis))


def work(loops: Loops) -> int:
    """Operations of the whole kernel, weighed."""
    points = 1
    for n in loops.extents:
        points *= n
    ops = sum([1 if isinstance(e.param, Spot) else COSTS.get(e.code, 12) for e in loops.entries])
    return points * ops


def scheduled(
    name: str, extents: Sequence[int], entries: Sequence[Entry], inner: frozenset[int] | None
) -> Bound:
    """The kernel of a group whose reductions are over `inner` (None: it has none)."""
    loops = Loops(tuple(extents), tuple(entries), 0)
    if not extents:
        return _assembled(name, loops, None)
    axes = range(len(extents))
    running = any([e.code == "scan" for e in entries])
    candidates = [v for v in axes if not running or v not in (inner or ())]
    if not candidates:
        return _assembled(name, loops, None)
    lanes = vector_axis(loops, candidates)
    if inner is None:
        loops = joined(permuted(loops, [*[v for v in axes if v != lanes], lanes], 0))
        loops = replace(loops, outer=len(loops.extents) - 1)
    else:
        key = [v for v in axes if v != lanes and v not in inner]
        folded = [v for v in axes if v != lanes and v in inner]
        order = [*key, *folded, lanes] if lanes in inner else [*key, lanes, *folded]
        loops = joined(permuted(loops, order, len(extents) - len(inner)))
    clip = None
    if inner is None and loops.extents[-1] >= 2 * BLOCK and work(loops) >= PARALLEL_WORK:
        loops, clip = cut(loops, len(loops.extents) - 1, BLOCK)
    return _assembled(name, loops, clip)


def partial(
    name: str,
    extents: Sequence[int],
    entries: Sequence[Entry],
    inner: frozenset[int],
    heights: Mapping[int, int],
) -> tuple[Bound, int]:
    """The first half of a long reduction: one result for each chunk, and the number of chunks.

    Results are stored at `Spot(("partial", node), row)`; before the rows comes an axis of chunks.

    Args:
        heights: for a number of positions, how many are one chunk; CHUNK where it is not said.
    """
    loops = Loops(tuple(extents), tuple(entries), 0)
    axes = range(len(extents))
    lanes = vector_axis(loops, axes)
    key = [v for v in axes if v != lanes and v not in inner]
    folded = [v for v in axes if v != lanes and v in inner]
    order = [*key, *folded, lanes] if lanes in inner else [*key, lanes, *folded]
    loops = joined(permuted(loops, order, len(extents) - len(inner)))
    rows, folded_sizes = loops.outer, loops.extents[loops.outer :]
    longest = max(range(len(folded_sizes)), key=lambda i: folded_sizes[i])
    rest = 1
    for i, n in enumerate(folded_sizes):
        rest *= n if i != longest else 1
    n = folded_sizes[longest]
    block = max(1, min(CHUNK // rest, heights.get(n, CHUNK)))
    loops, clip = cut(loops, rows + longest, block)
    chunks = loops.extents[rows]
    order = [rows, *range(rows), *range(rows + 1, len(loops.extents))]
    loops = permuted(loops, order, loops.outer)
    clip = None if clip is None else replace(clip, outer=0)
    loops = replace(loops, entries=tuple(map(_spread, loops.entries)))
    return replace(_assembled(name, loops, clip), chunk=(n, block)), chunks


def _spread(e: Entry) -> Entry:
    """A store of a partial result behind those of the chunks before."""
    if e.code != "store" or not _is_partial(e.param.key):
        return e
    form = e.param.form
    coefs = (e.param.key.of.types[0].size, *form.coefs[1:])
    return replace(e, param=replace(e.param, form=Form(form.constant, coefs)))


def _is_partial(key: Key) -> bool:
    return isinstance(key, Named) and key.kind == "partial"


def _assembled(name: str, loops: Loops, clip: Clip | None) -> Bound:
    """The kernel over these axes, scheduled."""
    stages = Stages(loops.entries, loops.extents, len(loops.extents) - loops.outer)
    buffers = Buffers(loops.extents, clip)
    numbers: dict[int, int] = {}
    ops_made = 0
    made: list[Stage] = []
    for looping, members in stages.stages():
        ops: list[Op] = []
        for n in members:
            for op in buffers.ops(stages.entries[n], numbers, ops_made):
                ops.append(op)
                ops_made += 1
            numbers[n] = ops_made - 1
        made.append(Stage(looping, tuple(ops)))
    kernel = LoopKernel(name, tuple(buffers.found), loops.extents, loops.outer, tuple(made), clip)
    shared = work(loops) >= PARALLEL_WORK and prod(loops.extents[: loops.outer]) > 1
    return Bound(chosen(kernel, shared), tuple(buffers.keys), work(loops))


class Buffers:
    """The buffers of a kernel under construction, and the ops that use them."""

    def __init__(self, extents: Sequence[int], clip: Clip | None) -> None:
        self.extents, self.clip = extents, clip
        self.found: list[Buffer] = []
        self.keys: list[Key] = []
        self._places: dict[Key, int] = {}

    def ops(self, e: Entry, numbers: dict[int, int], first: int) -> list[Op]:
        """An entry as ops, the last of which is its value; `first` is the number of the first."""
        args = tuple([numbers[a] for a in e.args])
        if e.code == "index":
            return self._index(e.param, first)
        if not isinstance(e.param, Spot):
            return [Op(e.code, args, e.dtype, e.param)]
        spot = e.param
        guarded = e.code == "load" and bool(e.args)
        number = self.place(e.dtype, spot, e.code == "store", guarded)
        access = Access(number, spot.form.constant, spot.form.coefs)
        if e.code == "load_at":
            return [Op(e.code, args, e.dtype, Indexed(access, spot.strides, spot.extents))]
        return [Op(e.code, args, e.dtype, access)]

    def _index(self, form: Form, first: int) -> list[Op]:
        """constant + sum(coef * index) by ops."""
        ops = [Op("const", (), INT64, form.constant)]
        at = first
        for axis, c in enumerate(form.coefs):
            if not c:
                continue
            n = first + len(ops)
            ops.append(Op("index", (), INT64, axis))
            if c != 1:
                ops.append(Op("const", (), INT64, c))
                ops.append(Op("mul", (n, n + 1), INT64))
                n += 2
            ops.append(Op("add", (at, n), INT64))
            at = first + len(ops) - 1
        return ops

    def place(self, dtype: np.dtype[Any], spot: Spot, written: bool, guarded: bool = False) -> int:
        """The number of the buffer that holds a spot; a guarded one may lie outside of it."""
        key = spot.key
        if key not in self._places:
            scratch = isinstance(key, Named) and key.kind == "scratch"
            space = Space.SCRATCH if scratch else Space.MEMORY
            self._places[key] = len(self.found)
            self.found.append(Buffer(dtype, 0, space, False))
            if not scratch:
                self.keys.append(key)
        place = self._places[key]
        b = self.found[place]
        end = self._end(spot)
        size = max(b.size, min(end, extent_of(key)) if guarded else end)
        if size > b.size or (written and not b.written):
            self.found[place] = replace(b, size=size, written=b.written or written)
        return place

    def _end(self, spot: Spot) -> int:
        """One more than the highest element that an access touches."""
        high = bounds(spot.form, self.extents)[1]
        if self.clip is not None:
            c, block = spot.form.coefs[self.clip.inner], self.extents[self.clip.inner]
            if c > 0:
                high -= c * (self.extents[self.clip.outer] * block - self.clip.total)
        high += sum([s * (n - 1) for s, n in zip(spot.strides, spot.extents, strict=True)])
        return high + 1
