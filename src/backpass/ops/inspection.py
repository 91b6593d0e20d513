"""NumPy's questions about shape, dtype and memory: the answers need no values and no derivative.

The functions take anything with a shape and a dtype and give plain Python values. Traced arrays
never share memory: what NumPy would share is kept by the Tracer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.ops.operand import stand_in

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


def _stand_in(x: Any) -> Any:
    return stand_in(x.shape, x.dtype) if hasattr(x, "shape") else x


def _of_shapes(function: Function) -> Function:
    """NumPy's own function, where it reads shapes and dtypes only."""

    def apply(*xs: Any, **options: Any) -> Any:
        return function(*map(_stand_in, xs), **options)

    return apply


def _shown(function: Function) -> Function:
    """np.array_str and its kind: what repr shows of a traced array."""

    def show(a: Any, *args: Any, **options: Any) -> str:
        return repr(a)

    show.__name__ = function.__name__
    return show


INSPECTION: dict[Function, Function] = {
    np.einsum_path: _of_shapes(np.einsum_path),
    np.common_type: _of_shapes(np.common_type),
    np.min_scalar_type: _of_shapes(np.min_scalar_type),
    np.tril_indices_from: _of_shapes(np.tril_indices_from),
    np.triu_indices_from: _of_shapes(np.triu_indices_from),
    np.diag_indices_from: _of_shapes(np.diag_indices_from),
    np.array_repr: _shown(np.array_repr),
    np.array_str: _shown(np.array_str),
    np.array2string: _shown(np.array2string),
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
