"""Sums at integer positions that change only the rows which they name.

The gradient of reading some rows of a table is zero but for those rows, and `table - lr * gradient`
leaves all others as they are. `sparse_updates` finds such sums and what is made of them; the
compiler then visits those rows alone. The rule here is about form: what happens where lr * 0 is not
the zero that leaves a number as it is, is decided when the program runs (`loops/change.py`).
"""

from __future__ import annotations

from math import prod

import numpy as np

from backpass.ir import Graph, Lowering, Node, Value
from backpass.ir.graph import made, rebuild
from backpass.ir.show import splat
from backpass.passes.rewrite import rewrite
from backpass.prims import elementwise as el
from backpass.prims import index as ix

LEAST = 16  # elements of the table for each row that is read: with fewer, all of it is faster
MOST = 1 << 31  # rows and positions: they are kept as 32-bit numbers


def checked_indices(graph: Graph) -> Graph:
    """Indices of sparse updates are wrapped and checked first, for where the rows are read, too.

    Before: `%2 = gather(%0, %1); %5 = scatter_add(%4, %1)`. After: `%2 = wrap_index(%1);
    %3 = gather(%0, %2); %6 = scatter_add(%5, %2)`. So the sum itself cannot fail, and may change
    the table in place.
    """
    wanted = {(_origin(i), n) for s in sparse_updates(graph) for i, n in _indexed(s)}
    if not wanted:
        return graph
    wrapped: dict[tuple[object, int], Value] = {}

    def checked(index: Value, extent: int, node: Node) -> Value:
        key = (_origin(index), extent)
        if key not in wanted or is_checked(index, extent):
            return index
        if key not in wrapped:
            wrapped[key] = made(ix.wrap_index, (index,), node.source, extent=extent)
        return wrapped[key]

    def rule(node: Node) -> tuple[Value, ...] | None:
        if node.primitive not in (ix.gather, ix.scatter_add):
            return None
        indices = [checked(i, n, node) for i, n in _indexed(node)]
        if all([a is b for a, b in zip(indices, node.inputs[1:], strict=True)]):
            return None
        return rebuild(node, (node.inputs[0], *indices)).outputs()

    return rewrite(graph, rule)


def is_checked(index: Value, extent: int) -> bool:
    """Whether an index is in range wherever the program goes on."""
    node = index.node
    return node is not None and node.primitive is ix.wrap_index and node.params["extent"] == extent


def sparse_updates(graph: Graph) -> dict[Node, tuple[Node, ...]]:
    """For each sum that changes only the rows which it names, the maps that are made of it.

    The last of them is x - t or x + t, with x an argument like the sum, and t made by the others of
    the sum and of single numbers. Nothing else reads any of them but the last, which is returned:
    what is only a part of something else (x + g, with a decay), or is made of what was computed
    for all rows, is written as a whole anyway.
    """
    found: dict[Node, tuple[Node, ...]] = {}
    sums = [node for node in graph.nodes if node.primitive is ix.scatter_add and _is_worth(node)]
    if not sums:
        return found
    readers: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        for v in node.inputs:
            if v.node is not None:
                readers.setdefault(v.node, []).append(node)
    returned = {v.node for v in graph.outputs}
    for node in sums:
        chain = _chain(node, readers, returned)
        if chain is not None:
            found[node] = chain
    return found


def _is_worth(node: Node) -> bool:
    """Whether few rows of a large table are named."""
    updates, *indices = node.inputs
    rows = prod(node.types[0].shape[: len(indices)])
    count = prod(indices[0].shape) if indices else 0
    plain = all([i.dtype == np.int64 for i in indices])
    few = 0 < count <= min(rows, MOST - 1) and node.types[0].size >= LEAST * count
    return plain and few and rows < MOST and updates.dtype.name in ("float32", "float64")


def _chain(
    node: Node, readers: dict[Node, list[Node]], returned: set[Node | None]
) -> tuple[Node, ...] | None:
    chain: list[Node] = []
    current = node
    while True:
        reading = set(readers.get(current, ()))
        if current in returned or len(reading) != 1:
            return None
        (reader,) = reading
        if reader.primitive.lower is not Lowering.ELEMENTWISE or len(reader.types) != 1:
            return None
        chain.append(reader)
        others = [v for v in reader.inputs if v.node is not current and not _is_single(v)]
        if others:
            ends = reader in returned and _is_change(reader, current, others)
            return tuple(chain) if ends else None
        current = reader


def _is_change(reader: Node, current: Node, others: list[Value]) -> bool:
    """Whether a node is x - t or x + t, with t the current node and x an argument or constant."""
    (kept, *more) = others
    if more or len(reader.inputs) != 2 or reader.types[0].dtype.kind != "f":
        return False
    if kept.node is not None:
        return False
    first = reader.primitive is el.sub and reader.inputs[1].node is current
    return first or reader.primitive is el.add


def _is_single(v: Value) -> bool:
    """Whether it is one number, or one number repeated."""
    while v.node is not None and v.node.primitive.lower is Lowering.VIEW:
        v = v.node.inputs[0]
    return v.type.size == 1 or (v.node is None and v.array is not None and splat(v.array))


def _indexed(node: Node) -> list[tuple[Value, int]]:
    """The indices of a gather or scatter_add, with the extents that they are counted in."""
    indices = node.inputs[1:]
    shape = node.inputs[0].shape if node.primitive is ix.gather else node.types[0].shape
    return list(zip(indices, shape[: len(indices)], strict=True))


def _origin(v: Value) -> object:
    return v if v.node is None else (v.node, v.index)
