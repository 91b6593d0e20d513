"""Phases, barriers, the commit point and the memory of a step, read back from its text.

The rule that holds for every program: if two kernels touch a byte in common and one of them writes
it, all threads meet between them, unless one lane runs both. It is checked on bytes of the
arena, scratch included, so a place that is used again too early is seen as well.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.codegen.random_graphs import generate, scale
from tests.codegen.step_text import Called, Event, Leaves, Waits, events_of
from tests.codegen.steps import graph_from, neg, product, stations, training, turned

from backpass.codegen.arrange import Arranged, bytes_of, can_fail, reads, writes
from backpass.codegen.assemble import Assembler, Assembly
from backpass.codegen.image import ARENA
from backpass.codegen.lower.elements import Key, key_of
from backpass.codegen.lower.lower import Call, Lowered
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.machine import host
from backpass.codegen.program import Program
from backpass.codegen.step_text import Home
from backpass.ir import Graph, Value
from backpass.ir.graph import made
from backpass.prims import elementwise as el
from backpass.prims import index as ix
from backpass.prims import linalg

THREADS = 3
BIG = np.ones((120, 120))  # two of them are less than a phase may make
SMALL = np.ones((3, 4))


@dataclass(frozen=True)
class Built:
    """A graph after all stations but the machine code."""

    lowered: Lowered
    steps: Arranged
    assembler: Assembler
    assembly: Assembly

    def events(self, number: int = 0) -> list[Event]:
        """What a segment does."""
        return events_of(self.assembly.text, self.assembly.segments[number].name)

    def waits(self) -> list[bool]:
        """Whether each meeting of the only segment can be interrupted."""
        return [e.interruptible for e in self.events() if isinstance(e, Waits)]


def built(graph: Graph, updates: dict[int, int] | None = None, *, apart: bool = False) -> Built:
    """Lower, arrange and assemble, with a slot for each array of the caller."""
    lowered, steps = stations(graph, updates or {})
    slots: dict[Key, int] = {}
    leaves = [k for s in steps.steps for k in reads(s) if isinstance(k, Value)]
    results = [key_of(v) for i, v in enumerate(lowered.graph.outputs) if i not in (updates or {})]
    for key in [*lowered.graph.inputs, *results, *leaves]:
        slots.setdefault(key, len(slots) + 1)
    assembler = Assembler(steps, slots, host(), THREADS, apart)
    return Built(lowered, steps, assembler, assembler.build())


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share kernels of any size, and runs are cut into short blocks."""
    monkeypatch.setattr("backpass.codegen.lower.schedule.BLOCK", 4)
    monkeypatch.setattr("backpass.codegen.lower.schedule.PARALLEL_WORK", 1)
    monkeypatch.setattr("backpass.codegen.schedule._PARALLEL", 1)
    monkeypatch.setattr("backpass.codegen.lower.product.PARALLEL_PRODUCT", 1)


# -- the rule


Span = tuple[int, int, int]  # slot, first byte, one more than the last


def spans(b: Built, number: int) -> tuple[list[Span], list[Span]]:
    """The bytes that a step reads, and those that it writes: arrays, and scratch memory."""
    step = b.steps.steps[number]

    def of(keys: list[Key]) -> list[Span]:
        homes = [(b.assembly.homes[k], bytes_of(k, step)) for k in keys]
        return [(h.slot, h.offset, h.offset + n) for h, n in homes if n]

    return of(reads(step)), of(writes(step))


def clash(one: list[Span], other: list[Span]) -> bool:
    """Whether two lists of bytes have one in common."""
    pairs = itertools.product(one, other)
    return any([a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a, b in pairs])


def phases(b: Built) -> list[int]:
    """The phase of each step."""
    return [place.phase for place in b.assembler.places]


def check_step(b: Built, segment: int) -> None:
    """Every rule of a step function."""
    events = b.events(segment)
    numbers = [id(s) for s in b.steps.steps]
    steps = [numbers.index(id(s)) for s in b.assembly.segments[segment].steps]
    called: list[tuple[int, Called, int, list[Span]]] = []  # step, call, meetings before, scratch
    met = 0
    left = False
    for event in events:
        if isinstance(event, Waits):
            met += 1
            assert event.interruptible or left, "a barrier before the commit ignores Ctrl-C"
        elif isinstance(event, Leaves):
            left = True
            assert len(called) < len(steps) and steps[len(called)] == b.assembler.commit
            here = [b.steps.steps[n] for n, _, before, _ in called if before == met]
            alone = not b.assembly.segments[segment].parallel
            assert alone or not any(map(can_fail, here)), "not all threads see the same status"
        else:
            called.append(check_call(b, steps[len(called)], event, met))
    assert [c[0] for c in called] == steps
    assert left == (b.assembler.commit in steps)
    for first, then in itertools.combinations(called, 2):
        if first[2] != then[2] or (first[1].bands and first[1].bands == then[1].bands):
            continue  # bands: `test_phases.py`
        if first[1].together or then[1].together or first[1].lane != then[1].lane:
            check_apart(b, first, then)


