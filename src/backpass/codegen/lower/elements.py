"""From the nodes of a group to single operations on elements, as entries of a table.

An entry is one operation at one point of the domain. It depends on some loop variables; what it
reads and writes in memory is kept as Forms until the order of the loops is known. Entries are
shared: an element is computed once in a kernel for each place at which it is needed. Next:
`schedule.py` puts the entries into stages and the variables into loops.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.codegen.lower.groups import Group, core, is_map, is_view, seen_at
from backpass.codegen.lower.index import (
    Form,
    NotAffineError,
    Place,
    bounds,
    linear,
    row_major,
    through,
)
from backpass.codegen.lower.pieces import Guard
from backpass.ir import Lowering, Node, Value
from backpass.ir.show import splat
from backpass.prims.index import wrap_index

BOOL, INT64 = np.dtype(np.bool_), np.dtype(np.int64)


@dataclass(frozen=True, slots=True)
class Named:
    """Memory that is no value's array: "partial" results of a fold, a "product" whose epilogue is a
    kernel of its own, "scratch" of an entry.
    """

    kind: str
    of: Hashable


# What a buffer holds: a leaf, a node's only output, one of its outputs, or what a word names.
Key = Value | Node | tuple[Node, int] | Named


def key_of(v: Value) -> Key:
    """The key of a value's array."""
    if v.node is None:
        return v
    return v.node if len(v.node.types) == 1 else (v.node, v.index)


def extent_of(key: Key) -> int:
    """The number of elements of a value's array."""
    if isinstance(key, Value):
        return key.type.size
    if isinstance(key, Node):
        return key.types[0].size
    assert not isinstance(key, Named)
    return key[0].types[key[1]].size


class MustStoreError(Exception):
    """A node has to be in memory: it is read where it cannot be computed."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.node = node


class MustCopyError(Exception):
    """Input `which` of a node has to be copied into order first."""

    def __init__(self, node: Node, which: int = 0) -> None:
        super().__init__(node)
        self.node = node
        self.which = which


@dataclass(frozen=True, slots=True)
class Spot:
    """An element of memory: which array, and where in it."""

    key: Key
    form: Form
    strides: tuple[int, ...] = ()  # of indices that are data
    extents: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation; `args` are numbers of earlier entries. An `index` has a Form as its param."""

    code: str
    args: tuple[int, ...]
    dtype: np.dtype[Any]
    param: Any = None

    @property
    def form(self) -> Form | None:
        """The form of the loop variables that it reads, writes or is."""
        if isinstance(self.param, Spot):
            return self.param.form
        return self.param if self.code == "index" else None

    def reading(self, args: tuple[int, ...]) -> Entry:
        """The same with other args: every pass over entries makes them."""
        return self if args == self.args else Entry(self.code, args, self.dtype, self.param)


