"""A Graph as stable text: the same graph prints the same bytes in every process.

Names are given in order of appearance (`%0`, `%1`, ...); a splat constant prints as its number, any
other constant by its type and a checksum. Golden tests of passes compare this text.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import cast

import numpy as np

from backpass.ir.graph import Array, Graph, Node, Value


def show(graph: Graph, *, sources: bool = False) -> str:
    """Text of `graph`, one line a node; `sources` adds the user's line to each."""
    names: dict[object, str] = {}
    for value in graph.inputs:
        names[value] = f"%{len(names)}"

    def name(value: Value) -> str:
        if value in names:
            return names[value]
        if value.node is None:
            return _constant_text(value)
        base = names[value.node]
        return base if len(value.node.types) == 1 else f"{base}.{value.index}"

    head = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs)
    lines = [f"graph({head}):"]
    for node in graph.nodes:
        names[node] = f"%{len(names)}"
        lines.append("  " + _node_text(node, names[node], name, sources))
    lines.append("  return " + ", ".join(name(v) for v in graph.outputs))
    return "\n".join(lines)


def _node_text(node: Node, own: str, name: Callable[[Value], str], sources: bool) -> str:
    params = "".join(f" {key}={_param_text(node.params[key])}" for key in sorted(node.params))
    types = ", ".join(map(str, node.types))
    text = f"{own}: {types} = {node.primitive.name}({', '.join(map(name, node.inputs))}){params}"
    return f"{text}  # {node.source}" if sources and node.source is not None else text


def _constant_text(value: Value) -> str:
    array = value.array
    if array is None:
        return f"free:{value.type}"
    if array.size and (array.ndim == 0 or splat(array)):
        number = array[(0,) * array.ndim].item()
        return f"{number!r}:{value.type}"
    return f"const:{value.type}#{zlib.crc32(np.ascontiguousarray(array).tobytes()):08x}"


def splat(array: Array) -> bool:
    """Whether an array is one number broadcast: every stride of an extent above 1 is zero."""
    return array.size > 0 and all(
        s == 0 or n == 1 for s, n in zip(array.strides, array.shape, strict=True)
    )


def _param_text(value: object) -> str:
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, tuple):
        return "(" + ",".join(map(_param_text, cast("tuple[object, ...]", value))) + ")"
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return str(value)
