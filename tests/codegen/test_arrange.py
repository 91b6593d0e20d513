"""The order of steps: updates in place only where nobody is hurt, what can fail before them.

Random training steps are run by the interpreter of the kernel language in the memory that the
arrangement says; the rules by which it was found are counted here once more, from the steps alone.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from tests.codegen.random_graphs import generate, scale
from tests.codegen.steps import Shared, graph_from, named, neg, product, stations, training, turned
from tests.loops.kernels import F32, call, const, load, reduce, store

from backpass.codegen.arrange import Arranged, arranged, can_fail, overwrites, reads, writes
from backpass.codegen.lower.elements import key_of
from backpass.codegen.lower.lower import Lowered
from backpass.codegen.lower.schedule import Bound
from backpass.ir import Graph, Value
from backpass.ir.graph import made
from backpass.loops import Access, Buffer, Indexed, LoopKernel, Op, Space, Stage
from backpass.prims import elementwise as el
from backpass.prims import index as ix
from backpass.prims import linalg
from backpass.prims import reduce as rd
from backpass.prims import rules as ru
from backpass.prims.shape import flip

X = np.arange(12.0).reshape(3, 4)
SQUARE = np.arange(1.0, 10.0).reshape(3, 3) + 4 * np.eye(3)
INDEX = np.array([2, 0, 1])


def add(x: Value, y: Value) -> Value:
    return made(el.add, (x, y))


# -- rules


def check_rules(lowered: Lowered, steps: Arranged, updates: dict[int, int]) -> None:
    """Everything that must hold of an arrangement."""
    order = steps.steps
    copies = order[len(lowered.steps) :]
    assert Counter(map(id, order[: len(lowered.steps)])) == Counter(map(id, lowered.steps))
    place = {id(step): i for i, step in enumerate(order)}
    writers: dict[Any, list[int]] = {}
    for step in order:
        for key in writes(step):
            writers.setdefault(key, []).append(place[id(step)])
    for i, step in enumerate(order):
        for key in reads(step):
            old = isinstance(key, Value)  # an input, which a copy at the end may write
            assert old or all([w < i for w in writers.get(key, []) if w != i])
    for new, old in steps.in_place.items():
        (writer,) = writers[new]
        assert all([i <= writer for i, s in enumerate(order) if old in reads(s)])
    fallible = [i for i, step in enumerate(order) if can_fail(step)]
    assert max(fallible, default=-1) < steps.commit
    touched = [i for i, s in enumerate(order) if any([_outlives(k, steps) for k in writes(s)])]
    assert steps.commit == min(touched, default=len(order))
    graph = lowered.graph
    pairs = {(graph.inputs[i], key_of(graph.outputs[o])) for o, i in updates.items()}
    pairs = {(old, new) for old, new in pairs if old.type.size}
    kept = {(old, new) for new, old in steps.in_place.items()}
    copied = {(writes(s)[0], reads(s)[0]) for s in copies}
    assert kept | copied == pairs and not kept & copied


def _outlives(key: Any, steps: Arranged) -> bool:
    return isinstance(key, Value) or key in steps.in_place


@pytest.mark.parametrize("first", range(0, 60, 6))
def test_random_training_steps(first: int) -> None:
    in_place = 0
    for seed in range(first, first + 6):
        program = generate(seed)
        graph, updates, xs, expected = training(program)
        lowered, steps = stations(graph, updates)
        check_rules(lowered, steps, updates)
        assert arranged(lowered, updates) == steps
        in_place += len(steps.in_place)
        memory = Shared(lowered, steps, xs)
        with np.errstate(all="ignore"):
            for step in steps.steps:
                memory.run(step)
        for number, y in enumerate(expected):
            place = updates.get(number)
            v = lowered.graph.outputs[number] if place is None else lowered.graph.inputs[place]
            found = memory.value(v)
            bound = 1e-5 if y.dtype == np.float32 or "float32" in str(program) else 1e-11
            np.testing.assert_allclose(
                found, y, rtol=bound, atol=bound * scale(y), err_msg=str(program)
            )
    assert in_place


# -- one case each


def arrange_of(graph: Graph, updates: dict[int, int]) -> Arranged:
    lowered, steps = stations(graph, updates)
    check_rules(lowered, steps, updates)
    return steps


def replaced(graph: Graph, steps: Arranged) -> list[int]:
    """The numbers of the inputs that are written in place."""
    return sorted(graph.inputs.index(old) for old in steps.in_place.values())


def test_a_map_is_written_where_it_reads() -> None:
    graph = graph_from(lambda x: [neg(x)], X)
    steps = arrange_of(graph, {0: 0})
    assert replaced(graph, steps) == [0] and len(steps.steps) == 1 and steps.commit == 0


def test_nothing_is_committed_where_nothing_is_updated() -> None:
    graph = graph_from(lambda x: [neg(x)], X)
    steps = arrange_of(graph, {})
    assert not steps.in_place and steps.commit == len(steps.steps) == 1


def test_other_readers_come_before() -> None:
    """In the order of the graph, the square is after the update."""
    graph = graph_from(lambda x: [neg(x), product(x, x)], SQUARE)
    lowered, steps = stations(graph, {0: 0})
    check_rules(lowered, steps, {0: 0})
    assert replaced(graph, steps) == [0]
    assert [named(s) for s in steps.steps] != [named(s) for s in lowered.steps]
    assert steps.commit == 1


def test_a_reader_that_needs_the_new_value_too_has_the_old_one_kept() -> None:
    """y = x + (-x) @ x reads both: x cannot be overwritten before it."""
    graph = graph_from(lambda x: [neg(x), add(product(neg(x), x), x)], SQUARE)
    steps = arrange_of(graph, {0: 0})
    assert not steps.in_place and writes(steps.steps[-1]) == [graph.inputs[0]]


COPIED = {
    "transposed": (lambda x: [neg(turned(x))], SQUARE),
    "backwards": (lambda x: [neg(made(flip, (x,), axes=(0,)))], SQUARE),
    "a product of it": (lambda x: [product(x, x)], SQUARE),
    "the input itself, moved": (lambda x: [turned(x)], SQUARE),
}


@pytest.mark.parametrize("name", COPIED)
def test_what_reads_elsewhere_is_copied_at_the_end(name: str) -> None:
    graph = graph_from(*COPIED[name])
    steps = arrange_of(graph, {0: 0})
    assert not steps.in_place
    copy = steps.steps[-1]
    assert writes(copy) == [graph.inputs[0]]
    assert steps.commit == len(steps.steps) - 1


def test_an_epilogue_reads_and_writes_the_same_element() -> None:
    """w - x.T @ y into w, as an optimizer has it; but not into x, which the product reads."""
    arrays = np.ones((5, 3)), np.ones((5, 4)), np.ones((3, 4))

    def update(x: Value, y: Value, w: Value) -> list[Value]:
        return [made(el.sub, (w, product(turned(x), y)))]

    graph = graph_from(update, *arrays)
    steps = arrange_of(graph, {0: 2})
    assert replaced(graph, steps) == [2] and len(steps.steps) == 1
    square = graph_from(lambda x, y: [made(el.sub, (x, product(x, y)))], SQUARE, SQUARE)
    assert not arrange_of(square, {0: 0}).in_place
    assert not arrange_of(square, {0: 1}).in_place


def test_a_row_that_is_read_again_is_not_overwritten() -> None:
    """A softmax into its input: its last stage alone writes, and reads where it writes."""

    def softmax(x: Value) -> list[Value]:
        top = made(ru.broadcast, (made(rd.reduce_max, (x,), axes=(1,)),), shape=(3, 4), axes=(1,))
        raised = made(el.exp, (made(el.sub, (x, top)),))
        total = made(ru.reduce_sum, (raised,), axes=(1,))
        return [made(el.div, (raised, made(ru.broadcast, (total,), shape=(3, 4), axes=(1,))))]

    graph = graph_from(softmax, X)
    lowered, steps = stations(graph, {0: 0})
    check_rules(lowered, steps, {0: 0})
    assert replaced(graph, steps) == [0] and len(steps.steps) == 1
    memory = Shared(lowered, steps, [X])
    for step in steps.steps:
        memory.run(step)
    raised = np.exp(X - X.max(1, keepdims=True))
    np.testing.assert_allclose(
        memory.at(graph.inputs[0]), (raised / raised.sum(1, keepdims=True)).reshape(-1)
    )


def rows_kernel(*stages: Stage) -> Bound:
    """A kernel over 3 rows of 4, of x (buffer 0) and y (buffer 1), which it writes."""
    buffers = (Buffer(F32, 12), Buffer(F32, 12, written=True), Buffer(F32, 4, Space.SCRATCH, True))
    return Bound(LoopKernel("k", buffers, (3, 4), 1, stages), ("x", "y"), 1)  # type: ignore[arg-type]


HERE = (4, 1)
MAP = (load(0, HERE), call("neg", 0), store(1, 1, HERE))
KERNELS = {
    "a map": (True, rows_kernel(Stage(True, MAP))),
    "it has no x": (True, rows_kernel(Stage(True, (const(1.0), store(0, 1, HERE))))),
    "a row is summed first": (
        True,
        rows_kernel(
            Stage(True, (load(0, HERE), reduce("sum", 0))),
            Stage(True, (load(0, HERE), call("add", 2, 1), store(3, 1, HERE))),
        ),
    ),
    "a row is summed afterwards": (
        False,
        rows_kernel(
            Stage(True, MAP), Stage(True, (load(0, HERE), reduce("sum", 3), store(4, 1, (4, 0))))
        ),
    ),
    "x is read after the write, in a later stage": (
        False,
        rows_kernel(Stage(True, MAP), Stage(True, (load(0, HERE), store(3, 2, (0, 1))))),
    ),
    "read one further": (
        False,
        rows_kernel(Stage(True, (load(0, HERE, 1), store(0, 1, HERE)))),
    ),
    "read by columns": (False, rows_kernel(Stage(True, (load(0, (1, 3)), store(0, 1, HERE))))),
    "read under a guard": (
        False,
        rows_kernel(
            Stage(
                True,
                (
                    Op("const", (), np.dtype(np.bool_), True),
                    Op("load", (0,), F32, Access(0, 0, HERE)),
                    store(1, 1, HERE),
                ),
            )
        ),
    ),
    "written twice": (False, rows_kernel(Stage(True, (*MAP, store(0, 1, HERE, 1))))),
    "read at an index": (
        False,
        rows_kernel(
            Stage(
                True,
                (
                    Op("index", (), np.dtype(np.int64), 0),
                    Op("load_at", (0,), F32, Indexed(Access(0, 0, (0, 1)), (4,), (3,))),
                    store(1, 1, HERE),
                ),
            )
        ),
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_what_may_be_written_in_place(name: str) -> None:
    expected, step = KERNELS[name]
    keys: Any = step.keys
    assert overwrites(step, keys[0], keys[1]) == expected


def gathered(x: Value, i: Value) -> Value:
    return made(ix.gather, (x, i))


FALLIBLE = {
    "an index": lambda x, y, i: gathered(y, i),
    "a scatter": lambda x, y, i: made(ix.scatter_add, (y, i), shape=(3, 4)),
    "a reference call": lambda x, y, i: made(linalg.inv, (product(y, turned(y)),)),
}


@pytest.mark.parametrize("name", FALLIBLE)
def test_what_can_fail_comes_first(name: str) -> None:
    graph = graph_from(lambda x, y, i: [neg(x), FALLIBLE[name](x, y, i)], X, X, INDEX)
    steps = arrange_of(graph, {0: 0})
    assert replaced(graph, steps) == [0]
    fallible = [can_fail(s) for s in steps.steps]
    assert any(fallible) and steps.commit == len(steps.steps) - 1
    assert not fallible[-1]


def test_an_update_that_can_fail_itself_is_copied() -> None:
    """It would have written some elements when it finds the wrong index."""
    graph = graph_from(lambda x, y, i: [made(el.add, (x, gathered(y, i)))], X, X, INDEX)
    steps = arrange_of(graph, {0: 0})
    assert not steps.in_place and [can_fail(s) for s in steps.steps] == [True, False]
    assert writes(steps.steps[-1]) == [graph.inputs[0]]


def test_a_failure_that_needs_the_update_goes_before_it() -> None:
    """The wrong index is found in what is read from the new value: the update waits apart."""
    graph = graph_from(lambda x, i: [neg(x), gathered(neg(x), i)], X, INDEX)
    steps = arrange_of(graph, {0: 0})
    assert [can_fail(s) for s in steps.steps] == [False, True, False]
    assert not steps.in_place and steps.commit == 2


def test_a_chain_of_updates_is_ordered() -> None:
    """b takes a's place and c takes b's: c's reader first."""
    graph = graph_from(lambda a, b, c: [neg(b), neg(c)], X, X, X)
    steps = arrange_of(graph, {0: 0, 1: 1})
    assert replaced(graph, steps) == [0, 1]
    first, second = steps.steps
    assert reads(first) == [graph.inputs[1]] and reads(second) == [graph.inputs[2]]


def test_two_that_change_places_need_room() -> None:
    graph = graph_from(lambda a, b: [neg(b), neg(a)], X, X)
    steps = arrange_of(graph, {0: 0, 1: 1})
    assert len(steps.in_place) == 1 and len(steps.steps) == 3


def test_an_empty_array_is_neither_written_nor_copied() -> None:
    graph = graph_from(lambda x: [neg(x)], np.zeros((0, 3)))
    steps = arrange_of(graph, {0: 0})
    assert not steps.in_place and not [s for s in steps.steps if isinstance(s, Bound)]
