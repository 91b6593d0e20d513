"""Golden texts of simplify, cse and dce, before and after, and what each pass must not change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.ir import Graph, Scope, ScopeKind, constant, leaf, show, type_of, verify
from backpass.ir.graph import rebuild
from backpass.passes import cse, dce, simplify
from backpass.prims import elementwise as el
from backpass.prims import shape as sh
from backpass.prims.barrier import barrier
from backpass.prims.rules import full_like, scale
from backpass.trace import capture, evaluate, unwrap, wrap

X = np.array([0.5, -1.5, 2.0])
M = np.arange(6.0).reshape(2, 3)


def graph_of(function: Callable[..., Any], *args: Any) -> Graph:
    """The graph of a function of Values, before any pass."""
    with Scope(ScopeKind.COMPILE) as scope:
        inputs = [leaf(type_of(x), frozenset((scope,))) for x in args]
        found = function(*inputs)
        outputs = list(found) if isinstance(found, tuple) else [found]
        return verify(capture(inputs, outputs, scope).graph)


@dataclass(frozen=True)
class Golden:
    """A function of Values, the pass, and its graph's text before and after."""

    function: Callable[..., Any]
    apply: Callable[[Graph], Graph]
    before: str
    after: str
    args: tuple[Any, ...] = (X,)


GOLDEN = {
    "scale by numbers": Golden(
        lambda x: (
            scale(x, full_like(x, 0.5)),
            scale(full_like(x, -2.0), x),
            scale(x, full_like(x, np.nan)),
            scale(full_like(x, 0.0), x),
        ),
        simplify,
        """
        graph(%0: float64[3]):
          %1: float64[3] = scale(%0, 0.5:float64[3])
          %2: float64[3] = scale(-2.0:float64[3], %0)
          %3: float64[3] = scale(%0, nan:float64[3])
          %4: float64[3] = scale(0.0:float64[3], %0)
          return %1, %2, %3, %4
        """,
        """
        graph(%0: float64[3]):
          %1: float64[3] = mul(%0, 0.5:float64[3])
          %2: float64[3] = mul(-2.0:float64[3], %0)
          %3: float64[3] = scale(%0, nan:float64[3])
          %4: float64[3] = scale(0.0:float64[3], %0)
          return %1, %2, %3, %4
        """,
    ),
    "an array of equal numbers": Golden(
        lambda x: el.add(el.mul(x, constant(np.full(3, 7.0))), constant(np.array([7.0, 0.0, 7.0]))),
        simplify,
        """
        graph(%0: float64[3]):
          %1: float64[3] = mul(%0, const:float64[3]#bf76f46a)
          %2: float64[3] = add(%1, const:float64[3]#5c76960b)
          return %2
        """,
        """
        graph(%0: float64[3]):
          %1: float64[3] = mul(%0, 7.0:float64[3])
          %2: float64[3] = add(%1, const:float64[3]#5c76960b)
          return %2
        """,
    ),
    "identity and stop": Golden(
        lambda x: el.stop(el.identity(x)),
        simplify,
        """
        graph(%0: float64[3]):
          %1: float64[3] = identity(%0)
          %2: float64[3] = stop_gradient(%1)
          return %2
        """,
        """
        graph(%0: float64[3]):
          return %0
        """,
    ),
    "multiplication by one": Golden(
        lambda x: scale(el.mul(full_like(x, 1.0), x), full_like(x, 1.0)),
        simplify,
        """
        graph(%0: float64[3]):
          %1: float64[3] = mul(1.0:float64[3], %0)
          %2: float64[3] = scale(%1, 1.0:float64[3])
          return %2
        """,
        """
        graph(%0: float64[3]):
          return %0
        """,
    ),
    "double negation": Golden(
        lambda x: el.exp(el.neg(el.neg(x))),
        lambda g: dce(simplify(g)),
        """
        graph(%0: float64[3]):
          %1: float64[3] = neg(%0)
          %2: float64[3] = neg(%1)
          %3: float64[3] = exp(%2)
          return %3
        """,
        """
        graph(%0: float64[3]):
          %1: float64[3] = exp(%0)
          return %1
        """,
    ),
    "transposed twice and reshaped back": Golden(
        lambda m: sh.reshape(
            sh.reshape(sh.transpose(sh.transpose(m, order=(1, 0)), order=(1, 0)), shape=(6,)),
            shape=(2, 3),
        ),
        lambda g: dce(simplify(g)),
        """
        graph(%0: float64[2,3]):
          %1: float64[3,2] = transpose(%0) order=(1,0)
          %2: float64[2,3] = transpose(%1) order=(1,0)
          %3: float64[6] = reshape(%2) shape=(6)
          %4: float64[2,3] = reshape(%3) shape=(2,3)
          return %4
        """,
        """
        graph(%0: float64[2,3]):
          return %0
        """,
        (M,),
    ),
    "a sum keeps its signed zero": Golden(
        lambda x: el.add(x, full_like(x, 0.0)),
        simplify,
        """
        graph(%0: float64[3]):
          %1: float64[3] = add(%0, 0.0:float64[3])
          return %1
        """,
        """
        graph(%0: float64[3]):
          %1: float64[3] = add(%0, 0.0:float64[3])
          return %1
        """,
    ),
    "equal applications": Golden(
        lambda x: el.add(el.sin(x), el.sin(x)),
        cse,
        """
        graph(%0: float64[3]):
          %1: float64[3] = sin(%0)
          %2: float64[3] = sin(%0)
          %3: float64[3] = add(%1, %2)
          return %3
        """,
        """
        graph(%0: float64[3]):
          %1: float64[3] = sin(%0)
          %2: float64[3] = add(%1, %1)
          return %2
        """,
    ),
    "equal applications of equal constants": Golden(
        lambda x: el.add(el.mul(x, np.array([1.0, 2, 3])), el.mul(x, np.array([1.0, 2, 3]))),
        cse,
        """
        graph(%0: float64[3]):
          %1: float64[3] = mul(%0, const:float64[3]#5b25e824)
          %2: float64[3] = mul(%0, const:float64[3]#5b25e824)
          %3: float64[3] = add(%1, %2)
          return %3
        """,
        """
        graph(%0: float64[3]):
          %1: float64[3] = mul(%0, const:float64[3]#5b25e824)
          %2: float64[3] = add(%1, %1)
          return %2
        """,
    ),
    "the same behind a barrier is computed again": Golden(
        lambda x: el.add(el.sin(x), el.sin(barrier(x, el.sin(x)))),
        lambda g: dce(cse(simplify(g))),
        """
        graph(%0: float64[3]):
          %1: float64[3] = sin(%0)
          %2: float64[3] = sin(%0)
          %3: float64[3] = barrier(%0, %2)
          %4: float64[3] = sin(%3)
          %5: float64[3] = add(%1, %4)
          return %5
        """,
        """
        graph(%0: float64[3]):
          %1: float64[3] = sin(%0)
          %2: float64[3] = barrier(%0, %1)
          %3: float64[3] = sin(%2)
          %4: float64[3] = add(%1, %3)
          return %4
        """,
    ),
    "other params are other applications": Golden(
        lambda m: el.add(sh.flip(m, axes=(0,)), sh.flip(m, axes=(1,))),
        cse,
        """
        graph(%0: float64[2,3]):
          %1: float64[2,3] = flip(%0) axes=(0)
          %2: float64[2,3] = flip(%0) axes=(1)
          %3: float64[2,3] = add(%1, %2)
          return %3
        """,
        """
        graph(%0: float64[2,3]):
          %1: float64[2,3] = flip(%0) axes=(0)
          %2: float64[2,3] = flip(%0) axes=(1)
          %3: float64[2,3] = add(%1, %2)
          return %3
        """,
        (M,),
    ),
}


