"""A Program runs a graph many times: it owns its results and writes to no argument."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

import backpass as bp
from backpass.codegen import compile_graph
from backpass.ir import Graph, verify
from backpass.prims import elementwise as el

X = np.linspace(0.1, 1.0, 5)


def graph_of(function: Any, *args: Any) -> Graph:
    return verify(bp.jit(function).graph(*args))


def test_a_program_runs_again_and_gives_the_same_bits() -> None:
    program = compile_graph(graph_of(lambda x: np.sin(x) * x + 2.0, X))
    (first,), (second,) = program([X]), program([X])
    assert first.tobytes() == second.tobytes()
    np.testing.assert_array_equal(first, np.sin(X) * X + 2.0)


def test_results_are_the_callers_own() -> None:
    program = compile_graph(graph_of(lambda x: (x, x[1:], x.T, np.ones(3) * 2.0), X))
    argument = X.copy()
    for result in program([argument]):
        assert result.flags.writeable
        assert not np.shares_memory(result, argument)
        result[...] = -1.0
    np.testing.assert_array_equal(argument, X)
    np.testing.assert_array_equal(program([X])[3], [2.0, 2.0, 2.0])


def test_one_value_asked_for_twice_comes_as_two_arrays() -> None:
    program = compile_graph(graph_of(lambda x: (np.exp(x),) * 2, X))
    first, second = program([X])
    assert not np.shares_memory(first, second)


def test_a_value_is_dropped_after_its_last_reader(monkeypatch: Any) -> None:
    """While the third node runs, the result of the first is gone."""
    alive: list[Any] = []

    def reference(x: Any) -> Any:
        alive.append([r() is not None for r in made])
        out = np.array(np.cos(x))
        made.append(weakref.ref(out))
        return out

    made: list[weakref.ref[Any]] = []
    graph = graph_of(lambda x: np.cos(np.cos(np.cos(x))), X)
    object.__setattr__(el.cos, "reference", reference)
    try:
        compile_graph(graph)([X])
    finally:
        object.__setattr__(el.cos, "reference", np.cos)
    assert alive == [[], [True], [False, True]]


def test_the_text_of_a_program_is_its_graph() -> None:
    graph = graph_of(np.tanh, X)
    assert "tanh" in str(compile_graph(graph))
