"""Creation functions, for arrays that traced values can be written into.

Outside of transforms they are NumPy's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.ir import Scope, Value, is_live
from backpass.ir.graph import constant
from backpass.ops.elementwise import astype
from backpass.ops.operand import holds_value, operand, shape_of
from backpass.ops.shape import reshape
from backpass.trace import Tracer, unwrap
from backpass.trace.cells import read_cells


def _holding(x: Any) -> Any:
    """x as it is outside of transforms; inside, a traced constant that takes in-place writes."""
    return Tracer(constant(x), scalar=False) if Scope.any_open() else x


def _created(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def create(*args: Any, **options: Any) -> Any:
        return _holding(function(*args, **options))

    create.__doc__ = (
        f"np.{function.__name__}; under a transform, traced values can be written into the result."
    )
    return create


zeros = _created(np.zeros)
ones = _created(np.ones)
full = _created(np.full)
empty = _created(np.zeros)
arange = _created(np.arange)
linspace = _created(np.linspace)
eye = _created(np.eye)
identity = _created(np.identity)


def array(x: Any, dtype: Any = None, *, copy: bool | None = True, ndmin: int = 0) -> Any:
    """An array from numbers, arrays and traced values nested in lists and tuples.

    >>> array([1.0, 2.0])
    array([1., 2.])
    """
    plain = unwrap(read_cells(x))
    if not (holds_value(plain) or is_live(plain)):
        return _holding(np.array(plain, dtype=dtype, copy=copy, ndmin=ndmin))
    value = operand(plain) if dtype is None else astype(operand(plain), dtype)
    missing = max(ndmin - len(shape_of(value)), 0)
    value = reshape(value, (1,) * missing + shape_of(value)) if missing else value
    return Tracer(value, scalar=False) if type(value) is Value else value


def asarray(x: Any, dtype: Any = None) -> Any:
    """x itself if it is traced and of this dtype, else an array for traced indices and writes.

    Outside of transforms it is np.asarray, which does not copy.
    """
    if isinstance(x, Tracer) and (dtype is None or x.dtype == np.dtype(dtype)):
        return x
    if isinstance(x, np.ndarray) and type(x) is not Tracer:
        return _holding(np.asarray(x, dtype=dtype))
    return array(x, dtype)


def asanyarray(x: Any, dtype: Any = None) -> Any:
    """As `asarray`: traced arrays have no subclasses."""
    return asarray(x, dtype)


def ascontiguousarray(x: Any, dtype: Any = None) -> Any:
    """As `asarray` for traced values, which have no strides, with at least one axis as in NumPy."""
    found = asarray(x, dtype)
    return np.atleast_1d(found) if isinstance(found, Tracer) else np.ascontiguousarray(found)
