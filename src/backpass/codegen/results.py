"""The arrays that a program returns: new ones, or old ones that nobody has any more.

A large array that was freed goes back to the system, and its memory comes back page by page, each
cleared and mapped at its first touch: as costly as some kernels. So a program remembers the last
large arrays it returned, and returns one again once no one else refers to it: no view, no buffer,
no weak reference. Invariant: an array that anybody can still reach is never written to.

Bound: `KEPT` arrays of each large result, and `MOST_BYTES` in all, are kept as long as the program.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.codegen.once import once
from backpass.ir import TensorType

Array = np.ndarray[Any, np.dtype[Any]]

LARGE = 1 << 16  # bytes: smaller ones come from memory that the process has anyway
KEPT = 2  # while the caller still holds the last result, the one before is free
MOST_BYTES = 1 << 26


class Results:
    """Makes the results of each call.

    Args:
        types: of the results.
    """

    def __init__(self, types: Sequence[TensorType]) -> None:
        self._types = tuple([(t.shape, t.dtype) for t in types])
        self._kept: dict[int, list[Array]] = {}
        self._idle_count = _idle_count()
        size = 0
        for i, t in enumerate(types):
            size += KEPT * t.nbytes if t.nbytes >= LARGE else 0
            if t.nbytes >= LARGE and size <= MOST_BYTES and self._idle_count:
                self._kept[i] = []

    def fresh(self) -> list[Array]:
        """Arrays whose contents are undefined, and which nobody else has."""
        if not self._kept:
            return [np.empty(shape, dtype) for shape, dtype in self._types]
        return [self._fresh(i) for i in range(len(self._types))]

    def _fresh(self, number: int) -> Array:
        shape, dtype = self._types[number]
        kept = self._kept.get(number)
        if kept is None:
            return np.empty(shape, dtype)
        found = _idle(kept, self._idle_count)
        if found is None or not _is_as_made(found, shape, dtype):
            found = np.empty(shape, dtype)
            kept.append(found)
            del kept[:-KEPT]
        return found


def _idle(kept: Sequence[Array], count: int) -> Array | None:
    """One of the arrays that nothing but `kept` refers to.

    Where two threads look at one at a time, each counts the other's reference, and both leave it.
    """
    for array in kept:
        if sys.getrefcount(array) == count and not weakref.getweakrefcount(array):
            return array
    return None


def _is_as_made(array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether the caller has not changed what kind of array it is."""
    same = array.shape == shape and array.dtype is dtype
    return same and array.flags.c_contiguous and array.flags.writeable and array.flags.owndata


@once
def _idle_count() -> int:
    """What `getrefcount` says in a loop as above of an array that only a list has; 0: unknown."""
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return 0
    for array in [np.empty(1)]:
        return sys.getrefcount(array)
    return 0
