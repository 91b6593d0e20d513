"""order and live_peak: golden texts, and what holds for every flow of steps and buffers."""

from __future__ import annotations

import itertools
from textwrap import dedent
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import backpass as bp
from backpass.ir import Graph, Scope, ScopeKind, leaf, show, type_of, verify
from backpass.passes import live_peak, order
from backpass.passes.liveness import Flow, flow_of
from backpass.passes.order import best_order, freeing_first, freeing_last, swapped
from backpass.prims import elementwise as el
from backpass.prims import shape as sh
from backpass.prims.rules import broadcast, reduce_sum
from backpass.trace import capture, evaluate

X = np.arange(1000.0)


def graph_of(function: Any, *args: Any) -> Graph:
    """The graph of a function of Values."""
    with Scope(ScopeKind.COMPILE) as scope:
        inputs = [leaf(type_of(x), frozenset((scope,))) for x in args]
        found = function(*inputs)
        return verify(capture(inputs, found, scope).graph)


def total(x: Any) -> Any:
    """The sum of a vector."""
    return reduce_sum(x, axes=(0,))


def wide(x: Any) -> list[Any]:
    """Two independent arrays, each of which is reduced to a number; both are made first."""
    a, b = el.sin(x), el.cos(x)
    return [total(a), total(b)]


def test_golden() -> None:
    graph = graph_of(wide, X)
    assert show(graph) == text(
        """
        graph(%0: float64[1000]):
          %1: float64[1000] = sin(%0)
          %2: float64[1000] = cos(%0)
          %3: float64[] = sum(%1) axes=(0)
          %4: float64[] = sum(%2) axes=(0)
          return %3, %4
        """
    )
    after = verify(order(graph))
    assert show(after) == text(
        """
        graph(%0: float64[1000]):
          %1: float64[1000] = sin(%0)
          %2: float64[] = sum(%1) axes=(0)
          %3: float64[1000] = cos(%0)
          %4: float64[] = sum(%3) axes=(0)
          return %2, %4
        """
    )
    assert (live_peak(graph), live_peak(after)) == (16008, 8016)
    assert show(order(after)) == show(after)
    for got, expected in zip(evaluate(after, [X]), evaluate(graph, [X]), strict=True):
        np.testing.assert_array_equal(got, expected)


def text(golden: str) -> str:
    """A golden text as it is printed."""
    return dedent(golden).strip()


PEAKS = {
    # a chain: one array dies as the next is made
    "chain": (lambda x: [total(el.exp(el.cos(el.sin(x))))], 16000),
    # inputs and constants are the caller's; an output is live to the end
    "outputs": (lambda x: [el.sin(x), el.cos(x), x], 16000),
    # a view is no memory of its own, and keeps what it is a view of
    "view": (lambda x: [total(sh.flip(sh.reshape(el.sin(x), shape=(1000,)), axes=(0,)))], 8008),
    "view of an input": (lambda x: [total(sh.flip(x, axes=(0,)))], 8),
    "broadcast": (
        lambda x: [reduce_sum(broadcast(total(x), shape=(9, 9), axes=(0, 1)), axes=(0, 1))],
        16,
    ),
    # read by one node twice
    "square": (lambda x: [total(el.mul(*[el.sin(x)] * 2))], 16000),
}


def test_live_peak() -> None:
    for name, (function, peak) in PEAKS.items():
        assert live_peak(graph_of(function, X)) == peak, name


@st.composite
def flows(draw: st.DrawFn, most: int = 9) -> Flow:
    """Steps that make one or two buffers, some of none, and read earlier ones."""
    steps = draw(st.integers(1, most))
    sizes: list[int] = []
    makes: list[list[int]] = []
    reads: list[list[int]] = []
    waits: list[list[int]] = []
    for step in range(steps):
        read = draw(st.sets(st.integers(0, len(sizes) - 1), max_size=3)) if sizes else set[int]()
        reads.append(sorted(read))
        makers = {s for s, made in enumerate(makes) for b in made if b in read}
        more = draw(st.sets(st.integers(0, step - 1), max_size=1)) if step else set[int]()
        waits.append(sorted(makers | more))
        count = draw(st.integers(0, 2))
        makes.append(list(range(len(sizes), len(sizes) + count)))
        sizes += [draw(st.integers(0, 20)) for _ in range(count)]
    kept = {b for b in range(len(sizes)) if draw(st.booleans()) and draw(st.booleans())}
    return Flow(sizes, makes, reads, waits, kept)