def check_call(b: Built, number: int, call: Called, met: int) -> Any:
    """A call is of its step's kernel, on the arrays' places, in scratch memory of the arena."""
    step = b.steps.steps[number]
    assert isinstance(step, Bound)
    name, space = b.assembler._function(step)
    homes = [b.assembly.homes[k] for k in step.keys]
    assert call.function == name
    assert call.buffers == tuple([(h.slot, h.offset) for h in homes])
    slot, at = call.scratch
    count = call.bands or (THREADS if call.together else 1)
    room = space.shared + count * space.per_thread
    assert slot == ARENA and at % 64 == 0 and at + room <= b.assembly.arena.size
    return number, call, met, [(slot, at, at + room)] if room else []


def check_apart(b: Built, first: Any, then: Any) -> None:
    """Two kernels that run at one time disturb each other nowhere."""
    (r1, w1), (r2, w2) = spans(b, first[0]), spans(b, then[0])
    w1, w2 = w1 + first[3], w2 + then[3]
    said = f"steps {first[0]} and {then[0]} share memory, and no barrier stands between them"
    assert not clash(w1, r2 + w2) and not clash(w2, r1), said


def check_all(b: Built) -> None:
    """Every step function of an assembly; the arrays of the caller where their slots say."""
    for i, segment in enumerate(b.assembly.segments):
        if segment.call is None:
            check_step(b, i)
    for new, old in b.steps.in_place.items():
        assert b.assembly.homes[new] == b.assembly.homes[old]
        assert b.assembly.homes[new].slot != ARENA


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("first", range(0, 60, 20))
def test_random_training_steps(first: int, share: bool, request: pytest.FixtureRequest) -> None:
    if share:
        request.getfixturevalue("sharing")
    together = waits = 0
    for seed in range(first, first + 20):
        graph, updates, _, _ = training(generate(seed))
        b = built(graph, updates)
        check_all(b)
        events = [e for i, s in enumerate(b.assembly.segments) if s.name for e in b.events(i)]
        together += sum([isinstance(e, Called) and e.together for e in events])
        waits += sum([isinstance(e, Waits) for e in events])
    assert (together > 30 and waits > 20) == share


