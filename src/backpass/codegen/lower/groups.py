"""Which nodes become one kernel: groups of nodes over one domain.

A node joins the group of an input where it can read what the group computes at the same element, in
a register; else it opens a group of its own. Groups are numbered as they are opened, and depend on
lower numbers alone, so no cycle can arise; only a group that depends on scalars at most may be read
by a lower number, and from then on it and they are `sealed` and stay so. A reduction fixes the
inner variables of its group; the group's other reductions must have the same. Next: `stored.py`
(what crosses between groups), `build.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

import numpy as np

from backpass.codegen.arithmetic import can_emit
from backpass.codegen.lower.index import (
    Form,
    NotAffineError,
    Place,
    SplitError,
    domain_of,
    number,
    onward,
    split,
    through,
)
from backpass.ir import Graph, Lowering, Node, Value
from backpass.passes.sparse import is_checked, sparse_updates
from backpass.prims.index import wrap_index
from backpass.prims.shape import concatenate

OPS_LIMIT = 160  # of a group with loops: more would not find registers
SCALAR_OPS_LIMIT = 1_000_000  # they are cut into pieces, see codegen/straight.py
SCALAR_GROUPS = 4  # without loops, on which a group may depend that is read early
TEMPLATES = 6  # members that are tried as a pattern for a place
LONG = 16384  # elements of a reduction that is done in chunks, when there are
FEW = 64  # or fewer results
REDUCED = ("float32", "float64", "int64", "int32", "bool")


@dataclass(slots=True, eq=False)
class Group:
    """Nodes that are computed in one kernel.

    `places[node]` is where in its own array a member is computed at each point of the domain, and
    `sources[node]` where a reduction reads what it folds.
    """

    number: int
    extents: list[int]
    places: dict[Node, Place] = field(default_factory=dict[Node, Place])
    sources: dict[Node, Place] = field(default_factory=dict[Node, Place])
    inner: frozenset[int] | None = None
    head: Node | None = None  # a product or sparse sum, of which the group is the epilogue
    closed: bool = False
    needs: set[Group] = field(default_factory=set["Group"])  # groups that it reads
    sealed: bool = False  # a lower number depends on it

    @property
    def size(self) -> int:
        """Points of the domain."""
        count = 1
        for n in self.extents:
            count *= n
        return count

    def base(self) -> set[Group] | None:
        """The groups that it depends on, if they are a few without loops; else None."""
        seen, pending = set["Group"](), list(self.needs)
        while pending:
            group = pending.pop()
            if group not in seen:
                if group.extents or len(seen) >= SCALAR_GROUPS:
                    return None
                seen.add(group)
                pending.extend(group.needs)
        return seen

    def seal(self) -> None:
        """A lower number depends on it: from now on it, and what it needs, depends on no more."""
        pending: list[Group] = [self]
        while pending:
            group = pending.pop()
            if not group.sealed:
                group.sealed = True
                pending.extend(group.needs)

    def inner_size(self) -> int:
        """Points of one row."""
        count = 1
        for v in self.inner or ():
            count *= self.extents[v]
        return count

    def chunked(self) -> bool:
        """Whether its reductions are done in chunks, so that their results come later."""
        if self.inner is None:
            return False
        rows = self.size // max(1, self.inner_size())
        return self.inner_size() > LONG and rows < FEW

    def is_row(self, node: Node) -> bool:
        """Whether a member has one element for each row: it depends on no inner variable."""
        if self.inner is None:
            return False
        return not any([f.coefs[v] for f in self.places[node] for v in self.inner])

    def full(self) -> bool:
        """Whether it takes no more nodes."""
        limit = OPS_LIMIT if self.extents else SCALAR_OPS_LIMIT
        return self.closed or len(self.places) >= limit

    def refine(self, axis: int, inner: int) -> None:
        """Make variable `axis` two, the inner one of extent `inner`."""
        outer = self.extents[axis] // inner
        self.extents[axis : axis + 1] = [outer, inner]
        for places in (self.places, self.sources):
            for node, place in places.items():
                places[node] = tuple([split(f, axis, inner) for f in place])
        if self.inner is not None:
            moved = [v + (v > axis) for v in self.inner]
            self.inner = frozenset([*moved, axis + 1] if axis in self.inner else moved)


def is_view(node: Node) -> bool:
    """Whether a node only gives another order to elements."""
    return node.primitive.lower is Lowering.VIEW


def is_map(node: Node) -> bool:
    """Whether each element is computed alone, in a kernel."""
    if node.primitive is wrap_index:
        return node.types[0].dtype == np.int64
    match node.primitive.lower:
        case Lowering.ELEMENTWISE:
            inputs = tuple([v.dtype for v in node.inputs])
            return _has_code(node.primitive.name, inputs, node.types[0].dtype)
        case Lowering.PAD:
            return not any(node.params["interior"])
        case Lowering.GATHER:
            return True
        case _:
            return False


_has_code = lru_cache(maxsize=1 << 12)(can_emit)


def is_reduction(node: Node) -> bool:
    """Whether it is a fold that a kernel can do."""
    return node.primitive.lower is Lowering.REDUCTION and node.inputs[0].dtype.name in REDUCED


def is_scan(node: Node) -> bool:
    """Whether it is a running fold that a kernel can do."""
    return node.primitive.lower is Lowering.SCAN and node.inputs[0].dtype.name in REDUCED


def is_row_of_scalars(node: Node) -> bool:
    """Whether it only puts single elements side by side: stores of a kernel without loops."""
    return node.primitive is concatenate and all([v.type.size == 1 for v in node.inputs])


def _respaced(
    place: Place, of: tuple[int, ...], shape: tuple[int, ...], extents: list[int]
) -> Place | None:
    """A place in an array of shape `of` as one in an array of the same extents but those of 1."""
    if of == shape:
        return place
    if [n for n in of if n != 1] != [n for n in shape if n != 1]:
        return None
    wide = iter([f for f, n in zip(place, of, strict=True) if n != 1])
    return tuple([number(0, len(extents)) if n == 1 else next(wide) for n in shape])


NOWHERE: Place = (Form(-1, ()),)  # the place of a row of scalars: it is read from memory alone


def core(v: Value) -> Value:
    """What a value is a view of."""
    while v.node is not None and is_view(v.node):
        v = v.node.inputs[0]
    return v


def waited_for(node: Node) -> list[Value]:
    """What the barriers between a node and its inputs wait for: it must be computed before."""
    found: list[Value] = []
    for v in node.inputs:
        while v.node is not None and is_view(v.node):
            found.extend(map(core, v.node.inputs[1:]))
            v = v.node.inputs[0]
    return found


def seen_at(v: Value, place: Place, extents: list[int]) -> Place:
    """Where the element of v at `place` lies in its core."""
    while v.node is not None and is_view(v.node):
        place = through(v.node, place, extents)
        v = v.node.inputs[0]
    return place


def variables(place: Place) -> frozenset[int]:
    """The variables that a place depends on."""
    return frozenset([i for f in place for i, c in enumerate(f.coefs) if c])


def grouped(graph: Graph) -> Grouping:
    """The groups of a graph; a sum is sparse if its group could take all that is made of it."""
    sparse = {
        node: chain
        for node, chain in sparse_updates(graph).items()
        if all(map(is_checked, node.inputs[1:], node.types[0].shape))
    }
    while True:
        found = Grouping(graph, sparse)
        whole = {s: c for s, c in sparse.items() if found.home[c[-1]] is found.home[s]}
        if len(whole) == len(sparse):
            return found
        sparse = whole


class Grouping:
    """The groups of a graph, and the home of each node in one of them."""

    def __init__(self, graph: Graph, sparse: Mapping[Node, tuple[Node, ...]]) -> None:
        self.graph = graph
        self.sparse = {node: head for head, chain in sparse.items() for node in (head, *chain)}
        self.home: dict[Node, Group] = {}
        self.groups: list[Group] = []
        self.scalars: Group | None = None  # the last group without loops
        for node in graph.nodes:
            if is_view(node):
                continue
            if is_map(node) and node.types[0].size:
                self._place_map(node)
            elif is_reduction(node) and node.inputs[0].type.size:
                self._place_reduction(node)
            elif node.primitive.lower is Lowering.PRODUCT or node in self.sparse:
                self._place_head(node)
            elif is_row_of_scalars(node):
                if not self._with_scalars(node, NOWHERE):
                    self._open(node, [], NOWHERE)
            else:
                self._open(node, *domain_of(node.types[0].shape)).closed = True

    # -- opening and joining

    def _open(self, node: Node, extents: list[int], place: Place) -> Group:
        group = Group(len(self.groups), extents)
        self.groups.append(group)
        self.scalars = self.scalars if extents else group
        self._join(node, group, place)
        return group

    def _place_head(self, node: Node) -> None:
        group = self._open(node, *domain_of(node.types[0].shape))
        group.head = node
        group.closed = not node.types[0].size or node.types[0].dtype.name not in REDUCED[:2]

    def _join(self, node: Node, group: Group, place: Place) -> None:
        group.places[node] = place
        self.home[node] = group
        for other in self._read(node):
            if other is not group:
                group.needs.add(other)
                if other.number > group.number:
                    other.seal()

    def _read(self, node: Node) -> list[Group]:
        """The groups that a node reads from, the highest number first."""
        read = [*map(core, node.inputs), *waited_for(node)]
        homes = {self.home[c.node] for c in read if c.node is not None}
        return sorted(homes, key=lambda g: -g.number)

    def _open_to(self, node: Node) -> Iterator[Group]:
        """The groups that the node may join: no group that it reads may come to depend on them.

        That of a product comes first, so that an update is in its epilogue; one that depends on no
        other comes last, for what it holds can as well be computed elsewhere.
        """
        read, found, needed = self._read(node), list[Group](), set[Group]()
        for group in read:
            if group in needed:
                break
            sealed = group.sealed and len(read) > 1
            if not group.full() and not sealed and self._may_join(node, group):
                found.append(group)
            base = group.base()
            if base is None:
                break
            needed |= base
        yield from sorted(found, key=lambda g: (g.head is None, not g.needs))

    def _may_join(self, node: Node, group: Group) -> bool:
        """Whether a sparse sum's group takes the node: that of its own chain, and no other's."""
        head = group.head if group.head in self.sparse else None
        return self.sparse.get(node) is head

    # -- maps

    def _place_map(self, node: Node) -> None:
        if not node.types[0].shape and not self._read(node):
            scalars = [g for g in self.groups if not g.extents and not g.needs and not g.full()]
            if scalars:
                self._join(node, scalars[0], ())
                return
        if not node.types[0].shape and self._with_scalars(node, ()):
            return
        for group in self._open_to(node):
            place = self._searched(group, lambda g=group: self._map_place(node, g))
            if place is not None:
                self._join(node, group, place)
                return
        self._open(node, *domain_of(node.types[0].shape))

    def _with_scalars(self, node: Node, place: Place) -> bool:
        """Join the last group without loops, if all that the node reads comes from such or before.

        So a group that is full is followed by one other, whatever its nodes read.
        """
        group, read = self.scalars, self._read(node)
        if group is None or group.full() or any([g.extents for g in read]):
            return False
        if any([g.number > group.number for g in read]) or (group.sealed and read != [group]):
            return False
        values = self._read_in_place(node, group)
        if values is None:
            return False
        if not all([self._at_hand(v, (Form(0, ()),) * v.ndim, group) for v in values]):
            return False
        self._join(node, group, place)
        return True

    def _searched(self, group: Group, find: Callable[[], Place | None]) -> Place | None:
        """`find`, again after each refinement of the group's variables that it asks for."""
        for _ in range(8):
            try:
                return find()
            except SplitError as asked:
                if group.head is not None:
                    return None
                group.refine(asked.axis, asked.inner)
        return None

    def _map_place(self, node: Node, group: Group) -> Place | None:
        shape = node.types[0].shape
        for place in self._candidates(node.inputs, shape, group):
            if self._readable(node, place, group):
                return place
        return None

    def _candidates(
        self, inputs: tuple[Value, ...], shape: tuple[int, ...], group: Group
    ) -> Iterator[Place]:
        """Places at which an array of `shape` might be computed in the group."""
        members = [v for v in inputs if (c := core(v)).node is not None and c.node in group.places]
        for v in sorted(members, key=lambda v: -core(v).type.size):
            place = self._followed(v, group)
            if place is not None and v.shape == shape:
                yield place
        sources = [(m.inputs[0].shape, p) for m, p in group.sources.items()]
        members = [(m.types[0].shape, p) for m, p in reversed(group.places.items())]
        for patterns in (members, sources):
            places = (_respaced(p, of, shape, group.extents) for of, p in patterns if p != NOWHERE)
            yield from islice((p for p in places if p is not None), TEMPLATES)

    def _followed(self, v: Value, group: Group) -> Place | None:
        """The place of a view's element, where its core is computed."""
        chain: list[Node] = []
        while v.node is not None and is_view(v.node):
            chain.append(v.node)
            v = v.node.inputs[0]
        if v.node is None:
            return None
        place: Place | None = group.places[v.node]
        if place == NOWHERE:
            return None
        for node in reversed(chain):
            if place is None:
                return None
            try:
                place = onward(node, place, group.extents)
            except SplitError:
                raise
            except NotAffineError:
                return None
        return place

    def _readable(self, node: Node, place: Place, group: Group) -> bool:
        """Whether all that the node reads of the group is at hand when it is computed at
        `place`."""
        if group.head is not None and variables(place) != variables(group.places[group.head]):
            return False
        values = self._read_in_place(node, group)
        if values is None:
            return False
        count = 1
        for v in variables(place):
            count *= group.extents[v]
        if count != node.types[0].size:
            return False
        return all([self._at_hand(v, place, group) for v in values])

    def _read_in_place(self, node: Node, group: Group) -> tuple[Value, ...] | None:
        """The inputs that are read at the node's own place; None if the others are the group's.

        A padded array and the source of a gather are read anywhere.
        """
        if node.primitive.lower not in (Lowering.PAD, Lowering.GATHER):
            return node.inputs
        return None if core(node.inputs[0]).node in group.places else node.inputs[1:]

    def _at_hand(self, v: Value, place: Place, group: Group) -> bool:
        c = core(v)
        if c.node is None or c.node not in group.places:
            return True
        own = group.places[c.node]
        if own == NOWHERE or (group.chunked() and group.is_row(c.node)):
            return False
        try:
            return seen_at(v, place, group.extents) == own
        except SplitError:
            raise
        except NotAffineError:
            return False

    # -- reductions

    def _place_reduction(self, node: Node) -> None:
        for group in self._open_to(node):
            if group.head is None and group.extents:
                place = self._searched(group, lambda g=group: self._row_place(node, g))
                if place is not None:
                    self._join(node, group, place)
                    return
        source = node.inputs[0]
        extents, place = domain_of(source.shape)
        axes = node.params["axes"]
        group = self._open(node, extents, tuple([f for i, f in enumerate(place) if i not in axes]))
        group.inner = variables(tuple([f for i, f in enumerate(place) if i in axes]))
        group.sources[node] = place

    def _row_place(self, node: Node, group: Group) -> Place | None:
        source, axes = node.inputs[0], node.params["axes"]
        for place in self._candidates((source,), source.shape, group):
            if len(variables(place)) != len(group.extents):
                continue
            if not self._at_hand(source, place, group):
                continue
            rows = tuple([f for i, f in enumerate(place) if i not in axes])
            folded = variables(tuple([f for i, f in enumerate(place) if i in axes]))
            if (
                not folded
                or folded & variables(rows)
                or (group.inner is not None and group.inner != folded)
            ):
                continue
            group.inner = folded
            group.sources[node] = place
            return rows
        return None
