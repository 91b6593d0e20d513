"""The verifier catches planted faults, and a graph prints the same text in every process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.errors import VerificationError
from backpass.ir import Graph, Scope, ScopeKind, TensorType, constant, leaf, show, type_of, verify
from backpass.prims import elementwise as el
from backpass.trace import capture

X = np.array([0.5, 1.5])


def sound() -> Graph:
    """sin(x) * exp(sin(x))."""
    with Scope(ScopeKind.COMPILE) as scope:
        x = leaf(type_of(X), frozenset((scope,)))
        y = el.sin(x)
        return verify(capture([x], [el.mul(y, el.exp(y))], scope).graph)


def _order(g: Graph) -> Graph:
    return replace(g, nodes=g.nodes[::-1])


def _twice(g: Graph) -> Graph:
    return replace(g, nodes=(*g.nodes, g.nodes[0]))


def _missing(g: Graph) -> Graph:
    return replace(g, nodes=g.nodes[1:])


def _inputs_twice(g: Graph) -> Graph:
    return replace(g, inputs=g.inputs * 2)


def _free(g: Graph) -> Graph:
    return replace(g, inputs=())


def _shape(g: Graph) -> Graph:
    wrong = replace(g.nodes[-1], types=(TensorType((3,), np.dtype(np.float64)),))
    return replace(g, nodes=(*g.nodes[:-1], wrong), outputs=(wrong.outputs()[0],))


def _dtype(g: Graph) -> Graph:
    wrong = replace(g.nodes[0], types=(TensorType((2,), np.dtype(np.float32)),))
    return Graph(g.inputs, (wrong,), (wrong.outputs()[0],))


def _undefined_output(g: Graph) -> Graph:
    return replace(g, nodes=g.nodes[:-1])


def _constant(g: Graph) -> Graph:
    wrong = replace(constant(X), type=TensorType((5,), np.dtype(np.float64)))
    return replace(g, outputs=(wrong,))


FAULTS: dict[str, tuple[Any, str]] = {
    "order": (_order, "before it is computed"),
    "a node twice": (_twice, "appears twice"),
    "a node missing": (_missing, "before it is computed"),
    "an input twice": (_inputs_twice, "appears twice"),
    "a free value": (_free, "no input"),
    "a wrong shape": (_shape, "its shape rule gives"),
    "a wrong dtype": (_dtype, "its shape rule gives"),
    "an undefined output": (_undefined_output, "the outputs"),
    "a constant that lies": (_constant, "whose array is not"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    plant, text = FAULTS[name]
    with pytest.raises(VerificationError, match=text):
        verify(plant(sound()))


PROGRAM = """
import numpy as np, backpass as bp
from backpass.ir import show
f = bp.jit(bp.grad(lambda p: np.sum(np.tanh(p["w"] @ np.ones(3)) * p["b"])))
print(show(f.graph({"w": np.ones((2, 3)), "b": np.arange(2.0)})))
"""


def test_printing_is_the_same_in_every_process() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""


def test_source_lines_are_printed_on_request() -> None:
    graph = bp.jit(lambda x: np.sin(x)).graph(X)
    assert "#" not in show(graph)
    assert "test_verify_and_show.py" in show(graph, sources=True)


def test_a_deep_graph_has_a_short_repr() -> None:
    def chain(x: Any) -> Any:
        for _ in range(3000):
            x = x * 1.5
        return x

    graph = bp.jit(chain).graph(1.0)
    assert len(repr(graph.nodes[-1])) < 200
    assert len(show(graph).splitlines()) >= 3000