def text(golden: str) -> str:
    """A golden text as it is printed."""
    return dedent(golden).strip()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    golden = GOLDEN[name]
    graph = graph_of(golden.function, *golden.args)
    after = verify(golden.apply(graph))
    assert show(graph) == text(golden.before)
    assert show(after) == text(golden.after)
    before_values = evaluate(graph, golden.args)
    for got, expected in zip(evaluate(after, golden.args), before_values, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_dce_drops_what_no_output_needs_and_keeps_inputs() -> None:
    graph = graph_of(lambda x, y: el.add(el.cos(x), el.sin(x)), X, X)
    kept = Graph(graph.inputs, graph.nodes, (graph.nodes[0].outputs()[0],))
    after = show(verify(dce(kept)))
    name = graph.nodes[0].primitive.name
    assert after == text(
        f"""
        graph(%0: float64[3], %1: float64[3]):
          %2: float64[3] = {name}(%0)
          return %2
        """
    )


def test_constants_are_folded_up_to_a_limit() -> None:
    for size, names in ((4, ["add"]), (1000, ["sin", "add"])):
        x = np.arange(float(size))
        graph = graph_of(lambda x, c: el.add(x, el.sin(c)), x, x)
        sine = rebuild(graph.nodes[0], (constant(x),))
        total = rebuild(graph.nodes[1], (graph.inputs[0], sine.outputs()[0]))
        whole = verify(Graph(graph.inputs[:1], (sine, total), total.outputs()))
        folded = verify(simplify(whole))
        assert [node.primitive.name for node in folded] == names
        np.testing.assert_array_equal(evaluate(folded, [x])[0], x + np.sin(x))


def test_negative_zero_survives() -> None:
    x = np.array([-0.0, 0.0])
    for function in (
        lambda x: x - 0.0,
        lambda x: x - (-0.0),
        lambda x: x + 0.0,
        lambda x: x * 1.0,
        lambda x: x / 1.0,
        lambda x: np.negative(-x),
    ):
        assert np.signbit(bp.jit(function)(x)).tolist() == np.signbit(function(x)).tolist()


def rosenbrock(x: Any) -> Any:
    """A function whose gradient has something for every pass."""
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.parametrize("order", range(3))
def test_passes_keep_every_bit(order: int) -> None:
    function: Any = rosenbrock
    for _ in range(order):
        function = bp.grad(lambda x, f=function: np.sum(f(x)))
    graph = graph_of(lambda v: unwrap(function(wrap(v))), X)
    expected = evaluate(graph, [X])[0]
    current = graph
    for apply in (simplify, cse, dce, simplify, cse, dce):
        current = verify(apply(current))
        np.testing.assert_array_equal(evaluate(current, [X])[0], expected)
    assert order == 0 or len(current.nodes) < len(graph.nodes)
    assert show(dce(cse(simplify(current)))) == show(current)
