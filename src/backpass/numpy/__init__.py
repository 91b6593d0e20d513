"""`backpass.numpy`: the NumPy namespace, with the calls that NumPy cannot send to traced arrays.

Plain `np` works nearly everywhere. What differs here: `array`, `asarray` and the creation functions
accept traced values, and under a transform give arrays that traced values can be written into.
Every other name is NumPy's own.
"""

from __future__ import annotations

from typing import Any

import numpy as _np

from backpass.numpy.creation import (
    arange,
    array,
    asanyarray,
    asarray,
    ascontiguousarray,
    empty,
    eye,
    full,
    identity,
    linspace,
    ones,
    zeros,
)

__all__ = [
    "arange",
    "array",
    "asanyarray",
    "asarray",
    "ascontiguousarray",
    "empty",
    "eye",
    "full",
    "identity",
    "linspace",
    "ones",
    "zeros",
]


def __getattr__(name: str) -> Any:
    return getattr(_np, name)


def __dir__() -> list[str]:
    return sorted({*__all__, *dir(_np)})
