"""The verifier: raises VerificationError where a Graph breaks an invariant.

Tests run it after every pass.
"""

from __future__ import annotations

from backpass.errors import VerificationError
from backpass.ir.graph import Graph, Node, Value


def verify(graph: Graph) -> Graph:
    """Return `graph` if it is sound.

    Sound: every input of a node is a graph input, a constant with its array, or an output of an
    earlier node; no node or input appears twice; stated types equal what the shape rule gives;
    outputs are defined.
    """
    if len(set(graph.inputs)) != len(graph.inputs):
        raise VerificationError("a Value appears twice among the graph's inputs")
    inputs, seen = set(graph.inputs), set[Node]()
    for position, node in enumerate(graph.nodes):
        for value in node.inputs:
            _check_defined(value, inputs, seen, f"node {position} ({node.primitive.name})")
        if node in seen:
            raise VerificationError(f"node {position} ({node.primitive.name}) appears twice")
        expected = node.primitive.shape(*[v.type for v in node.inputs], **node.params)
        if expected != node.types:
            raise VerificationError(
                f"node {position} ({node.primitive.name}): types {_text(node.types)} are stated, "
                f"its shape rule gives {_text(expected)}"
            )
        seen.add(node)
    for value in graph.outputs:
        _check_defined(value, inputs, seen, "the outputs")
    return graph


def _check_defined(value: Value, inputs: set[Value], seen: set[Node], where: str) -> None:
    if value in inputs:
        return
    if value.node is None:
        if value.array is None:
            raise VerificationError(f"{where} uses a free Value {value.type} that is no input")
        if value.array.shape != value.type.shape or value.array.dtype != value.type.dtype:
            raise VerificationError(f"{where} uses a constant whose array is not {value.type}")
    elif value.node not in seen:
        raise VerificationError(f"{where} uses {value.node.primitive.name} before it is computed")
    elif value.node.types[value.index] != value.type:
        raise VerificationError(f"{where}: a Value says {value.type}, its node says otherwise")


def _text(types: tuple[object, ...]) -> str:
    return "(" + ", ".join(map(str, types)) + ")"
