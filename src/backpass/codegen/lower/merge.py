"""Groups over one domain, joined where one reads the other element by element.

The grouping places nodes one after the other and never looks back: two chains that begin apart and
meet later stay two kernels, with their arrays in memory between them. Here a group and a reader of
it become one where each of the reader's elements needs that element alone, and nothing lies between
them that needs the one and is needed by the other.
"""

from __future__ import annotations

from backpass.codegen.lower.groups import OPS_LIMIT, Group, Grouping, core, seen_at, waited_for
from backpass.codegen.lower.index import NotAffineError, Place
from backpass.ir import Lowering, Node, Value

MOST = 1000  # groups of a graph that is looked at: the search grows with their square


def merge_groups(grouping: Grouping) -> Grouping:
    """The same grouping, with groups joined.

    Before: k0 = {a = exp(x)}, k1 = {b = sum(y), c = y * y}, k2 = {d = a * c}. After: k1 holds all.
    """
    if len(grouping.groups) > MOST:
        return grouping
    reading = _Reading(grouping)
    for reader in list(grouping.groups):
        while (source := reading.joins(reader)) is not None:
            reading.join(source, reader)
            grouping.groups.remove(source)
    return grouping


class _Reading:
    """Which groups read which, and by what."""

    def __init__(self, grouping: Grouping) -> None:
        self.home = grouping.home
        self.sources: dict[Group, dict[Group, list[tuple[Node, Value]]]] = {}
        for group in grouping.groups:
            self.sources[group] = {}
        for node in grouping.graph.nodes:
            if node in self.home:
                self._add(node)

    def _add(self, node: Node) -> None:
        own = self.sources[self.home[node]]
        for v in [*node.inputs, *waited_for(node)]:
            c = core(v).node
            if c is not None and self.home[c] is not self.home[node]:
                own.setdefault(self.home[c], []).append((node, v))

    def joins(self, reader: Group) -> Group | None:
        """A group that the reader reads and may be one with; None of one that was joined itself."""
        if not _is_open(reader) or reader not in self.sources:
            return None
        for source, reads in self.sources[reader].items():
            near = _alike(source, reader) and all(
                [_at_hand(node, v, source, reader) for node, v in reads]
            )
            if near and not self._leads(reader, source):
                return source
        return None

    def _leads(self, reader: Group, source: Group) -> bool:
        """Whether a group between them reads the source and is read by the reader."""
        pending = [g for g in self.sources[reader] if g is not source]
        seen = set(pending)
        while pending:
            for g in self.sources[pending.pop()]:
                if g is source:
                    return True
                if g not in seen:
                    seen.add(g)
                    pending.append(g)
        return False

    def join(self, source: Group, reader: Group) -> None:
        """Put the source's nodes into the reader."""
        for node in source.places:
            self.home[node] = reader
        places = source.places | reader.places
        reader.places = dict(sorted(places.items(), key=lambda item: item[0].order))
        reader.sources |= source.sources
        reader.inner = source.inner if reader.inner is None else reader.inner
        own = self.sources[reader]
        for group, reads in self.sources.pop(source).items():
            own.setdefault(group, []).extend(reads)
        del own[source]
        for reads_of in self.sources.values():
            if source in reads_of:
                reads_of.setdefault(reader, []).extend(reads_of.pop(source))


def _is_open(group: Group) -> bool:
    return not group.closed and group.head is None and bool(group.extents)


def _alike(source: Group, reader: Group) -> bool:
    """Whether two groups could be one kernel."""
    one = source.inner is None or reader.inner is None
    fits = len(source.places) + len(reader.places) <= OPS_LIMIT
    return _is_open(source) and source.extents == reader.extents and one and fits


def _at_hand(node: Node, v: Value, source: Group, reader: Group) -> bool:
    """Whether what the node reads of the source is computed there at the same point."""
    c = core(v).node
    if c is None or (source.chunked() and source.is_row(c)):
        return False
    anywhere = node.primitive.lower in (Lowering.PAD, Lowering.GATHER) and v is node.inputs[0]
    if anywhere or v not in node.inputs:
        return False
    place: Place = reader.sources.get(node, reader.places[node])
    try:
        return seen_at(v, place, reader.extents) == source.places[c]
    except NotAffineError:
        return False
