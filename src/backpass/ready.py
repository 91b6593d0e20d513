"""The shortest way of a call of a jitted function: for objects that were looked at before.

A Module or optimizer that is the same object, of the same version, has the same Cells; a Cell that
is as it was has the same array; and an array that is given is looked at by the program's native
entry. So a call compares a few identities, and Python adds 2.6 us to what the native code takes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.trace import Cell, is_stateful
from backpass.trace.cells import cells_token, version_of
from backpass.tree import Tree, unflattener

if TYPE_CHECKING:
    from backpass.codegen import Program

# What an argument of a short call must be: anything of this type whose array is fed, the same
# object (a Module of the same version), the same value, or a tuple of such.
_FED = (np.ndarray, float, int)
_FIXED = (type(None), bool, str)


@dataclass(frozen=True, slots=True)
class Guard:
    """One argument of a short call, by exactly one of its fields."""

    kind: type | None = None
    owner: weakref.ref[Any] | None = None
    version: object = None
    value: Any = None
    parts: tuple[Guard, ...] = ()

    def holds(self) -> bool:
        """Whether the Modules and optimizers in it are there and of the same version."""
        owner = None if self.owner is None else self.owner()
        if self.owner is not None and (owner is None or version_of(owner) is not self.version):
            return False
        return all([g.holds() for g in self.parts])


def guard_of(x: Any) -> Guard | None:
    """What to hold an argument against; None if its calls are never short."""
    kind = type(x)
    if kind in _FED:
        return Guard(kind)
    if kind in _FIXED:
        return Guard(value=x)
    if is_stateful(x):
        version = version_of(x)
        return None if version is None else Guard(owner=weakref.ref(x), version=version)
    if kind is tuple:
        parts = [guard_of(v) for v in x]
        return None if None in parts else Guard(parts=tuple([g for g in parts if g is not None]))
    return None


def _feeds(x: Any, guard: Guard, arrays: list[Any]) -> bool:
    """Whether an argument is as the guard says; its arrays are added to `arrays`."""
    kind, owner = guard.kind, guard.owner
    if kind is not None:
        if type(x) is not kind:
            return False
        arrays.append(x if kind is np.ndarray else np.array(x))
        return True
    if owner is not None:
        return owner() is x and x.__backpass_version__() is guard.version
    if guard.parts or type(x) is tuple:
        fits = type(x) is tuple and len(x) == len(guard.parts)
        return fits and all([_feeds(v, g, arrays) for v, g in zip(x, guard.parts, strict=True)])
    return type(x) is type(guard.value) and x == guard.value


class Ready:
    """The short way of calls like one that was made.

    It holds while each Module and optimizer says that it is of the same version. Types, shapes and
    layouts of arrays are checked by the program's native entry.

    Args:
        program: what runs.
        structure: how its results are nested.
        cells: of the arguments, in the order of the program's inputs.
        guards: of the arguments.
    """

    __slots__ = (
        "arrays",
        "cells",
        "enter",
        "guards",
        "nested",
        "others",
        "owned",
        "plain",
        "structure",
        "token",
        "trainable",
    )

    def __init__(
        self,
        program: Program,
        structure: Tree,
        cells: Sequence[Cell],
        guards: Sequence[Guard],
    ) -> None:
        self.enter = program.enter
        self.structure, self.cells, self.guards = structure, cells, guards
        places = list(enumerate(guards))
        self.owned = [(i, g.owner, g.version) for i, g in places if g.owner is not None]
        self.others = [(i, g) for i, g in places if g.owner is None]
        self.token = cells_token()
        self.arrays = [c.array for c in cells]
        self.trainable = [c.trainable for c in cells]
        self.nested = _nester(structure, [len(t.shape) for t in program.result_types])
        self.plain = not cells and all([g.kind is np.ndarray for g in guards])

    def is_alive(self) -> bool:
        """Whether what it is for is still there: Modules, optimizers, and the arrays of Cells."""
        owners = all([g.owner is None or g.owner() is not None for g in self.guards])
        return owners and self._has_its_arrays()

    def _has_its_arrays(self) -> bool:
        return all([c.array is a for c, a in zip(self.cells, self.arrays, strict=True)])

    def has_its_cells(self) -> bool:
        """Whether all Cells have the arrays that they had, and are as trainable."""
        token = cells_token()
        if self.token is not token:
            same = self.trainable == [c.trainable for c in self.cells]
            if not same or not self._has_its_arrays():
                return False
            self.token = token
        return True

    def call(self, args: tuple[Any, ...]) -> Any:
        """The result, or NotImplemented if this call needs the long way."""
        if len(args) != len(self.guards):
            return NotImplemented
        if self.plain:  # the native entry looks at all there is to look at
            outputs = self.enter(args)
            return NotImplemented if outputs is None else self.nested(outputs)
        for i, owner, version in self.owned:
            x = args[i]
            if owner() is not x or x.__backpass_version__() is not version:
                return NotImplemented
        arrays: list[Any] = []
        for i, guard in self.others:
            x = args[i]
            if guard.kind is np.ndarray and type(x) is np.ndarray:
                arrays.append(x)
            elif not _feeds(x, guard, arrays):
                return NotImplemented
        if self.token is not cells_token() and not self.has_its_cells():
            return NotImplemented
        outputs = self.enter(arrays, self.arrays)
        return NotImplemented if outputs is None else self.nested(outputs)


def _nester(structure: Tree, ranks: Sequence[int]) -> Callable[[list[Any]], Any]:
    """What makes of a program's outputs the result of a call: numbers of arrays of rank 0."""
    scalars = [i for i, rank in enumerate(ranks) if not rank]
    nested = unflattener(structure)

    def of(outputs: list[Any]) -> Any:
        for i in scalars:
            outputs[i] = outputs[i][()]
        return nested(outputs)

    return of
