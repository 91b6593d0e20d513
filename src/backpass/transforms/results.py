"""What a transform hands out: arrays of the caller's own.

Inside, arrays are shared freely: two gradients may be one array, a cotangent may pass through
unchanged, a constant may be a single number repeated by strides. Outside, NumPy code writes in
place. So each array that leaves is writable and shares its memory with no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from backpass.ir import Operand
from backpass.trace import Tracer


def distinct(results: Sequence[Any], cts: Sequence[Operand | None]) -> list[Any]:
    """Results that the caller may write to: writable, and sharing memory with nothing else."""
    taken = {id(_owner(ct)) for ct in cts if is_array(ct)}
    found: list[Any] = []
    for x in results:
        if is_array(x):
            if not x.flags.writeable or id(_owner(x)) in taken:
                x = np.array(x)
            taken.add(id(_owner(x)))
        found.append(x)
    return found


def is_array(x: object) -> TypeGuard[np.ndarray[Any, Any]]:
    """Whether x is an array in memory; a Tracer calls itself one, for the user's isinstance."""
    return isinstance(x, np.ndarray) and type(x) is not Tracer


def _owner(x: Any) -> Any:
    while isinstance(x, np.ndarray) and x.base is not None:
        x = x.base
    return x


def copied(x: Any) -> Any:
    """An array's copy, anything else as it is."""
    return np.array(x) if is_array(x) else x
