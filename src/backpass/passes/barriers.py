"""The end of the barriers: the pass after which nothing may merge or reorder nodes."""

from __future__ import annotations

from backpass.ir import Graph, Node, Value
from backpass.passes.rewrite import rewrite
from backpass.prims.barrier import barrier


def drop_barriers(graph: Graph) -> Graph:
    """Let what follows a barrier read what the barrier reads. It comes after `cse` and `order`.

    Before: `%2 = barrier(%0, %1) count=1; %3 = sin(%2)`. After: `%3 = sin(%0)`.
    """

    def rule(node: Node) -> tuple[Value, ...] | None:
        return node.inputs[: node.params["count"]] if node.primitive is barrier else None

    return rewrite(graph, rule)
