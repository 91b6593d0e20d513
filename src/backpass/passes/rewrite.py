"""The one walk that passes share: rebuild a graph node by node, by a rule that may replace it."""

from __future__ import annotations

from collections.abc import Callable
from operator import is_

from backpass.ir import Graph, Node, Value
from backpass.ir.graph import rebuild

# Given a node with its new inputs: the Values to use instead of its outputs, or None to keep it.
Rule = Callable[[Node], tuple[Value, ...] | None]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph with `rule` applied to each node in order.

    A node whose inputs did not change is kept as it is. Nodes that the rule made come before their
    first reader.
    """
    instead: dict[Node | None, tuple[Value, ...]] = {}  # None, of a leaf, is never in it
    nodes: list[Node] = []
    known: set[Node] = set()

    def moved(v: Value) -> Value:
        found = instead.get(v.node)
        return v if found is None else found[v.index]

    for node in graph.nodes:
        current, same = node, True
        for v in node.inputs:
            if v.node in instead:
                inputs = tuple(map(moved, node.inputs))
                same = all(map(is_, inputs, node.inputs))
                current = node if same else rebuild(node, inputs)
                break
        answer = rule(current)
        if answer is not None:
            instead[node] = answer
            nodes.extend(unknown_nodes(answer, known))
            continue
        nodes.append(current)
        known.add(current)
        if not same:
            instead[node] = current.outputs()
    return Graph(graph.inputs, tuple(nodes), tuple(map(moved, graph.outputs)))


def unknown_nodes(values: tuple[Value, ...], known: set[Node]) -> list[Node]:
    """The nodes that the values depend on and that are not known, which they are from now on."""
    found: list[Node] = []
    pending = [v.node for v in values if v.node is not None and v.node not in known]
    while pending:
        node = pending.pop()
        if node not in known:
            known.add(node)
            found.append(node)
            pending.extend([v.node for v in node.inputs if v.node is not None])
    return sorted(found, key=lambda node: node.order)
