"""NumPy's questions about shape, dtype and memory: the answers need no values and no derivative.

The functions take anything with a shape and a dtype and give plain Python values. Traced arrays
never share memory: what NumPy would share is kept by the Tracer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[..., Any]


def shape(a: Any) -> tuple[int, ...]:
    """Extents of the axes."""
    return a.shape


def ndim(a: Any) -> int:
    """Number of axes."""
    return len(a.shape)


def size(a: Any, axis: int | None = None) -> int:
    """Number of elements, of all or along one axis."""
    return int(np.prod(a.shape, dtype=int)) if axis is None else a.shape[axis]


def _dtype_or(x: Any) -> Any:
    return x if isinstance(x, type) else getattr(x, "dtype", x)


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype of these together, by NumPy's promotion."""
    return np.result_type(*map(_dtype_or, arrays_and_dtypes))


def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Whether a cast keeps to the casting rule."""
    return np.can_cast(_dtype_or(from_), _dtype_or(to), casting)


INSPECTION: dict[Function, Function] = {
    np.shape: shape,
    np.ndim: ndim,
    np.size: size,
    np.iscomplexobj: lambda x: False,
    np.isrealobj: lambda x: True,
    np.isscalar: lambda element: False,
    np.result_type: result_type,
    np.can_cast: can_cast,
    np.shares_memory: lambda a, b, max_work=None: False,
    np.may_share_memory: lambda a, b, max_work=None: False,
}
