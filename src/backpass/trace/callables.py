"""NumPy's functions that call the user's: apply_along_axis, apply_over_axes, piecewise.

They run on traced arrays as they are, so that the user's function sees what it would see in NumPy,
and are written with NumPy's functions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Function = Callable[..., Any]


def apply_along_axis(func1d: Function, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """func1d of each vector along an axis; the axes of its results take the place of that axis."""
    moved = np.moveaxis(arr, axis, -1)
    lead = moved.shape[:-1]
    found = [func1d(moved[index], *args, **kwargs) for index in np.ndindex(lead)]
    if not found:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    stacked = np.stack(found)
    inner = stacked.ndim - 1
    out = stacked.reshape(lead + stacked.shape[1:])
    first = axis % arr.ndim
    source = tuple(range(len(lead), len(lead) + inner))
    return np.moveaxis(out, source, tuple(range(first, first + inner)))


def apply_over_axes(func: Function, a: Any, axes: Any) -> Any:
    """func(a, axis) for each axis in turn; a result that lost its axis gets it back as 1."""
    found = a
    for axis in np.atleast_1d(np.asarray(axes)).tolist():
        own = axis + a.ndim if axis < 0 else axis
        result = func(found, own)
        if result.ndim != found.ndim:
            result = np.expand_dims(result, own)
        if result.ndim != found.ndim:
            raise ValueError("function is not returning an array of the correct shape")
        found = result
    return found


def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Each function (or number) on the elements where its condition holds, the last where none."""
    conditions = list(condlist) if isinstance(condlist, (list, tuple)) else [condlist]
    if conditions and np.ndim(conditions[0]) == 0 and np.ndim(x) > 0:
        conditions = [np.asarray(conditions)]
    if len(funclist) not in (len(conditions), len(conditions) + 1):
        raise ValueError(
            f"with {len(conditions)} condition(s), either {len(conditions)} or "
            f"{len(conditions) + 1} functions are expected"
        )
    out = np.zeros_like(x)
    if len(funclist) > len(conditions):
        out = np.where(np.any(np.stack(conditions), axis=0), out, _piece(funclist[-1], x, args, kw))
    for condition, function in zip(conditions, funclist, strict=False):
        out = np.where(condition, _piece(function, x, args, kw), out)
    return np.astype(out, x.dtype)


def _piece(function: Any, x: Any, args: Any, kw: Any) -> Any:
    """The function of all of x: what it gives elsewhere takes no part, and no cotangent."""
    return function(x, *args, **kw) if callable(function) else function


CALLABLES: dict[Function, Function] = {
    np.apply_along_axis: apply_along_axis,
    np.apply_over_axes: apply_over_axes,
    np.piecewise: piecewise,
}