class Elements:
    """The table of a group's entries.

    Args:
        group: whose places are used.
        stored: the nodes that are in memory.
    """

    def __init__(self, group: Group, stored: set[Node]) -> None:
        self.group = group
        self.stored = stored
        self.entries: list[Entry] = []
        self._known: dict[Hashable, int] = {}
        self.guards: list[Guard] = []  # what the reads of padded arrays are guarded by
        self._guard: int | None = None

    # -- the table

    def add(
        self,
        code: str,
        args: tuple[int, ...],
        dtype: np.dtype[Any],
        param: Any = None,
    ) -> int:
        """A new entry, or the one that is there already."""
        key = (code, args, dtype, param) if code != "store" else None
        if key is not None:
            try:
                found = self._known.get(key)
            except TypeError:
                key, found = None, None
            if found is not None:
                return found
        self.entries.append(Entry(code, args, dtype, param))
        if key is not None:
            self._known[key] = len(self.entries) - 1
        return len(self.entries) - 1

    def const(self, number: Any, dtype: np.dtype[Any]) -> int:
        """A number."""
        return self.add("const", (), dtype, np.asarray(number, dtype).item())

    def index(self, form: Form) -> int:
        """The value of a form as int64."""
        return self.add("index", (), INT64, form)

    def load(self, key: Key, form: Form, dtype: np.dtype[Any]) -> int:
        """An element of memory; 0 where the guard does not hold."""
        args = () if self._guard is None else (self._guard,)
        return self.add("load", args, dtype, Spot(key, form))

    def store(self, entry: int, key: Key, form: Form) -> None:
        """Keep an entry in memory."""
        self.add("store", (entry,), self.entries[entry].dtype, Spot(key, form))

    # -- elements of values

    def element(self, v: Value, place: Place) -> int:
        """The element of a value at a place of its own array."""
        group = self.group
        while v.node is not None and is_view(v.node):
            try:
                place = through(v.node, place, group.extents)
            except NotAffineError as failed:
                return self._by_position(v, place, failed)
            v = v.node.inputs[0]
        node = v.node
        if node is None:
            return self._leaf(v, linear(place, v.shape, len(group.extents)))
        if group.places.get(node) == place and self._guard is None:
            return self._member(node)
        if node in self.stored:
            return self.load(key_of(v), linear(place, v.shape, len(group.extents)), v.dtype)
        if is_map(node):
            return self._computed(node, place)
        raise MustStoreError(node)

    def _by_position(self, v: Value, place: Place, failed: NotAffineError) -> int:
        """An element through a reshape that no affine place follows: by its position in memory."""
        assert v.node is not None
        position = linear(place, v.shape, len(self.group.extents))
        first = v.node
        while v.node is not None and is_view(v.node):
            if v.node.primitive.name != "reshape":
                raise MustCopyError(first) from failed
            v = v.node.inputs[0]
        if v.node is None:
            return self._leaf(v, position)
        if v.node not in self.stored:
            raise MustStoreError(v.node) from failed
        return self.load(key_of(v), position, v.dtype)

    def _leaf(self, v: Value, position: Form) -> int:
        array = v.array
        if array is not None and array.size and (array.ndim == 0 or splat(array)):
            return self.const(array[(0,) * array.ndim], array.dtype)
        return self.load(v, position, v.dtype)

    def _member(self, node: Node) -> int:
        """A member's entry, after those that it reads: a chain of members may be long."""
        pending = [node]
        while pending:
            current = pending[-1]
            missing = [] if current in self._known else self._members_read(current)
            pending.extend(missing)
            if not missing:
                pending.pop()
                if current not in self._known:
                    self._known[current] = self._computed(current, self.group.places[current])
        return self._known[node]

    def _members_read(self, node: Node) -> list[Node]:
        """The members without an entry that a member reads where they are computed."""
        group, place, values = self.group, self.group.places[node], node.inputs
        if node in group.sources:
            place = group.sources[node]
        elif node.primitive.lower is Lowering.GATHER:
            values = node.inputs[1:]
            place = place[: len(values[0].shape)] if values else ()
        elif node.primitive.lower is not Lowering.ELEMENTWISE:
            return []
        found: list[Node] = []
        for v in values:
            c = core(v).node
            if c is not None and c in group.places and c not in self._known:
                try:
                    seen = seen_at(v, place, group.extents)
                except NotAffineError:
                    continue
                if seen == group.places[c]:
                    found.append(c)
        return found

    def _computed(self, node: Node, place: Place) -> int:
        dtype, inputs = node.types[0].dtype, node.inputs
        match node.primitive.lower:
            case Lowering.ELEMENTWISE:
                args = tuple([self.element(v, place) for v in inputs])
                if node.primitive is wrap_index:
                    return self.add("wrap", args, dtype, node.params["extent"])
                return self.add(node.primitive.name, args, dtype)
            case Lowering.PAD:
                return self._padded(node, place)
            case Lowering.GATHER:
                return self._gathered(node, place)
            case Lowering.REDUCTION:
                arg = self.element(inputs[0], self.group.sources[node])
                return self.add("reduce", (arg,), dtype, node.primitive.name)
            case Lowering.PRODUCT | Lowering.SCATTER if node is self.group.head:
                return self.add("acc", (), dtype)
            case _:
                raise MustStoreError(node)

    def _padded(self, node: Node, place: Place) -> int:
        """The input's element where there is one, else 0."""
        shape, low = node.inputs[0].shape, node.params["low"]
        extents = self.group.extents
        dtype = node.types[0].dtype
        zero = self.const(0, dtype)
        if not node.inputs[0].type.size:
            return zero
        outer, mask = self._guard, self._guard
        inside: list[Form] = []
        for f, a, n in zip(place, low, shape, strict=True):
            g = Form(f.constant - a, f.coefs)
            inside.append(g)
            least, most = bounds(g, extents)
            if most < 0 or least >= n:
                return zero
            if least < 0:
                mask = self._both(mask, "greater_equal", g, 0)
            if most >= n:
                mask = self._both(mask, "less", g, n)
        self._guard = mask
        try:
            found = self.element(node.inputs[0], tuple(inside))
        finally:
            self._guard = outer
        if mask is None or mask == outer:
            return found
        return self.add("select", (mask, found, zero), dtype)

    def _both(self, mask: int | None, code: str, f: Form, bound: int) -> int:
        self.guards.append(Guard(f, bound))
        test = self.add(code, (self.index(f), self.const(bound, INT64)), BOOL)
        return test if mask is None else self.add("logical_and", (mask, test), BOOL)

    def _gathered(self, node: Node, place: Place) -> int:
        """An element at integer positions in the leading axes."""
        if self._guard is not None:  # a read at an index has no guard: the array is stored
            raise MustStoreError(node)
        source, *indices = node.inputs
        lead = len(indices[0].shape) if indices else 0
        args = tuple([self._as_int64(self.element(i, place[:lead])) for i in indices])
        strides = row_major(source.shape)
        k = len(indices)
        n = len(self.group.extents)
        zero = Form(0, (0,) * n)
        rest = linear((*[zero] * k, *place[lead:]), source.shape, n)
        if source.node is not None and (is_view(source.node) or source.node not in self.stored):
            raise MustCopyError(node)
        spot = Spot(key_of(source), rest, strides[:k], source.shape[:k])
        return self.add("load_at", args, node.types[0].dtype, spot)

    def _as_int64(self, entry: int) -> int:
        if self.entries[entry].dtype == INT64:
            return entry
        return self.add("cast", (entry,), INT64)
