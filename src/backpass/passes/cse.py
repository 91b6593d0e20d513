"""Common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from backpass.ir import Graph, Node, Value
from backpass.ir.show import splat
from backpass.passes.rewrite import rewrite

SMALL = 64


def cse(graph: Graph) -> Graph:
    """Compute equal applications once: same primitive, same inputs, same params.

    Before: `%1 = sin(%0); %2 = sin(%0); %3 = add(%1, %2)`. After: `%1 = sin(%0); %2 = add(%1, %1)`.
    Constants are equal if their types and bytes are (large ones only if they are one object).
    """
    seen: dict[Hashable, tuple[Value, ...]] = {}

    def rule(node: Node) -> tuple[Value, ...] | None:
        key = _key(node)
        if key is None:
            return None
        found = seen.get(key)
        if found is None:
            seen[key] = node.outputs()
        return found

    return rewrite(graph, rule)


def _key(node: Node) -> Hashable | None:
    """What equal applications share; without parameters the inputs decide on the types."""
    params: Hashable = None
    if node.params:
        params = tuple([(name, node.params[name]) for name in sorted(node.params)]), node.types
        try:
            hash(params)
        except TypeError:
            return None
    return node.primitive, tuple(map(_value_key, node.inputs)), params


def _value_key(v: Value) -> Hashable:
    if v.node is not None:
        return v.node, v.index
    if v.array is None:
        return v
    return v.type, _bytes_key(v.array)


def _bytes_key(array: np.ndarray[Any, Any]) -> Hashable:
    if array.size and splat(array):
        return "splat", array[(0,) * array.ndim].tobytes()
    return array.tobytes() if array.size <= SMALL else id(array)
