"""From a group of nodes to kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backpass.codegen.lower.elements import (
    Elements,
    Entry,
    Key,
    MustCopyError,
    MustStoreError,
    Named,
    Spot,
)
from backpass.codegen.lower.groups import Group, is_map, is_row_of_scalars
from backpass.codegen.lower.index import Form, domain_of, linear, scaled
from backpass.codegen.lower.pieces import pieces
from backpass.codegen.lower.product import product_kernels
from backpass.codegen.lower.random import random_kernels
from backpass.codegen.lower.scatter import scatter_kernel, update_kernel
from backpass.codegen.lower.schedule import Bound, partial, scheduled
from backpass.codegen.lower.tails import better_apart, tail_of
from backpass.ir import Lowering, Node, Value


def kernels_of(group: Group, stored: set[Node], heights: Mapping[int, int]) -> list[Bound]:
    """The kernels that compute what of the group is stored, in the order in which they run.

    Args:
        heights: see `partial`.
    """
    roots = [node for node in group.places if node in stored]
    if not roots:
        return []
    name = f"k{group.number}"
    node = roots[0]
    if group.head is not None:
        if group.head.primitive.lower is Lowering.SCATTER:
            return [update_kernel(name, group, stored, node)]
        return product_kernels(name, group, stored, roots)
    match node.primitive.lower:
        case Lowering.SCAN:
            return [_scan(name, group, stored, node)]
        case Lowering.PIECES | Lowering.PAD if group.closed:
            return _pieces(name, node, stored)
        case Lowering.SCATTER:
            return [scatter_kernel(name, node)]
        case Lowering.RANDOM:
            return random_kernels(name, node, stored)
        case _:
            return _fused(name, group, stored, roots, heights)


def _fused(
    name: str, group: Group, stored: set[Node], roots: list[Node], heights: Mapping[int, int]
) -> list[Bound]:
    elements = Elements(group, stored)
    extents = group.extents
    if not extents:  # in order, since a chain of thousands is too deep for recursion
        for node in group.places:
            if is_map(node):
                elements.element(node_value(node), group.places[node])
    if not group.chunked():
        for node in roots:
            _stored(elements, node)
        if elements.guards and (found := _in_pieces(name, group, elements, roots)):
            return found
        whole = scheduled(name, extents, elements.entries, group.inner)
        return _in_two(name, group, stored, roots, whole) or [whole]
    assert group.inner is not None
    for node in roots:
        entry = elements.element(node_value(node), group.places[node])
        folded = node in group.sources
        key: Key = Named("partial", node) if folded else node
        elements.store(entry, key, linear(group.places[node], node.types[0].shape, len(extents)))
    first, chunks = partial(name, extents, elements.entries, group.inner, heights)
    folds = [node for node in roots if node in group.sources]
    return [first, _joining(f"{name}j", group, folds, chunks)]


def _in_two(
    name: str, group: Group, stored: set[Node], roots: list[Node], whole: Bound
) -> list[Bound]:
    """The rows' sums and their last map as two kernels; none where one is as good."""
    found = tail_of(group, stored, roots)
    if found is None:
        return []
    tail, needed = found
    kept = stored | needed
    rows, last = Elements(group, kept), Elements(tail, kept)
    for node in group.places:
        if node in kept and node not in tail.places:
            _stored(rows, node)
    for node in tail.places:
        if node in stored:
            _stored(last, node)
    parts = [
        scheduled(name, group.extents, rows.entries, group.inner),
        scheduled(f"{name}m", tail.extents, last.entries, None),
    ]
    return parts if better_apart(whole, parts) else []


def _in_pieces(name: str, group: Group, whole: Elements, roots: list[Node]) -> list[Bound]:
    """A kernel for each piece of a guarded map; none where the whole is not to be cut."""
    found: list[Bound] = []
    parts = pieces(group, whole.guards)
    for i, part in enumerate(parts if len(parts) > 1 else []):
        elements = Elements(part, whole.stored)
        try:
            for node in roots:
                _stored(elements, node)
        except (MustStoreError, MustCopyError):  # a reshape that is none of a piece's rows
            return []
        found.append(scheduled(f"{name}p{i}", part.extents, elements.entries, None))
    return found


