"""The arena plan checked, by code that shares nothing with the code that made it.

One sweep over the steps keeps the live blocks sorted by offset. As long as no two of them overlap,
a block that begins can only overlap its neighbours, so the check takes a bisection a block.
Invariant: whatever `verify_plan` accepts can run, whether `plan_arena` made it or not.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from backpass.codegen.memory import ArenaPlan, Block
from backpass.errors import VerificationError

Live = list[tuple[int, int, int]]  # (offset, end, which block), rising


def verify_plan(blocks: Sequence[Block], plan: ArenaPlan) -> ArenaPlan:
    """Return `plan` if it is sound for `blocks`.

    Sound: one aligned offset for each block; every block ends within `size`; no two blocks that are
    live in one step share a byte; `bound` is the most aligned bytes that are live in one step.

    Raises:
        AssertionError: (VerificationError) naming the block, or the two blocks, that break it.
    """
    if len(plan.offsets) != len(blocks):
        raise VerificationError(
            f"the arena plan has {len(plan.offsets)} offsets for {len(blocks)} blocks"
        )
    for block, offset in zip(blocks, plan.offsets, strict=True):
        _check_place(block, offset, plan)
    most = _sweep(blocks, plan)
    if most != plan.bound:
        raise VerificationError(
            f"the arena plan states a bound of {plan.bound} bytes, but {most} are live at once"
        )
    return plan


def _check_place(block: Block, offset: int, plan: ArenaPlan) -> None:
    if offset < 0 or offset % plan.alignment:
        raise VerificationError(
            f"block {block.name} lies at {offset}, which is no multiple of {plan.alignment}"
        )
    if offset + block.nbytes > plan.size:
        raise VerificationError(
            f"block {block.name} ends at {offset + block.nbytes}, behind the arena's {plan.size} "
            "bytes"
        )


def _sweep(blocks: Sequence[Block], plan: ArenaPlan) -> int:
    """The most aligned bytes live in one step; raises where two live blocks overlap."""
    begins = sorted(range(len(blocks)), key=lambda i: blocks[i].first)
    ends = sorted(range(len(blocks)), key=lambda i: blocks[i].last)
    live: Live = []
    held = most = gone = 0
    for i in begins:
        while blocks[ends[gone]].last < blocks[i].first:
            held -= _leave(live, ends[gone], blocks, plan)
            gone += 1
        held += _enter(live, i, blocks, plan)
        most = max(most, held)
    return most


def _rounded(block: Block, plan: ArenaPlan) -> int:
    over = block.nbytes % plan.alignment
    return block.nbytes + (plan.alignment - over if over else 0)


def _leave(live: Live, i: int, blocks: Sequence[Block], plan: ArenaPlan) -> int:
    if blocks[i].nbytes:
        del live[bisect_left(live, (plan.offsets[i], plan.offsets[i] + blocks[i].nbytes, i))]
    return _rounded(blocks[i], plan)


def _enter(live: Live, i: int, blocks: Sequence[Block], plan: ArenaPlan) -> int:
    block, offset = blocks[i], plan.offsets[i]
    if block.nbytes:
        entry = (offset, offset + block.nbytes, i)
        at = bisect_left(live, entry)
        for other in live[max(at - 1, 0) : at + 1]:
            if other[0] < entry[1] and offset < other[1]:
                raise VerificationError(_overlap(block, entry, blocks[other[2]], other))
        insort(live, entry)
    return _rounded(block, plan)


def _overlap(
    block: Block, entry: tuple[int, int, int], other: Block, its: tuple[int, int, int]
) -> str:
    return (
        f"blocks {other.name} and {block.name} overlap: bytes {its[0]} to {its[1]} in steps "
        f"{other.first} to {other.last}, and bytes {entry[0]} to {entry[1]} in steps {block.first} "
        f"to {block.last}"
    )


__all__ = ["verify_plan"]