def runs(flow: Flow, found: list[int]) -> bool:
    """Whether each step is there once, and behind those that it waits for."""
    places = {step: i for i, step in enumerate(found)}
    steps = range(len(flow.makes))
    return sorted(found) == list(steps) and all(
        places[w] < places[s] for s in steps for w in flow.waits[s]
    )


def counted(flow: Flow, found: list[int]) -> int:
    """The peak by its definition: for each step the buffers between their maker and last reader."""
    places = {step: i for i, step in enumerate(found)}
    spans = {
        b: (
            places[step],
            len(found) if b in flow.kept else max(map(places.get, [step, *flow.readers[b]])),  # pyright: ignore
        )
        for step, made in enumerate(flow.makes)
        for b in made
    }
    return max(
        sum(flow.sizes[b] for b, (first, last) in spans.items() if first <= i <= last)
        for i in range(len(found))
    )


@settings(max_examples=300, deadline=None)
@given(flows())
def test_every_order_runs_and_no_peak_is_above_the_given(flow: Flow) -> None:
    base = list(range(len(flow.makes)))
    for made in (freeing_first, freeing_last, lambda flow, base: swapped(flow, base)):
        found = made(flow, base)
        assert runs(flow, found)
        assert flow.most_live(found) == counted(flow, found) >= flow.least()
    best = best_order(flow)
    assert runs(flow, best)
    peak, given = flow.most_live(best), flow.most_live(base)
    assert peak < given or (peak == given and best == base)
    assert best == best_order(flow)


@settings(max_examples=60, deadline=None)
@given(flows(6))
def test_the_lowest_peak_of_all_orders_is_no_higher_than_what_is_stated(flow: Flow) -> None:
    steps = list(range(len(flow.makes)))
    orders = [list(o) for o in itertools.permutations(steps) if runs(flow, list(o))]
    lowest = min(flow.most_live(o) for o in orders)
    assert flow.least() <= lowest <= flow.most_live(best_order(flow))


def test_small_programs_get_the_best_order_there_is() -> None:
    """Independent chains that begin wide and end narrow: one after the other, the widest first."""

    def chains(x: Any) -> list[Any]:
        made = [el.sin(x), el.cos(x), el.exp(x), el.tanh(x)]
        doubled = [el.mul(a, a) for a in made]
        return [total(a) for a in doubled]

    after = order(graph_of(chains, X))
    assert live_peak(after) == 2 * 8000 + 3 * 8
    names = [node.primitive.name for node in after]
    assert names == [n for f in ("sin", "cos", "exp", "tanh") for n in (f, "mul", "sum")]


def attention(w: Any, x: Any) -> Any:
    """Two blocks of self-attention with a residual, and the sum of squares."""
    for a in w:
        q, k, v = (x @ a[i] for i in range(3))
        scores = np.exp(q @ np.swapaxes(k, -1, -2))
        x = x + (scores / np.sum(scores, -1, keepdims=True)) @ v
    return np.sum(x**2)


def test_a_training_step_keeps_its_bits() -> None:
    rng = np.random.default_rng(1)
    w, x = [rng.normal(size=(3, 8, 8)) / 9 for _ in range(2)], rng.normal(size=(4, 32, 8))
    graph = bp.jit(bp.value_and_grad(attention)).graph(w, x)
    after = verify(order(graph))
    assert live_peak(after) < 0.95 * live_peak(graph)
    for got, want in zip(*[evaluate(g, [*w, x]) for g in (graph, after)], strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_long_graph() -> None:
    def many(x: Any) -> list[Any]:
        values = [x]
        for i in range(5000):
            values.append(el.mul(el.sin(values[-1]), values[-1 - i % 3]))
        return [total(v) for v in values[-3:]]

    graph = graph_of(many, np.ones(8))
    assert live_peak(verify(order(graph))) <= live_peak(graph)
    assert len(flow_of(graph).makes) == len(graph.nodes) > 10000
