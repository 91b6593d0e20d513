"""Tiny arrays as scalars: the values are the reference's, and only where many kernels are saved."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled

import backpass as bp
from backpass.codegen.lower import lower
from backpass.codegen.lower.groups import is_map
from backpass.ir import Graph, show, verify
from backpass.passes import scalarize as scalars
from backpass.passes.dce import dce
from backpass.passes.scalarize import scalarize
from backpass.trace.capture import evaluate

STEPS = 40


def graph_of(function: Any, *args: Any) -> Graph:
    return verify(bp.jit(function).graph(*args))


def orbit(x: Any, scale: Any) -> Any:
    """A loop over a state of two numbers."""
    for _ in range(STEPS):
        x = x + scale * np.stack([x[1], -x[0]])
    return x


X = np.array([1.0, 0.5])


def test_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scalars, "LEAST", 1)
    graph = graph_of(lambda x: np.sum(np.stack([x[1], x[0] * 2.0]) * x), X)
    found = show(dce(scalarize(graph, is_map)))
    expected = """
    graph(%0: float64[2]):
      %1: float64[1] = slice(%0) starts=(0) steps=(1) stops=(1)
      %2: float64[] = reshape(%1) shape=()
      %3: float64[1] = slice(%0) starts=(1) steps=(1) stops=(2)
      %4: float64[] = reshape(%3) shape=()
      %5: float64[] = mul(%2, 2.0:float64[])
      %6: float64[] = mul(%4, %2)
      %7: float64[] = mul(%5, %4)
      %8: float64[] = add(%6, %7)
      return %8
    """
    assert found == textwrap.dedent(expected).strip()


def test_few_small_arrays_stay_as_they_are() -> None:
    graph = graph_of(lambda x: np.sum(np.stack([x[1], x[0] * 2.0]) * x), X)
    assert scalarize(graph, is_map) is graph
    wide = graph_of(lambda x: np.sum(np.tanh(x) * 2.0), np.ones((40, 40)))
    assert scalarize(wide, is_map) is wide


def test_a_loop_over_a_small_state_is_one_kernel() -> None:
    loss = bp.value_and_grad(lambda x, s: np.sum(orbit(x, s) ** 2), argnums=(0, 1))
    graph = graph_of(loss, X, 0.1)
    assert len(lower(graph).steps) == 1
    assert max([v.type.size for n in lower(graph).graph.nodes for v in n.outputs()]) <= 2


# What a random program is made of: (x of 3, a of 3 x 3, a larger array) to the same.
STATEMENTS: tuple[Any, ...] = (
    lambda x, a, big: (np.stack([x[1], x[0], x[2] * 0.5]), a, big),
    lambda x, a, big: (np.tanh(a @ x), a, big),
    lambda x, a, big: (x - 0.1 * np.concatenate([x[1:], x[:1]]), a, big),
    lambda x, a, big: (x[::-1] * np.sum(x[:2]) / (1.0 + np.sum(x * x)), a, big),
    lambda x, a, big: (x, 0.5 * (a @ a.T) / (1.0 + np.sum(a**2)), big),
    lambda x, a, big: (x + big[5:8] + np.sum(big) * 0.01, a, big),
    lambda x, a, big: (x, a, big * 0.9 + np.sum(x) * 0.1),
    lambda x, a, big: (np.where(x > 0.1, x, 0.3 * x) + a[0], a, big),
    lambda x, a, big: (x + a.reshape(9)[2:5] * np.maximum(x, 0.2), a, big),
)


def mixed(r: np.random.Generator) -> Any:
    """A program of many statements on small arrays, and a few on a larger one."""
    chosen = [STATEMENTS[0], *[STATEMENTS[k] for k in r.integers(0, len(STATEMENTS), 30)]]

    def function(x: Any, a: Any, big: Any) -> Any:
        for statement in chosen:
            x, a, big = statement(x, a, big)
        return np.sum(x) + np.sum(a * a) + np.mean(big), x, big

    return function


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rewritten graph has the values of the given one, the compiled program the eager ones."""
    monkeypatch.setattr(scalars, "LEAST", 1)
    monkeypatch.setattr(scalars, "WORTH", 10_000)
    r = np.random.default_rng(seed)
    function = mixed(r)
    args = r.normal(size=3), 0.5 * r.normal(size=(3, 3)), r.normal(size=40)
    slope = bp.value_and_grad(lambda *xs: function(*xs)[0], argnums=(0, 1, 2))
    graph = graph_of(slope, *args)
    rewritten = verify(scalarize(graph, is_map))
    assert rewritten is not graph
    for found, expected in zip(
        evaluate(rewritten, list(args)), evaluate(graph, list(args)), strict=True
    ):
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-12, atol=1e-13)
    value, gradient = bp.jit(slope)(*args)
    expected_value, expected_gradient = slope(*args)
    assert_compiled(value, expected_value)
    for found, expected in zip(gradient, expected_gradient, strict=True):
        assert_compiled(found, expected)
    for found, expected in zip(bp.jit(function)(*args), function(*args), strict=True):
        assert_compiled(found, expected)


def test_strong_zeros_and_padding() -> None:
    """A cotangent of 0 gives 0 where the derivative is infinite, as in the arrays' program."""

    def function(x: Any) -> Any:
        for _ in range(70):
            x = np.stack([np.where(x[0] > 0, np.sqrt(x[0]), 0.0), x[1] * 0.5, x[2]])
        return np.sum(x * np.array([1.0, 2.0, np.inf])[:2].sum())

    slope = bp.grad(function)
    x = np.array([0.0, 1.0, 2.0])
    np.testing.assert_array_equal(bp.jit(slope)(x), slope(x))
