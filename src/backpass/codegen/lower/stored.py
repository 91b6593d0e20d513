"""What crosses from one kernel to another: through memory, or computed again.

A node that another group reads is stored, unless it is cheap to compute from what is stored anyway:
then each reader computes it for itself, and it costs no memory traffic. What products, calls and
indexed reads take must be in memory.
"""

from __future__ import annotations

from backpass.codegen.lower.groups import (
    Grouping,
    core,
    is_map,
    is_row_of_scalars,
    is_view,
    seen_at,
)
from backpass.codegen.lower.index import NotAffineError, domain_of
from backpass.ir import Lowering, Node, Value

AGAIN_OPS = 16  # operations that cost less than a store and a load
AGAIN_LOADS = 3
SMALL = 16  # times an array is larger than one that may be stored in its place
_FREE = (
    "add sub mul neg square abs scale gate select maximum minimum sign cast identity pad "
    "equal not_equal less less_equal greater greater_equal logical_not logical_and logical_or "
    "logical_xor bitwise_and bitwise_or bitwise_xor invert isnan isfinite isinf signbit copysign "
    "stop_gradient floor ceil trunc rint"
)
COSTS: dict[str, int] = {**dict.fromkeys(_FREE.split(), 1), "div": 4, "reciprocal": 4, "sqrt": 4}


def stored_nodes(grouping: Grouping) -> set[Node]:
    """The nodes whose arrays are kept in memory."""
    stored = _taken_whole(grouping)
    crossings = _crossings(grouping)
    read = {c for _, c in crossings}
    for c in grouping.graph.nodes:  # what c might be computed from is decided before c
        if c in read and c not in stored and not _cheap(c, stored):
            small = _small_inputs(c, stored)
            stored |= {c} if small is None or not _cheap(c, stored | small) else small
    for node, c in crossings:
        if c not in stored and _reads_in_disorder(node, c):
            stored.add(c)
    return stored


def _taken_whole(grouping: Grouping) -> set[Node]:
    """Outputs of the graph, operands of what reads whole arrays, and what only memory can hold."""
    stored = {c.node for v in grouping.graph.outputs if (c := core(v)).node is not None}
    for node in grouping.graph.nodes:
        if is_view(node):
            continue
        if is_row_of_scalars(node):
            continue
        if not is_map(node):
            if node.primitive.lower is Lowering.REDUCTION and node in grouping.home:
                whole: tuple[Value, ...] = () if not grouping.home[node].closed else node.inputs
            else:
                whole = node.inputs
        else:
            whole = node.inputs[:1] if node.primitive.lower is Lowering.GATHER else ()
        stored.update([c.node for c in map(core, whole) if c.node is not None])
    return stored


def _crossings(grouping: Grouping) -> list[tuple[Node, Node]]:
    """Pairs of a node and one that it reads from another group, in topological order."""
    found: list[tuple[Node, Node]] = []
    for node in grouping.graph.nodes:
        if is_view(node):
            continue
        for c in map(core, node.inputs):
            if c.node is not None and grouping.home[c.node] is not grouping.home[node]:
                found.append((node, c.node))
    return found


def _cheap(node: Node, stored: set[Node]) -> bool:
    """Whether computing a node again costs less than memory traffic."""
    ops, loads, pending = 0, set[object](), [node]
    while pending:
        current = pending.pop()
        if not is_map(current) or current.primitive.name not in COSTS:
            return False
        ops += COSTS[current.primitive.name]
        for c in map(core, current.inputs):
            if c.node is not None and c.node not in stored:
                pending.append(c.node)
            elif c.node is not None or c.array is None or c.array.size > 1:
                loads.add(c if c.node is None else c.node)
        if ops > AGAIN_OPS or len(loads) > AGAIN_LOADS:
            return False
    return True


def _small_inputs(node: Node, stored: set[Node]) -> set[Node] | None:
    """Small arrays from which, were they stored, a node could be computed; None if there are none.

    A layer norm's mean and deviation are one number a row: kept, they save what was made of them.
    """
    found: set[Node] = set()
    pending, seen = [node], {node}
    while pending:
        current = pending.pop()
        if current is not node and current.types[0].size * SMALL <= node.types[0].size:
            if not _cheap(current, stored):
                found.add(current)
                continue
        elif not is_map(current) or len(seen) > AGAIN_OPS:
            return None
        for c in map(core, current.inputs):
            if c.node is not None and c.node not in stored and c.node not in seen:
                seen.add(c.node)
                pending.append(c.node)
    return found or None


def _reads_in_disorder(reader: Node, read: Node) -> bool:
    """Whether the reader's place in a view of `read` is no affine one, so that it must be
    memory."""
    extents, place = domain_of(reader.types[0].shape)
    if not is_map(reader) or not reader.types[0].size:
        return False
    for v in reader.inputs:
        if core(v).node is read and v.shape == reader.types[0].shape:
            try:
                seen_at(v, place, extents)
            except NotAffineError:
                return True
    return False
