"""A comparison whose answer can still be read off what a select made of it.

Where `y = where(x <= 0, 0, x)` (a ReLU) is kept in memory anyway, the derivative's `x <= 0` is
`y <= 0`, bit for bit: so neither x nor the mask has to be kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

from backpass.ir import Graph, Lowering, Node, Value
from backpass.ir.graph import made, rebuild
from backpass.ir.show import splat
from backpass.prims import elementwise as el

COMPARISONS = frozenset(
    {el.equal, el.not_equal, el.less, el.less_equal, el.greater, el.greater_equal}
)


def masks(graph: Graph) -> Graph:
    """Ask what is kept rather than what it was made from.

    Before: `%m = less_equal(%x, 0); %y = select(%m, 0, %x); %p = contract(%y, %w);
    %d = select(%m, 0, %ct)`. After: `...; %n = less_equal(%y, 0); %d = select(%n, 0, %ct)`.
    """
    kept = _kept(graph)
    instead: dict[Node, Value] = {}  # of a comparison: the one that is asked from here on
    rebuilt: dict[Node, Node] = {}
    nodes: list[Node] = []

    def moved(v: Value) -> Value:
        if v.node is None:
            return v
        now = rebuilt[v.node]
        if now in instead:
            return instead[now]
        return v if now is v.node else now.outputs()[v.index]

    for node in graph.nodes:
        inputs = tuple(map(moved, node.inputs))
        same = all([a is b for a, b in zip(inputs, node.inputs, strict=True)])
        current = rebuilt[node] = node if same else rebuild(node, inputs)
        nodes.append(current)
        test = _test_of(current) if node in kept else None
        if test is not None and test not in instead:
            y = current.outputs()[0]
            asked = made(test.primitive, (y, test.inputs[1]), test.source)
            assert asked.node is not None
            nodes.append(asked.node)
            instead[test] = asked
    return Graph(graph.inputs, tuple(nodes), tuple(map(moved, graph.outputs)))


def _kept(graph: Graph) -> set[Node]:
    """The selects that a product reads, and so must be in memory."""
    found: set[Node] = set()
    for node in graph.nodes:
        if node.primitive.lower is not Lowering.PRODUCT:
            continue
        for v in node.inputs:
            while v.node is not None and v.node.primitive.lower is Lowering.VIEW:
                v = v.node.inputs[0]
            if v.node is not None and v.node.primitive is el.select:
                found.add(v.node)
    return found


def _test_of(node: Node) -> Node | None:
    """The comparison of a select whose answer is the same for what the select gives.

    One of its choices is what was compared; the other is a number that compares as chosen.
    """
    chosen, yes, no = node.inputs
    test = chosen.node
    if test is None or test.primitive not in COMPARISONS:
        return None
    x, bound = test.inputs
    for answer, replaced, kept in ((True, yes, no), (False, no, yes)):
        numbers = [_number(replaced), _number(bound)]
        if _same(kept, x) and None not in numbers:
            return test if bool(test.primitive.reference(*numbers)) is answer else None
    return None


def _same(v: Value, x: Value) -> bool:
    return v is x or (v.node is not None and v.node is x.node and v.index == x.index)


def _number(v: Value) -> Any:
    """The number that a constant repeats."""
    if v.node is not None or v.array is None or not splat(v.array):
        return None
    return v.array[(0,) * v.ndim]
