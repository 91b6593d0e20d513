"""The arena plan: an offset for every buffer of a program, such that no two live ones overlap.

A program is a row of numbered steps; a Block is a buffer that is live from one step to another.
Placing is greedy by size, best fit (Pisarchyk and Lee 2020, Efficient memory management for deep
neural net inference): the largest block first, each into the smallest gap between the blocks that
are live with it. Where that is not near the bound, other orders are tried. Invariant: offsets are
multiples of the alignment, and equal blocks give equal plans. The plan is data that proves itself:
`memory_verify.py` checks it with code of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

ALIGNMENT = 64  # a cache line, and the widest vector

# Two streams whose addresses are equal modulo a page look like one to the store queue, and share a
# few ways of the L1 cache. On Zen 4 (16 KiB to 1 MiB a stream) streams that start less than 300
# bytes apart modulo 4096 cost 2 to 8 % for one stream read and one written, 12 % for four read, 20
# to 25 % for four read and three written (Adam) or eight read; 320 to 1344 bytes are alike.
PAGE = 4096
TOO_NEAR = 320
STAGGER = 576
LARGE = 16384  # smaller blocks are not staggered

GOOD_ENOUGH = 1.003  # of the bound; above it other orders of placing are tried
MOST_TRIES = 24
MOST_PLACED = 12000  # blocks, in all the tries after the first: they cost about 0.4 s
NONE = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Block:
    """A buffer that is live from step `first` to step `last`, both included.

    With `first == last` it is a workspace of one step. `name` is what errors and reports call it.
    """

    name: str
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ArenaPlan:
    """Where each block lies. `offsets` are in the order of the blocks.

    `size` is the bytes of the arena; `bound` is the most bytes that are live in one step, each
    block rounded up to the alignment: no plan can be smaller.
    """

    offsets: tuple[int, ...]
    size: int
    bound: int
    alignment: int = ALIGNMENT


def plan_arena(
    blocks: Sequence[Block], alignment: int = ALIGNMENT, *, stagger: bool = True
) -> ArenaPlan:
    """Place blocks so that those which are live together do not overlap.

    Args:
        blocks: in any order; `nbytes` may be 0.
        alignment: every offset is a multiple of it.
        stagger: keep large blocks from starting at the same place modulo 4096, at the cost of at
            most 576 bytes a block of 16 KiB or more.

    Raises:
        ValueError: a block ends before it starts, or its size is negative.

    >>> plan_arena([Block("x", 64, 0, 1), Block("y", 128, 1, 2), Block("z", 64, 2, 3)])
    ArenaPlan(offsets=(128, 0, 128), size=192, bound=192, alignment=64)
    """
    _check(blocks)
    sizes = [-(-block.nbytes // alignment) * alignment for block in blocks]
    bound = _most_live(blocks, sizes)
    taken = [_staggered(size, alignment) for size in sizes] if stagger else sizes
    offsets = _search(blocks, taken, bound)
    size = max([at + size for at, size in zip(offsets, sizes, strict=True)], default=0)
    return ArenaPlan(tuple(offsets), size, bound, alignment)


def _check(blocks: Sequence[Block]) -> None:
    for block in blocks:
        if block.last < block.first or block.nbytes < 0:
            raise ValueError(
                f"plan_arena: block {block.name} has {block.nbytes} bytes and lives from step "
                f"{block.first} to {block.last}; sizes are at least 0, and first is at most last"
            )


def _staggered(size: int, alignment: int) -> int:
    """The bytes to set aside, such that what comes behind starts elsewhere in its page."""
    beyond = size % PAGE
    if size < LARGE or beyond >= TOO_NEAR:
        return size
    return size + -(-(STAGGER - beyond) // alignment) * alignment


def _most_live(blocks: Sequence[Block], sizes: Sequence[int]) -> int:
    """The most bytes live in one step: a sweep over where blocks begin and end."""
    changes: dict[int, int] = {}
    for block, size in zip(blocks, sizes, strict=True):
        changes[block.first] = changes.get(block.first, 0) + size
        changes[block.last + 1] = changes.get(block.last + 1, 0) - size
    live = most = 0
    for step in sorted(changes):
        live += changes[step]
        most = max(most, live)
    return most


def _search(blocks: Sequence[Block], sizes: Sequence[int], bound: int) -> list[int]:
    """The offsets of the best of several orders of placing; the first that is good enough."""
    best = latest = _Placing(blocks, sizes, _order(blocks, lambda i: sizes[i]))
    for k in range(min(MOST_TRIES, MOST_PLACED // max(len(blocks), 1))):
        if best.end <= bound * GOOD_ENOUGH:
            break
        if k == 0:
            order = _order(blocks, lambda i: sizes[i] * (blocks[i].last - blocks[i].first + 1))
        else:
            order = latest.topmost_earlier()
        latest = _Placing(blocks, sizes, order)
        if latest.end < best.end:
            best = latest
        elif k == 0:
            latest = best
    return best.offsets


def _order(blocks: Sequence[Block], weight: Callable[[int], int]) -> list[int]:
    """Heavy blocks first, of equal ones the longer-lived."""
    return sorted(
        range(len(blocks)),
        key=lambda i: (-weight(i), blocks[i].first - blocks[i].last, blocks[i].first, i),
    )


class _Placing:
    """Blocks placed in an order: their offsets, and where the last of them ends."""

    __slots__ = ("end", "offsets", "order", "sizes")

    def __init__(self, blocks: Sequence[Block], sizes: Sequence[int], order: Sequence[int]) -> None:
        self.sizes = sizes
        self.order = order
        self.offsets = [0] * len(blocks)
        placed = _Placed(len(blocks))
        for i in order:
            if sizes[i]:
                first, last = blocks[i].first, blocks[i].last
                self.offsets[i] = placed.best_gap(sizes[i], first, last)
                placed.add(self.offsets[i], sizes[i], first, last)
        self.end = placed.end()

    def topmost_earlier(self) -> list[int]:
        """The order with the blocks at the arena's end moved half-way to the front."""
        order = list(self.order)
        for i in range(len(self.offsets)):
            if self.offsets[i] + self.sizes[i] == self.end:
                at = order.index(i)
                order.insert(at // 2, order.pop(at))
        return order


class _Placed:
    """The blocks placed so far, as arrays that rise by offset: a query is a few passes over it."""

    __slots__ = ("count", "rows")

    def __init__(self, capacity: int) -> None:
        self.rows: Ints = np.zeros((4, capacity), np.int64)  # offset, end, first, last
        self.count = 0

    def best_gap(self, size: int, first: int, last: int) -> int:
        """Where the smallest gap that holds `size` bytes begins, among the blocks live with it."""
        starts, ends, firsts, lasts = self.rows[:, : self.count]
        near = ((firsts <= last) & (lasts >= first)).nonzero()[0]
        if not near.size:
            return 0
        reached: Ints = np.maximum.accumulate(ends[near])
        gaps = starts[near]
        gaps[1:] -= reached[:-1]
        gaps[gaps < size] = NONE
        best = int(gaps.argmin())
        if gaps[best] == NONE:
            return int(reached[-1])
        return int(reached[best - 1]) if best else 0

    def add(self, offset: int, size: int, first: int, last: int) -> None:
        """One more block, at its place in the order of offsets."""
        at, n = int(self.rows[0, : self.count].searchsorted(offset)), self.count
        self.rows[:, at + 1 : n + 1] = self.rows[:, at:n]
        self.rows[:, at] = (offset, offset + size, first, last)
        self.count += 1

    def end(self) -> int:
        """Where the last byte in use ends."""
        return int(self.rows[1, : self.count].max(initial=0))


__all__ = ["ALIGNMENT", "ArenaPlan", "Block", "plan_arena"]
