"""What a transform hands out: arrays of the caller's own.

Inside, arrays are shared freely: two gradients may be one array, a cotangent may pass through
unchanged, a constant may be a single number repeated by strides. Outside, NumPy code writes in
place. So each array that leaves is writable and shares its memory with no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.ir import Operand


def distinct(results: Sequence[Any], cts: Sequence[Operand | None]) -> list[Any]:
    """Results that the caller may write to: writable, and sharing memory with nothing else."""
    taken = {id(_owner(ct)) for ct in cts if isinstance(ct, np.ndarray)}
    found: list[Any] = []
    for x in results:
        if isinstance(x, np.ndarray):
            if not x.flags.writeable or id(_owner(x)) in taken:
                x = np.array(x)
            taken.add(id(_owner(x)))
        found.append(x)
    return found


def _owner(x: Any) -> Any:
    while isinstance(x, np.ndarray) and x.base is not None:
        x = x.base
    return x


def copied(x: Any) -> Any:
    """An array's copy, anything else as it is."""
    return np.array(x) if isinstance(x, np.ndarray) else x
