"""NumPy's creation functions where a traced array says that the new one is traced too.

`np.zeros_like(x)` and `np.zeros(shape, like=x)` give constants as Values, so that traced values can
be written into them in place. What `np.empty` leaves undefined is zero here. Creation without a
traced array in sight is `backpass.numpy`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.ir import Value, constant, leaf, type_of
from backpass.ops.operand import cast_to, stand_in

Function = Callable[..., Any]


def _like(function: Function) -> Function:
    """np.zeros_like(x) and its kind: a constant of x's scopes."""

    def create(a: Value, *args: Any, **options: Any) -> Value:
        array = np.asarray(function(stand_in(a.shape, a.dtype), *args, **options))
        return leaf(type_of(array), a.scopes, array)

    return create


def _of_shape(function: Function) -> Function:
    """np.zeros(shape, like=x) and its kind."""

    def create(*args: Any, **options: Any) -> Value:
        return constant(function(*args, **options))

    return create


def as_array(a: Any, dtype: Any = None, *args: Any, **options: Any) -> Any:
    """np.asarray(a, like=x) and its kind: a itself, or as a traced constant, in a dtype."""
    value: Any = a if isinstance(a, Value) else constant(np.asarray(a))
    return value if dtype is None else cast_to(value, np.dtype(dtype))


FUNCTIONS: dict[Function, Function] = {
    np.array: as_array,
    np.asarray: as_array,
    np.asanyarray: as_array,
    np.ascontiguousarray: as_array,
    np.asfortranarray: as_array,
    np.require: as_array,
    np.tri: _of_shape(np.tri),
    np.fromfunction: _of_shape(np.fromfunction),
    np.fromiter: _of_shape(np.fromiter),
    np.frombuffer: _of_shape(np.frombuffer),
    np.fromfile: _of_shape(np.fromfile),
    np.fromstring: _of_shape(np.fromstring),
    np.loadtxt: _of_shape(np.loadtxt),
    np.genfromtxt: _of_shape(np.genfromtxt),
    np.zeros_like: _like(np.zeros_like),
    np.ones_like: _like(np.ones_like),
    np.empty_like: _like(np.zeros_like),
    np.full_like: _like(np.full_like),
    np.zeros: _of_shape(np.zeros),
    np.ones: _of_shape(np.ones),
    np.empty: _of_shape(np.zeros),
    np.full: _of_shape(np.full),
    np.eye: _of_shape(np.eye),
    np.identity: _of_shape(np.identity),
    np.arange: _of_shape(np.arange),
}
