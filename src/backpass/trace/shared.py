"""Shared: a Value under a name that can be written in place, and the others that share its memory.

In-place code gives the name another Value. Where NumPy would share memory between two arrays,
writing to one makes the other stale: using it raises an AliasError that names both lines, since it
would read old values here and new ones in NumPy. A view made by an index is written through to its
base. The operators are the Tracer's; which results are views is said by `memory`.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from backpass.errors import AliasError
from backpass.ir import Operand, SourceLine, Value, constant, leaf, type_of
from backpass.ir.graph import user_line
from backpass.ops import indexing


class Shared:
    """The Value of a traced array, and which arrays would share its memory in NumPy."""

    __slots__ = ("__weakref__", "_family", "_origin", "_scalar", "_stale", "_value")

    def __init__(self, value: Operand, *, scalar: bool = True) -> None:
        self._value = value if type(value) is Value else constant(value)
        self._scalar = scalar and not self._value.type.shape  # a NumPy scalar: not written to
        self._family: list[weakref.ref[Shared]] | None = None
        self._stale: tuple[SourceLine | None, SourceLine | None] | None = None
        self._origin: tuple[Shared, Any] | None = None  # the array and index that this is a view of

    @property
    def value(self) -> Value:
        """The Value; raises AliasError if memory that NumPy shares with it was written since."""
        if self._stale is not None:
            made, written = self._stale
            raise AliasError(
                "this array shares memory with another in NumPy (made at "
                f"{made or self._value.node}), and the other was written in place at {written}; "
                "traced arrays do not share memory. "
                "Copy before writing (x.copy()), or read again after it"
            )
        return self._value

    @property
    def is_stale(self) -> bool:
        """Whether memory that NumPy shares with it was written since, so that reading it raises."""
        return self._stale is not None

    @property
    def is_scalar(self) -> bool:
        """Whether NumPy would have a scalar here, which nothing can be written to."""
        return self._scalar

    def rebind(self, value: Operand, through: tuple[Shared, ...] = ()) -> None:
        """Take another Value of the same type, as an in-place write does.

        A write to x[index] reaches x too (`through` are the views it came by); whatever else NumPy
        would let share this memory becomes stale.
        """
        if type(value) is Value:
            kept = value
        else:  # a plain result stays traced: a constant of the same scopes
            kept = leaf(type_of(value), self._value.scopes, np.asarray(value))
        chain = (self, *through)
        if self._origin is not None:
            base, index = self._origin
            base.rebind(indexing.setitem(base.value, index, kept), chain)
        elif self._family is not None:
            self._mark_relatives(chain)
        self._value = kept

    def _mark_relatives(self, chain: tuple[Shared, ...]) -> None:
        """Make stale all that shares memory with this array but was not written to."""
        line = user_line()
        family: list[weakref.ref[Shared]] = self._family or []
        for reference in family:
            other = reference()
            if other is not None and all([other is not t for t in chain]):
                node = other._value.node
                other._stale = (node.source if node is not None else None, line)
                other._family = other._origin = None
        family[:] = [weakref.ref(tracer) for tracer in chain]


def share(view: Shared, base: Shared) -> None:
    """Note that NumPy would let these two share memory."""
    if view is base:
        return
    family = base._family
    if family is None:
        family = base._family = [weakref.ref(base)]
    elif len(family) > 64 and not len(family) & (len(family) - 1):  # at powers of two
        family[:] = [r for r in family if r() is not None]
    family.append(weakref.ref(view))
    view._family = family


def share_memory(x: Shared, y: Shared) -> bool:
    """Whether NumPy would let these two share memory."""
    return x._family is not None and x._family is y._family


def share_as_index(view: Shared, base: Shared, index: Any) -> None:
    """Note that `view` is `base[index]`, so that a write to it is one to that part of the base."""
    share(view, base)
    view._origin = (base, index)
