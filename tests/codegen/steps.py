"""Graphs with updates in place, from lowering to arranged steps: what tests of the stations share.

`training(program)` makes a training step of a random program; `Shared` is the memory of the kernel
interpreter in which a result that replaces an input lies where the input does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tests.codegen.lower.lowering import Memory, filled, graph_of
from tests.codegen.random_graphs import Program

from backpass.codegen.arrange import Arranged, Step, arranged, bytes_of, writes
from backpass.codegen.lower import lower
from backpass.codegen.lower.lower import Call, Lowered
from backpass.codegen.phases import chained
from backpass.ir import Graph, Value
from backpass.ir.graph import leaf, made, type_of
from backpass.prims import elementwise as el
from backpass.prims.contract import contract
from backpass.prims.shape import transpose

Array = np.ndarray[Any, Any]
RATE = 0.125


def graph_from(outputs: Callable[..., Sequence[Value]], *arrays: Any) -> Graph:
    """A graph made of primitives: `outputs` gets the inputs, as Values."""
    inputs = tuple([leaf(type_of(x), frozenset()) for x in arrays])
    found = tuple(outputs(*inputs))
    nodes = {n: None for v in found for n in _ancestors(v)}
    return Graph(inputs, tuple(sorted(nodes, key=lambda n: n.order)), found)


def _ancestors(v: Value) -> list[Any]:
    pending, found = [v], []
    while pending:
        node = pending.pop().node
        if node is not None and node not in found:
            found.append(node)
            pending.extend(node.inputs)
    return found


def neg(x: Value) -> Value:
    """-x."""
    return made(el.neg, (x,))


def product(x: Value, y: Value) -> Value:
    """x @ y, of two matrices."""
    return made(contract, (x, y), x_batch=(), y_batch=(), x_sum=(1,), y_sum=(0,))


def turned(x: Value) -> Value:
    """The transpose of a matrix."""
    return made(transpose, (x,), order=(1, 0))


def stations(graph: Graph, updates: Mapping[int, int]) -> tuple[Lowered, Arranged]:
    """A graph lowered and arranged."""
    lowered = lower(graph)
    return lowered, chained(arranged(lowered, updates))


def named(step: Step) -> str:
    """What a step is: the name of its kernel, or of the primitive that is called."""
    return step.node.primitive.name if isinstance(step, Call) else step.kernel.name


def training(program: Program) -> tuple[Graph, dict[int, int], list[Array], list[Array]]:
    """A step of gradient descent on a random program: value out, floating inputs updated.

    Returns:
        The graph, its updates, arrays for its inputs, and what NumPy gives for its outputs.
    """

    def step(*xs: Any) -> Any:
        gradient = program.gradient(*xs)
        pairs = zip(program.differentiable, gradient, strict=True)
        return program.total(*xs), *[(xs[i] - RATE * g).astype(xs[i].dtype) for i, g in pairs]

    xs = [np.array(x) for x in program.inputs]
    graph = graph_of(step, *xs)
    updates = {1 + k: i for k, i in enumerate(program.differentiable)}
    with np.errstate(all="ignore"):
        return graph, updates, xs, [np.asarray(x) for x in step(*xs)]


class Shared(Memory):
    """The interpreter's memory with updates in place."""

    def __init__(self, lowered: Lowered, steps: Arranged, arguments: Sequence[Any]) -> None:
        super().__init__(lowered, arguments)
        for new, old in steps.in_place.items():
            self.arrays[new] = self.arrays[old]
        for step in steps.steps:
            for key in writes(step):
                if not bytes_of(key, step):
                    self.arrays.setdefault(key, filled(key, step))
