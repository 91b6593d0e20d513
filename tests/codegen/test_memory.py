"""The arena plan: sound for all blocks, near the bound; its verifier catches what is not sound."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.codegen.memory import LARGE, PAGE, TOO_NEAR, ArenaPlan, Block, plan_arena
from backpass.codegen.memory_verify import verify_plan
from backpass.errors import VerificationError


@st.composite
def programs(draw: st.DrawFn) -> list[Block]:
    """Blocks of all sizes, empty ones included, in a program of up to 30 steps."""
    sizes = st.one_of(st.integers(0, 300), st.sampled_from([0, 64, 4096, LARGE, 3 * PAGE, 65600]))
    found: list[Block] = []
    for i in range(draw(st.integers(0, 40))):
        first = draw(st.integers(0, 29))
        found.append(Block(f"b{i}", draw(sizes), first, first + draw(st.integers(0, 29 - first))))
    return found


def most_live(blocks: list[Block], alignment: int) -> int:
    """The bound, counted step by step."""
    steps = range(max([b.last for b in blocks], default=0) + 1)
    return max(
        sum(-(-b.nbytes // alignment) * alignment for b in blocks if b.first <= s <= b.last)
        for s in steps
    )


def clash(blocks: list[Block], plan: ArenaPlan) -> bool:
    """Whether any two blocks share a byte in a step, by trying all pairs."""
    placed = list(zip(blocks, plan.offsets, strict=True))
    return any(
        a.first <= b.last and b.first <= a.last and x < y + b.nbytes and y < x + a.nbytes
        for i, (a, x) in enumerate(placed)
        for b, y in placed[:i]
        if a.nbytes and b.nbytes
    )


@settings(max_examples=300, deadline=None)
@given(programs(), st.sampled_from([1, 16, 64, 4096]), st.booleans())
def test_every_plan_is_sound(blocks: list[Block], alignment: int, stagger: bool) -> None:
    plan = plan_arena(blocks, alignment, stagger=stagger)
    assert verify_plan(blocks, plan) is plan
    assert not clash(blocks, plan)
    assert all(offset % alignment == 0 for offset in plan.offsets)
    assert plan.bound == most_live(blocks, alignment) <= plan.size


@settings(max_examples=300, deadline=None)
@given(programs(), st.data())
def test_the_verifier_says_what_all_pairs_say(blocks: list[Block], data: st.DataObject) -> None:
    places = st.integers(0, 20).map(lambda k: 64 * k)
    offsets = tuple(data.draw(places) for _ in blocks)
    size = max([at + b.nbytes for at, b in zip(offsets, blocks, strict=True)], default=0)
    plan = ArenaPlan(offsets, size, most_live(blocks, 64))
    if clash(blocks, plan):
        with pytest.raises(VerificationError, match=r"blocks b\d+ and b\d+ overlap"):
            verify_plan(blocks, plan)
    else:
        verify_plan(blocks, plan)


PAIR = [Block("left", 100, 0, 4), Block("right", 64, 2, 6), Block("late", 128, 5, 6)]
BROKEN = {
    "overlap": ({"offsets": (0, 64, 0)}, "blocks left and right overlap: bytes 0 to 100"),
    "alignment": ({"offsets": (0, 130, 0)}, "block right lies at 130"),
    "below zero": ({"offsets": (0, -64, 0)}, "block right lies at -64"),
    "size": ({"size": 191}, "block right ends at 192"),
    "bound": ({"bound": 128}, "a bound of 128 bytes, but 192 are live"),
    "count": ({"offsets": (0, 128)}, "2 offsets for 3 blocks"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plan_is_caught(name: str) -> None:
    plan = verify_plan(PAIR, plan_arena(PAIR))
    assert (plan.offsets, plan.size, plan.bound) == ((0, 128, 0), 192, 192)
    changes, message = BROKEN[name]
    with pytest.raises(VerificationError, match=message):
        verify_plan(PAIR, replace(plan, **changes))


def test_one_step_shared_is_an_overlap() -> None:
    """A block is live in its last step: what begins there lies elsewhere, what begins later not."""
    blocks = [Block("x", 64, 0, 3), Block("y", 64, 3, 5), Block("z", 64, 4, 5)]
    assert plan_arena(blocks).offsets == (0, 64, 0)
    with pytest.raises(VerificationError, match="blocks x and y overlap"):
        verify_plan(blocks, ArenaPlan((0, 0, 64), 128, 128))


def training_step(layers: int, rng: random.Random) -> list[Block]:
    """Activations that a mirrored backward pass reads, its gradients, and those of the weights."""
    found: list[Block] = []
    last = 2 * layers - 1
    for i in range(layers):
        nbytes = 65536 * rng.choice([1, 2, 4, 6]) + 64 * rng.randrange(50)
        found.append(Block(f"activation {i}", nbytes, i, last - i if rng.random() < 0.6 else i + 1))
        found.append(Block(f"gradient {i}", nbytes, last - i, min(last, last - i + 2)))
        found.append(Block(f"weight {i}", rng.choice([64, 4096, 32768]), last - i, last))
    return found


@pytest.mark.parametrize("layers", [30, 300, 2000])
def test_a_training_step_is_near_the_bound(layers: int) -> None:
    blocks = training_step(layers, random.Random(layers))
    plan = verify_plan(blocks, plan_arena(blocks, stagger=False))
    assert plan.size <= (1.004 if layers > 100 else 1.035) * plan.bound
    staggered = verify_plan(blocks, plan_arena(blocks))
    assert staggered.size <= 1.04 * plan.bound


def test_large_blocks_start_at_different_places_of_a_page() -> None:
    blocks = [Block(str(i), 16 * PAGE, 0, 1) for i in range(7)]
    starts = sorted(at % PAGE for at in plan_arena(blocks).offsets)
    apart = [b - a for a, b in itertools.pairwise(starts)]
    assert min(apart) >= TOO_NEAR
    assert {at % PAGE for at in plan_arena(blocks, stagger=False).offsets} == {0}


def test_a_block_that_cannot_be_is_refused() -> None:
    for block in (Block("backwards", 8, 3, 2), Block("negative", -8, 0, 1)):
        with pytest.raises(ValueError, match=f"block {block.name} has"):
            plan_arena([block])
