"""What is the same along an axis is computed once: maps of repeated arrays are repeated maps.

A derivative asks for `1 / broadcast(s)` of a standard deviation that each row has once. Written as
`broadcast(1 / s)` it is a number a row, which costs nothing to compute and to keep.
"""

from __future__ import annotations

import numpy as np

from backpass.ir import Graph, Lowering, Node, Value, constant
from backpass.ir.graph import made
from backpass.ir.show import splat
from backpass.passes.rewrite import rewrite
from backpass.prims import rules as ru


def narrow(graph: Graph) -> Graph:
    """Before: `%1 = broadcast(%0); %2 = reciprocal(%1)`. After: `%1 = reciprocal(%0);
    %2 = broadcast(%1)`.

    The other inputs of the map must be repeated along the same axes, or one number.
    """
    return rewrite(graph, _rule)


def _rule(node: Node) -> tuple[Value, ...] | None:
    if node.primitive.lower is not Lowering.ELEMENTWISE or len(node.types) != 1:
        return None
    repeated = [v.node for v in node.inputs if v.node is not None]
    if not repeated or any([n.primitive is not ru.broadcast for n in repeated]):
        return None
    first = repeated[0]
    source = first.inputs[0]
    axes, shape = first.params["axes"], first.params["shape"]
    inputs: list[Value] = []
    for v in node.inputs:
        if v.node is None:
            if v.array is None or not splat(v.array):
                return None
            inputs.append(constant(np.broadcast_to(v.array[(0,) * v.ndim], source.shape)))
        elif v.node.params["axes"] == axes and v.node.params["shape"] == shape:
            inputs.append(v.node.inputs[0])
        else:
            return None
    mapped = made(node.primitive, inputs, node.source, **node.params)
    return (made(ru.broadcast, (mapped,), node.source, shape=shape, axes=axes),)
