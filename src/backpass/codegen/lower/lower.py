"""The whole way from a Graph to kernels: group, decide what is stored, build, and mend what fails.

Where a kernel turns out to need an array in memory, or an operand in order, that is done and the
lowering begins again; each round stores or copies something more, so it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import cast

import numpy as np

from backpass.codegen.lower.build import kernels_of
from backpass.codegen.lower.elements import MustCopyError, MustStoreError
from backpass.codegen.lower.groups import Group, grouped, is_map, is_scan, is_view
from backpass.codegen.lower.merge import merge_groups
from backpass.codegen.lower.schedule import CHUNK, SHORT, Bound
from backpass.codegen.lower.stored import stored_nodes
from backpass.ir import Graph, Lowering, Node, Value
from backpass.ir.graph import made, rebuild
from backpass.passes.cse import cse
from backpass.passes.expand import expand
from backpass.passes.masks import masks
from backpass.passes.narrow import narrow
from backpass.passes.order import order
from backpass.passes.rewrite import rewrite
from backpass.passes.scalarize import scalarize
from backpass.passes.sparse import checked_indices
from backpass.prims import elementwise as el
from backpass.prims.contract import contract
from backpass.prims.shape import transpose

ROUNDS = 1000
CHUNK_BYTES = 1 << 19  # of what a chunk of a long reduction reads


@dataclass(frozen=True, slots=True)
class Call:
    """A node that is evaluated by its NumPy reference."""

    node: Node


@dataclass(frozen=True, slots=True)
class Lowered:
    """What runs, in order, and the graph (expanded, operands in order) that it computes.

    Every output of the graph is the output of a node of its own.
    """

    graph: Graph
    steps: tuple[Bound | Call, ...]


def lower(graph: Graph) -> Lowered:
    """Kernels and calls for a graph."""
    graph = checked_indices(narrow(expand(masks(graph))))
    graph = _own_outputs(order(cse(scalarize(graph, is_map))))
    building = _Building(graph)
    for _ in range(ROUNDS):
        try:
            return Lowered(graph, building.steps())
        except MustStoreError as asked:
            building.store(asked.node)
        except MustCopyError as asked:
            graph = _with_copy(graph, asked.node, asked.which)
            building = _Building(graph)
    raise AssertionError("lowering found no end")


class _Asked(set[Node]):
    """The stored nodes, which note who was asked about: nothing else do kernels know of them."""

    def __init__(self, stored: set[Node]) -> None:
        super().__init__(stored)
        self.about: set[Node] = set()

    def __contains__(self, node: object) -> bool:
        found = super().__contains__(node)
        self.about.add(cast("Node", node))
        return found

    def __or__(self, more: AbstractSet[Node]) -> _Asked:  # type: ignore[override]
        found = _Asked({*self, *more})
        found.about = self.about
        return found


class _Building:
    """The rounds over one graph: a group is built again only if it asked about what is stored now,
    so that many rounds over a long graph take no longer than one.
    """

    def __init__(self, graph: Graph) -> None:
        grouping = merge_groups(grouped(graph))
        self.groups = grouping.groups
        self.heights = _heights(grouping.groups)
        self.stored = _Asked(stored_nodes(grouping))
        self.built: dict[int, tuple[set[Node], Sequence[Bound | Call]]] = {}

    def store(self, node: Node) -> None:
        """From now on this node is stored."""
        self.stored.add(node)
        self.built = {i: found for i, found in self.built.items() if node not in found[0]}

    def steps(self) -> tuple[Bound | Call, ...]:
        """What all groups give, in order."""
        for i, group in enumerate(self.groups):
            if i not in self.built:
                self.stored.about = set()
                found = _steps_of(group, self.stored, self.heights)
                self.built[i] = self.stored.about, found
        return tuple([step for i in range(len(self.groups)) for step in self.built[i][1]])


def _steps_of(
    group: Group, stored: set[Node], heights: Mapping[int, int]
) -> Sequence[Bound | Call]:
    if not group.closed or _has_kernel(group):
        return kernels_of(group, stored, heights)
    (node,) = group.places
    return [Call(node)] if any([t.size for t in node.types]) else []


def _heights(groups: Sequence[Group]) -> dict[int, int]:
    """For the positions of long reductions, how many are one chunk: what they read fits a cache.

    Reductions over as many positions have chunks of one height, so that all of them, and what makes
    what they fold, can run chunk by chunk (`codegen/bands.py`).
    """
    found: dict[int, int] = {}
    for group in groups:
        if group.chunked():
            n = max([group.extents[v] for v in group.inner or ()])
            wide = group.size // n * np.dtype(np.float64).itemsize
            height = min(CHUNK, max(SHORT, 1 << (CHUNK_BYTES // wide).bit_length() >> 1))
            found[n] = min(height, found.get(n, height))
    return found


def _has_kernel(group: Group) -> bool:
    (node,) = group.places
    if not node.types[0].size:
        return False
    match node.primitive.lower:
        case Lowering.PIECES | Lowering.PAD | Lowering.RANDOM:
            return True
        case Lowering.SCAN:
            return is_scan(node)
        case Lowering.SCATTER:
            floats = node.types[0].dtype.name in ("float32", "float64")
            return floats and all([v.dtype == np.int64 for v in node.inputs[1:]])
        case _:
            return False


def _own_outputs(graph: Graph) -> Graph:
    """Every output as the output of a node of its own, never a view, a leaf or another output."""
    seen: set[Node] = set()
    nodes = list(graph.nodes)
    outputs: list[Value] = []
    for v in graph.outputs:
        node = v.node
        plain = node is not None and not is_view(node) and len(node.types) == 1
        if node is None or not plain or node in seen:
            v = made(el.identity, (v,))
            assert v.node is not None
            node = v.node
            nodes.append(node)
        seen.add(node)
        outputs.append(v)
    return Graph(graph.inputs, tuple(nodes), tuple(outputs))


def _with_copy(graph: Graph, node: Node, which: int) -> Graph:
    """The graph with one input of a node copied into the order of its axes."""

    def rule(current: Node) -> tuple[Value, ...] | None:
        if current is not node:
            return None
        if current.primitive is contract:
            return (_ordered_product(current, which),)
        copied = made(el.identity, (current.inputs[which],), current.source)
        inputs = [copied if i == which else v for i, v in enumerate(current.inputs)]
        return rebuild(current, tuple(inputs)).outputs()

    return rewrite(graph, rule)


def _ordered_product(node: Node, which: int) -> Value:
    """A product one operand of which is a copy with the axes batch, free, summed."""
    side = "xy"[which]
    v, params = node.inputs[which], dict(node.params)
    batch, summed = params[f"{side}_batch"], params[f"{side}_sum"]
    free = [i for i in range(v.ndim) if i not in (*batch, *summed)]
    order = (*batch, *free, *summed)
    if order != tuple(range(v.ndim)):
        v = made(transpose, (v,), node.source, order=order)
    copied = made(el.identity, (v,), node.source)
    params[f"{side}_batch"] = tuple(range(len(batch)))
    params[f"{side}_sum"] = tuple(range(v.ndim - len(summed), v.ndim))
    inputs = [copied if i == which else x for i, x in enumerate(node.inputs)]
    return made(contract, inputs, node.source, **params)