@pytest.mark.usefixtures("sharing")
@pytest.mark.parametrize("first", range(0, 20, 5))
def test_random_training_steps_run_by_three_threads(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKPASS_NUM_THREADS", str(THREADS))
    for seed in range(first, first + 5):
        program = generate(seed)
        graph, updates, xs, expected = training(program)
        found = Program(graph, updates)(xs)
        results = [*found, *[xs[i] for i in updates.values()]]
        for x, y in zip(results, expected, strict=True):
            bound = 1e-5 if y.dtype == np.float32 or "float32" in str(program) else 1e-11
            np.testing.assert_allclose(
                x, y, rtol=bound, atol=bound * scale(y), err_msg=str(program)
            )


# -- one case each


def test_kernels_that_need_nothing_of_each_other_share_a_phase() -> None:
    b = built(graph_from(lambda x, y, z: [product(x, y), product(y, z), product(z, x)], *[BIG] * 3))
    assert phases(b) == [0, 0, 0]
    assert b.waits() == []
    assert all([isinstance(e, Called) and e.together for e in b.events()])


def test_a_reader_waits_for_what_it_reads() -> None:
    b = built(graph_from(lambda x: [product(product(x, x), x)], BIG))
    assert phases(b) == [0, 1]
    assert b.waits() == [True]
    check_all(b)


def test_one_barrier_serves_two_pairs() -> None:
    """Two chains of two products: the first products, a barrier, the second ones."""

    def chains(x: Value, y: Value) -> list[Value]:
        one, two = product(x, x), product(y, y)
        return [product(one, x), product(two, y)]

    b = built(graph_from(chains, BIG, BIG))
    assert sorted(phases(b)) == [0, 0, 1, 1]
    assert b.waits() == [True]


def test_small_kernels_one_after_the_other_are_of_one_thread() -> None:
    """Between a large product and one that reads the last: they wait for each other nowhere."""

    def mixed(x: Value, y: Value) -> list[Value]:
        small = product(turned(product(turned(y), y)), turned(y))
        return [product(x, x), neg(small)]

    b = built(graph_from(mixed, BIG, SMALL))
    alone = [e for e in b.events() if isinstance(e, Called) and not e.together]
    assert len(alone) >= 2 and len([e for e in b.events() if isinstance(e, Called)]) > len(alone)
    assert b.waits() == []
    check_all(b)


def test_a_step_of_small_kernels_has_no_barrier_and_uses_memory_again() -> None:
    def chain(x: Value) -> list[Value]:
        for _ in range(8):
            x = product(turned(product(turned(x), x)), turned(x))
            x = turned(x)
        return [neg(x)]

    b = built(graph_from(chain, SMALL))
    assert b.waits() == [] and not any([s.parallel for s in b.assembly.segments])
    assert phases(b) == list(range(len(b.steps.steps)))
    blocks = sum([bytes_of(k, s) for s in b.steps.steps for k in writes(s)])
    assert 0 < b.assembly.arena.size < blocks


def test_memory_of_one_phase_is_not_used_twice() -> None:
    """Threads of a phase are at different kernels: both results are there at once."""
    several = built(graph_from(lambda x: [product(product(x, x), product(turned(x), x))], BIG))
    assert phases(several) == [0, 0, 1]
    assert several.assembly.arena.size >= 2 * BIG.nbytes
    check_all(several)


def test_a_phase_that_made_much_ends_where_nobody_need_wait() -> None:
    """What it made has memory of its own to its end: two large results would have at once."""
    large = np.ones((300, 300))
    several = built(graph_from(lambda x: [product(product(x, x), product(turned(x), x))], large))
    assert phases(several) == [0, 1, 2]
    check_all(several)


def test_an_update_in_place_waits_for_the_readers_of_the_old_value() -> None:
    b = built(graph_from(lambda x, y: [neg(x), product(x, y)], BIG, BIG), {0: 0})
    assert len(b.steps.in_place) == 1
    (call, wait, leave, update) = b.events()
    assert isinstance(call, Called) and isinstance(update, Called)
    assert wait == Waits(True) and leave == Leaves()
    (x,) = b.steps.in_place.values()
    assert b.assembly.homes[x] == Home(b.assembler.slots[x], 0)
    assert {place[0] for place in update.buffers} == {b.assembler.slots[x]}
    check_all(b)


def test_after_the_commit_nothing_interrupts() -> None:
    """Two updates, the second of which reads what replaced the first: a plain barrier."""

    def updates(x: Value, y: Value) -> list[Value]:
        new = neg(x)
        return [new, made(el.add, (y, product(new, new)))]

    b = built(graph_from(updates, BIG, BIG), {0: 0, 1: 1})
    assert len(b.steps.in_place) == 2 and b.steps.commit == 0
    kinds = [type(e) for e in b.events()]
    assert kinds == [Leaves, Called, Waits, Called]
    assert b.waits() == [False]
    check_all(b)


def test_the_status_is_looked_at_between_what_fails_and_the_first_write() -> None:
    index = np.arange(300)[::-1].copy()

    def step(x: Value, y: Value, i: Value) -> list[Value]:
        return [neg(x), neg(made(ix.gather, (y, i)))]

    for arrays in ((BIG, BIG, index), (SMALL, SMALL, np.arange(3))):
        b = built(graph_from(step, *arrays), {0: 0})
        fallible = [i for i, s in enumerate(b.steps.steps) if can_fail(s)]
        assert fallible and b.steps.commit > max(fallible)
        kinds = [type(e) for e in b.events()]
        assert kinds.index(Leaves) == len(kinds) - 2
        check_all(b)


def test_a_step_without_updates_never_looks() -> None:
    b = built(graph_from(lambda x, i: [made(ix.gather, (x, i))], SMALL, np.arange(3)))
    assert not [e for e in b.events() if isinstance(e, Leaves)]


def test_a_reference_call_is_a_segment_of_its_own() -> None:
    def around(x: Value) -> list[Value]:
        return [neg(product(made(linalg.inv, (product(x, x),)), x))]

    b = built(graph_from(around, BIG))
    calls = [s.call is not None for s in b.assembly.segments]
    assert calls == [False, True, False]
    assert [s.name for s in b.assembly.segments] == ["step0", "", "step2"]
    assert all([ARENA in s.slots for s in b.assembly.segments])
    call = b.assembly.segments[1].call
    assert isinstance(call, Call) and call.node.primitive.name == "inv"
    check_all(b)


def test_apart_makes_a_segment_of_every_kernel() -> None:
    graph = graph_from(lambda x, y: [product(product(x, y), product(y, x))], BIG, BIG)
    whole, parts = built(graph), built(graph, apart=True)
    assert [len(s.steps) for s in whole.assembly.segments] == [3]
    assert [len(s.steps) for s in parts.assembly.segments] == [1, 1, 1]
    assert parts.assembly.homes == whole.assembly.homes


def test_equal_kernels_are_emitted_once() -> None:
    b = built(graph_from(lambda x, y: [product(x, y), product(y, x)], BIG, BIG))
    functions = {e.function for e in b.events() if isinstance(e, Called)}
    assert len(b.steps.steps) == 2 and len(functions) == 1
    assert set(b.assembly.names.values()) == functions
    assert b.assembly.text.count("define void @kernel") == 1


def test_the_readback_refuses_what_it_does_not_know() -> None:
    text = "define void @step0(ptr %context, i64 %tid, i64 %n) #0 {\nentry:\n  ret void\n}"
    assert events_of(text, "step0") == []
    with pytest.raises(AssertionError, match="no step has: call void @other"):
        events_of(text.replace("  ret void", "  call void @other()\n  ret void"), "step0")
