"""Dead code elimination."""

from __future__ import annotations

from backpass.ir import Graph, Node


def dce(graph: Graph) -> Graph:
    """Drop nodes that no output depends on. Inputs stay.

    Before: `%1 = sin(%0); %2 = cos(%0); return %2`. After: `%1 = cos(%0); return %1`.
    """
    needed: set[Node] = {v.node for v in graph.outputs if v.node is not None}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update([v.node for v in node.inputs if v.node is not None])
    return Graph(graph.inputs, tuple([n for n in graph.nodes if n in needed]), graph.outputs)
