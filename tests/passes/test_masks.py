"""masks: the derivative of a ReLU asks what is kept, with every bit; nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.ir import Graph, array_of, verify
from backpass.passes.masks import masks
from backpass.trace.capture import evaluate

W = np.random.default_rng(0).normal(size=(3, 2))
EDGES = np.array([[0.0, -0.0, 5e-324], [np.nan, -np.inf, np.inf], [-5e-324, 1.0, -1.0]])


def gradient(act: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The gradient of a layer behind an activation, and its value."""
    return bp.value_and_grad(lambda x: np.sum(act(x) @ W))


def reads(graph: Graph) -> list[str]:
    """What each comparison compares: the primitive that made it, or `leaf`."""
    compared = [n for n in graph.nodes if n.primitive.name in ("less_equal", "greater", "less")]
    return [n.inputs[0].node.primitive.name if n.inputs[0].node else "leaf" for n in compared]


def relu(x: Any) -> Any:
    return np.where(x <= 0, 0.0, x)


@pytest.mark.parametrize(
    ("act", "asked"),
    [
        (relu, ["leaf", "select"]),
        (lambda x: np.where(x > 0, x, 0.0), ["leaf", "select"]),
        (lambda x: np.where(x > 1, x, -2.0), ["leaf", "select"]),
        (lambda x: np.where(x > 1, x, 2.0), ["leaf"]),  # 2 > 1: y would say yes
        (lambda x: np.where(x <= 0, -1.0, 2.0 * x), ["leaf"]),
        (lambda x: np.where(x <= 0, 0.0, x) * 2.0, ["leaf"]),  # the select itself is not kept
    ],
)
def test_what_is_asked(act: Callable[[Any], Any], asked: list[str]) -> None:
    graph = bp.jit(gradient(act)).graph(EDGES)
    found = verify(masks(graph))
    assert reads(found) == asked
    with np.errstate(all="ignore"):
        pairs = zip(evaluate(found, [EDGES]), evaluate(graph, [EDGES]), strict=True)
        for got, expected in pairs:
            np.testing.assert_array_equal(np.asarray(array_of(got)), np.asarray(array_of(expected)))


def test_a_mask_is_no_array_of_a_training_step() -> None:
    """Predicted: a hidden layer keeps its output alone, 4 bytes for each of 64 x 64 numbers."""

    def loss(w: Any, v: Any, x: Any) -> Any:
        return np.sum(relu(x @ w) @ v)

    x, w, v = [np.ones((64, 64), np.float32) for _ in range(3)]
    plan = bp.jit(bp.grad(loss, argnums=(0, 1))).plan(w, v, x)
    written = [k.text for k in plan.kernels if "bool[4096] written" in k.text]
    assert plan.kernels and not written
