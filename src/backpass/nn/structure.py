"""What running a Module depends on besides its arrays, as one hashable key; and the moment it may
have changed.

Two equal keys mean the same program: classes, training flags, plain attributes, hooks, and which
Cell and which child stands under which name. Keys are kept until some module's attributes change
(`changed()` makes a new token), unless an attribute is a list, dict or set, which can change
without an assignment, or an array that can be written to, which counts by its contents: these are
read at every call, so large arrays belong in buffers. Objects of other classes count by identity:
what changes inside of them is not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.trace import Cell, Tracer
from backpass.trace.cells import Token

PLAIN = frozenset((type(None), bool, int, str, bytes, type))


_token = Token()


def token() -> object:
    """The same object as long as no module anywhere was given another attribute."""
    return _token.current


def changed() -> None:
    """Some module was given another attribute: what was kept for any module is worked out anew."""
    _token.renew()


class Identity:
    """An object as a key: equal to itself only. It holds the object, so that its id is not given to
    another.
    """

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


class Key:
    """A nested tuple whose hash is worked out once."""

    __slots__ = ("number", "parts")

    def __init__(self, parts: Hashable) -> None:
        self.parts = parts
        self.number = hash(parts)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Key) and other.parts == self.parts)

    def __hash__(self) -> int:
        return self.number


def is_mutable(value: Any) -> bool:
    """Whether a plain attribute can change without being assigned."""
    if isinstance(value, tuple):
        return any([is_mutable(v) for v in value])
    if isinstance(value, np.ndarray):
        return _is_writeable(value)
    return isinstance(value, (list, dict, set, bytearray))


def _is_writeable(array: np.ndarray[Any, Any]) -> bool:
    """Whether anybody can write to the array's memory."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and not owner.flags.writeable:
        owner = owner.base
    return isinstance(owner, np.ndarray)


def frozen(value: Any) -> Hashable:
    """A key for the value of a plain attribute. 1, 1.0 and True differ; NaN equals itself; a trace
    left over is no part.
    """
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    match value:
        case np.dtype() | type():
            return value
        case Tracer():
            return Tracer
        case float():
            return float, repr(float(value))
        case np.generic():
            return kind, value.tobytes()
        case np.ndarray() if _is_writeable(value) and not value.dtype.hasobject:
            contents = hashlib.blake2b(value.tobytes(), digest_size=16).digest()
            return kind, value.dtype, value.shape, contents
        case tuple() | list():
            return kind, tuple([frozen(v) for v in value])
        case dict():
            return dict, tuple([(frozen(k), frozen(v)) for k, v in value.items()])
        case set() | frozenset():
            return kind, frozenset([frozen(v) for v in value])
        case _:
            return Identity(value)


def same(old: Any, new: Any) -> bool:
    """Whether an assignment leaves the key as it was."""
    return old is new or (
        not is_mutable(old) and not is_mutable(new) and frozen(old) == frozen(new)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One module of a tree: all that running it depends on besides its arrays.

    Attributes:
        module: the module itself; its class counts, and its identity as someone's child.
        plain: its plain attributes by name.
        cells: its own parameters, buffers and streams by name; None for an empty place.
        children: its direct children by name; None for an empty place.
        hooks: its forward hooks in order.
    """

    module: object
    plain: Mapping[str, Any]
    cells: Mapping[str, Cell | None]
    children: Mapping[str, object]
    hooks: Sequence[object]


def key_of(parts: Sequence[Part]) -> tuple[Key, bool]:
    """The key of modules in order, and whether it holds what can change without an assignment.

    Modules and Cells count by their place in the tree, so that equal models have equal keys.
    """
    numbers = {id(part.module): i for i, part in enumerate(parts)}
    places: dict[Cell | None, int] = {None: 0}
    keys = [
        (
            type(part.module),
            tuple([(k, frozen(v)) for k, v in part.plain.items()]),
            tuple([(k, numbers.get(id(v))) for k, v in part.children.items()]),
            tuple([(k, places.setdefault(c, len(places))) for k, c in part.cells.items()]),
            tuple(map(Identity, part.hooks)),
        )
        for part in parts
    ]
    return Key(tuple(keys)), any([is_mutable(v) for part in parts for v in part.plain.values()])
