"""From a call to a closed Graph, and from a Graph back to values.

`capture` walks back from the outputs to the leaves of a scope. Values from outside the scope that
are still being traced by an outer transform become extra inputs (`free`); all else from outside is
a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any

from backpass.ir import Graph, Node, Operand, Scope, Value, array_of, constant
from backpass.ir.graph import rebuild

Rule = Callable[[Node, tuple[Operand, ...]], Sequence[Operand]]
_order = attrgetter("order")


@dataclass(frozen=True, slots=True)
class Captured:
    """A closed graph: its last inputs stand for the `free` Values of outer transforms."""

    graph: Graph
    free: tuple[Value, ...]


def nodes_between(outputs: Sequence[object], scope: Scope) -> list[Node]:
    """The nodes made in `scope` that the outputs depend on, in topological order. No recursion."""
    found: set[Node] = set()
    pending = [
        v.node for v in outputs if type(v) is Value and v.node is not None and scope in v.scopes
    ]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += [v.node for v in node.inputs if v.node is not None and scope in v.scopes]
    return sorted(found, key=_order)


def capture(inputs: Sequence[Value], outputs: Sequence[Operand], scope: Scope) -> Captured:
    """The graph from `inputs`, leaves of `scope`, to `outputs`.

    A node that has no arrays and reads nothing that must be another Value here is taken as it is.
    """
    results = [x if type(x) is Value else constant(x) for x in outputs]
    kept: set[Node] = set()
    rebuilt: dict[Node, tuple[Value, ...]] = {}
    leaves: dict[Value, Value] = {v: v for v in inputs}
    free: dict[Value, Value] = {}

    def inward(v: Value) -> Value:
        if v.node is not None and v.node in rebuilt:
            return rebuilt[v.node][v.index]
        if v.node in kept:
            return v
        if v in leaves:
            return leaves[v]
        if any([s.alive and s is not scope for s in v.scopes]):
            leaves[v] = free[v] = Value(v.type, None, 0, None, v.scopes)
        else:
            leaves[v] = v if v.node is None and not v.scopes else constant(array_of(v))
        return leaves[v]

    nodes: list[Node] = []
    for node in nodes_between(results, scope):
        found = [inward(v) for v in node.inputs]
        if all(map(is_, found, node.inputs)) and _is_bare(node, scope):
            kept.add(node)
            nodes.append(node)
        else:
            nodes.append(rebuild(node, tuple(found)))
            rebuilt[node] = nodes[-1].outputs()
    graph = Graph((*inputs, *free.values()), tuple(nodes), tuple(map(inward, results)))
    return Captured(graph, tuple(free))


def _is_bare(node: Node, scope: Scope) -> bool:
    """Whether a node belongs to no other scope that is open, and holds no array."""
    for other in node.scopes:
        if other.alive and other is not scope:
            return False
    return not any([array is not None for array in node.arrays])


def apply_primitive(node: Node, inputs: tuple[Operand, ...]) -> Sequence[Operand]:
    """The rule of plain evaluation: the same primitive on these inputs."""
    found: Any = node.primitive(*inputs, **node.params)
    return (found,) if node.primitive.single else found


def evaluate(
    graph: Graph, arguments: Sequence[Operand], rule: Rule = apply_primitive
) -> list[Operand]:
    """The outputs of a graph for these arguments, by applying `rule` to each node in turn.

    A result is let go behind its last reader.
    """
    leaves = dict(zip(graph.inputs, arguments, strict=True))
    results: dict[Node, Sequence[Operand]] = {}
    readers: dict[Node, Node | None] = {}
    for node in graph.nodes:
        readers.update([(v.node, node) for v in node.inputs if v.node is not None])
    readers.update([(v.node, None) for v in graph.outputs if v.node is not None])

    def read(v: Value) -> Operand:
        if v.node is not None:
            return results[v.node][v.index]
        return leaves.get(v, v)

    for node in graph.nodes:
        results[node] = rule(node, tuple([read(v) for v in node.inputs]))
        for v in node.inputs:
            if v.node is not None and readers[v.node] is node:
                results.pop(v.node, None)
    return [read(v) for v in graph.outputs]
