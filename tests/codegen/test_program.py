"""A Program runs a graph many times: it owns its results and writes to no argument."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.compiled import assert_compiled

import backpass as bp
from backpass.codegen import compile_graph
from backpass.ir import Graph, verify

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


def test_memory_is_used_again_after_the_last_reader() -> None:
    """A chain of products needs room for two arrays at a time, not for all."""
    x = np.random.default_rng(0).normal(size=(64, 64))

    def chain(x: Any) -> Any:
        for _ in range(10):
            x = x @ x / 64.0
        return x

    program = compile_graph(graph_of(chain, x))
    assert 0 < program.assembly.arena.size <= 2.2 * x.nbytes
    assert_compiled(program([x])[0], chain(x))


def test_the_text_of_a_program_is_its_graph() -> None:
    graph = graph_of(np.tanh, X)
    assert "tanh" in str(compile_graph(graph))