def node_value(node: Node) -> Value:
    """The single output of a node."""
    return Value(node.types[0], node, 0, None, frozenset())


def _stored(elements: Elements, node: Node) -> None:
    if is_row_of_scalars(node):
        for i, v in enumerate(node.inputs):
            entry = elements.element(v, (Form(0, ()),) * v.ndim)
            elements.store(entry, node, Form(i, ()))
        return
    place = elements.group.places[node]
    entry = elements.element(node_value(node), place)
    form = linear(place, node.types[0].shape, len(elements.group.extents))
    elements.store(entry, node, form)


def _joining(name: str, group: Group, folds: list[Node], chunks: int) -> Bound:
    """The second half of a long reduction: the results of the chunks as one."""
    assert group.inner is not None
    rows = [v for v in range(len(group.extents)) if v not in group.inner]
    extents = [*[group.extents[v] for v in rows], chunks]
    entries: list[Entry] = []
    for node in folds:
        dtype = node.types[0].dtype
        row = linear(group.places[node], node.types[0].shape, len(group.extents))
        own = [row.coefs[v] for v in rows]
        source = Form(row.constant, (*own, node.types[0].size))
        at = len(entries)
        entries.append(Entry("load", (), dtype, Spot(Named("partial", node), source)))
        entries.append(Entry("reduce", (at,), dtype, node.primitive.name))
        spot = Spot(node, Form(row.constant, (*own, 0)))
        entries.append(Entry("store", (at + 1,), dtype, spot))
    return scheduled(name, extents, entries, frozenset((len(rows),)))


def _scan(name: str, group: Group, stored: set[Node], node: Node) -> Bound:
    """A running fold: its axis is the inner loop, and goes backwards where it is reversed."""
    axis, shape = int(node.params["axis"]), node.types[0].shape
    extents, place = domain_of(shape)
    n = shape[axis]
    turned = list(place)
    if node.params["reverse"]:
        turned[axis] = scaled(place[axis], -1, n - 1)
    own = Group(group.number, extents)
    elements = Elements(own, stored)
    kind = node.primitive.name.removeprefix("cum")
    arg = elements.element(node.inputs[0], tuple(turned))
    running = elements.add("scan", (arg,), node.types[0].dtype, kind) if n > 1 else arg
    elements.store(running, node, linear(tuple(turned), shape, len(extents)))
    inner = frozenset([v for v, c in enumerate(place[axis].coefs) if c])
    return scheduled(name, extents, elements.entries, inner or None)


def _pieces(name: str, node: Node, stored: set[Node]) -> list[Bound]:
    """An array put together from parts: one kernel for each part, in order."""
    found: list[Bound] = []
    for i, (source, starts, steps) in enumerate(_parts(node)):
        shape = node.types[0].shape if source is None else source.shape
        if 0 in shape:
            continue
        extents, place = domain_of(shape)
        elements = Elements(Group(0, extents), stored)
        if source is None:
            entry = elements.const(0, node.types[0].dtype)
        else:
            entry = elements.element(source, place)
        moved = tuple([scaled(f, s, a) for f, a, s in zip(place, starts, steps, strict=True)])
        elements.store(entry, node, linear(moved, node.types[0].shape, len(extents)))
        found.append(scheduled(f"{name}p{i}", extents, elements.entries, None))
    return found


Part = tuple[Value | None, Sequence[int], Sequence[int]]


def _parts(node: Node) -> list[Part]:
    """(value or None for zeros, where it starts, its steps) for each part."""
    ndim, params = len(node.types[0].shape), node.params
    origin, ones = [0] * ndim, [1] * ndim
    if node.primitive.name == "concatenate":
        parts: list[Part] = []
        axis, at = int(params["axis"]), 0
        for v in node.inputs:
            starts = list(origin)
            starts[axis] = at
            at += v.shape[axis]
            parts.append((v, starts, ones))
        return parts
    if node.primitive.name == "pad":
        steps = [g + 1 for g in params["interior"]]
        return [(None, origin, ones), (node.inputs[0], params["low"], steps)]
    x, u = node.inputs
    return [(x, origin, ones), (u, params["starts"], params["steps"])]
