"""Reductions and scans: max, min, prod, any, all, argmax, argmin, cumsum, cumprod.

`reduce_sum` is in `rules.py`, because every family uses it.
`axes` are the reduced axes, gone from the result. Ties of max and min share the cotangent evenly.
prod and cumprod are exact where factors are zero: no division is used, and second derivatives
follow from the same rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.ir import Lowering, Operand, Primitive, type_of
from backpass.ir.graph import Array, tensor_type
from backpass.prims.elementwise import add, cast, div, equal, mul
from backpass.prims.rules import (
    INTERPRETED,
    Pull,
    batch_one,
    broadcast,
    full_like,
    no_gradient,
    per_input,
    reduce_sum,
    reduced_type,
    scale,
    shifted,
)
from backpass.prims.shape import flip, pad, slice_


def _reduction(name: str, reference: Callable[..., Any], pull: Pull) -> Primitive:
    primitive = Primitive(
        name=name,
        shape=lambda t, axes: (reduced_type(t, axes),),
        reference=lambda x, axes: reference(x, axis=axes),
        vjp=per_input(pull),
        batch=batch_one(lambda x, axes: primitive(x, axes=shifted(axes))),
        lower=Lowering.REDUCTION,
        single=True,
    )
    return primitive


def _pull_extremum(ct: Operand, y: Operand, x: Operand, axes: tuple[int, ...]) -> Operand:
    """Each of n tied extrema gets ct / n."""
    shape = type_of(x).shape
    tied = cast(equal(x, broadcast(y, shape=shape, axes=axes)), dtype=type_of(x).dtype)
    count = broadcast(reduce_sum(tied, axes=axes), shape=shape, axes=axes)
    return scale(broadcast(ct, shape=shape, axes=axes), div(tied, count))


reduce_max = _reduction("max", np.max, _pull_extremum)
reduce_min = _reduction("min", np.min, _pull_extremum)


def _scan_reference(accumulate: Callable[..., Any]) -> Callable[..., Array]:
    def reference(x: Array, axis: int, reverse: bool) -> Array:
        if not reverse:
            return accumulate(x, axis=axis, dtype=x.dtype)
        return np.flip(accumulate(np.flip(x, axis), axis=axis, dtype=x.dtype), axis)

    return reference


def _scan(name: str, accumulate: Callable[..., Any], pull: Pull) -> Primitive:
    primitive = Primitive(
        name=name,
        shape=lambda t, axis, reverse: (t,),
        reference=_scan_reference(accumulate),
        vjp=per_input(pull),
        batch=batch_one(lambda x, axis, reverse: primitive(x, axis=axis + 1, reverse=reverse)),
        lower=Lowering.SCAN,
        single=True,
    )
    return primitive


def shift(x: Operand, axis: int, by: int, fill: float) -> Operand:
    """x moved by `by` places along axis, to higher indices where positive; gaps get `fill`."""
    n = type_of(x).shape[axis]
    by = max(-n, min(n, by))
    ndim = len(type_of(x).shape)
    starts, stops = [0] * ndim, list(type_of(x).shape)
    low, high = [0] * ndim, [0] * ndim
    if by >= 0:
        stops[axis], low[axis] = n - by, by
    else:
        starts[axis], high[axis] = -by, -by
    kept = slice_(x, starts=tuple(starts), stops=tuple(stops), steps=(1,) * ndim)
    moved = pad(kept, low=tuple(low), high=tuple(high), interior=(0,) * ndim)
    if fill == 0.0:
        return moved
    gap = np.zeros(type_of(x).shape, type_of(x).dtype)
    index = [slice(None)] * ndim
    index[axis] = slice(0, by) if by >= 0 else slice(n + by, n)
    gap[tuple(index)] = fill
    return add(moved, gap)


def _recurrence(a: Operand, b: Operand, axis: int) -> Operand:
    """s_i = b_i + a_i s_(i+1) with s_n = 0, by doubling.

    Blelloch 1990, Prefix sums and their applications.
    """
    step, n = 1, type_of(a).shape[axis]
    while step < n:
        b = add(b, mul(a, shift(b, axis, -step, 0.0)))
        a = mul(a, shift(a, axis, -step, 1.0))
        step *= 2
    return b


def _pull_cumprod(ct: Operand, y: Operand, x: Operand, axis: int, reverse: bool) -> Operand:
    """dx_i = (x_1 ... x_(i-1)) * s_i with s_i = ct_i + x_(i+1) s_(i+1)."""
    if reverse:
        turned = (flip(v, axes=(axis,)) for v in (ct, y, x))
        return flip(_pull_cumprod(*turned, axis=axis, reverse=False), axes=(axis,))
    before = shift(cumprod(x, axis=axis, reverse=False), axis, 1, 1.0)
    return mul(before, _recurrence(shift(x, axis, -1, 0.0), ct, axis))


cumsum = _scan(
    "cumsum",
    np.cumsum,
    lambda ct, y, x, axis, reverse: cumsum(ct, axis=axis, reverse=not reverse),
)
cumprod = _scan("cumprod", np.cumprod, _pull_cumprod)


def _pull_prod(ct: Operand, y: Operand, x: Operand, axes: tuple[int, ...]) -> Operand:
    """ct times the product of all other factors, axis by axis.

    `rest` holds the products over the axes that are done.
    """
    shape = type_of(x).shape
    others, rest = full_like(x, 1.0), x
    for axis in axes:
        left = shift(cumprod(rest, axis=axis, reverse=False), axis, 1, 1.0)
        right = shift(cumprod(rest, axis=axis, reverse=True), axis, -1, 1.0)
        others = mul(others, mul(left, right))
        rest = broadcast(prod(rest, axes=(axis,)), shape=shape, axes=(axis,))
    return scale(broadcast(ct, shape=shape, axes=axes), others)


prod = _reduction("prod", np.prod, _pull_prod)


def _test(name: str, reference: Callable[..., Any]) -> Primitive:
    """A reduction to booleans."""
    primitive = Primitive(
        name=name,
        shape=lambda t, axes: (tensor_type(reduced_type(t, axes).shape, np.dtype(np.bool_)),),
        reference=lambda x, axes: reference(x, axis=axes),
        vjp=no_gradient("boolean output"),
        batch=batch_one(lambda x, axes: primitive(x, axes=shifted(axes))),
        lower=Lowering.REDUCTION,
        single=True,
    )
    return primitive


any_ = _test("any", np.any)
all_ = _test("all", np.all)


def _arg(name: str, reference: Callable[..., Any]) -> Primitive:
    primitive = Primitive(
        name=name,
        shape=lambda t, axis: (tensor_type(reduced_type(t, (axis,)).shape, np.dtype(np.intp)),),
        reference=lambda x, axis: reference(x, axis=axis),
        vjp=no_gradient("integer output"),
        batch=batch_one(lambda x, axis: primitive(x, axis=axis + 1)),
        lower=INTERPRETED,
        single=True,
    )
    return primitive


argmax = _arg("argmax", np.argmax)
argmin = _arg("argmin", np.argmin)
