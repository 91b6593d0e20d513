"""Orders and positions: argsort, argpartition, lexsort, search, and correlate, the sliding product.

The first four give integers and have no derivative: sorting is then reading at these positions,
and the derivative is that of the reading. Leading axes of search and correlate are a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.ir import Operand, Primitive, TensorType, type_of
from backpass.ir.graph import Array, tensor_type
from backpass.prims.linalg import batch_leading
from backpass.prims.rules import INTERPRETED, batch_one, no_gradient, per_input
from backpass.prims.shape import flip, pad, transpose

INDEX = np.dtype(np.intp)


def _positions(t: TensorType, **_: Any) -> tuple[TensorType, ...]:
    return (tensor_type(t.shape, INDEX),)


def _argsort_reference(x: Array, axis: int, kind: str | None) -> Array:
    return np.argsort(x, axis=axis, kind=kind)  # type: ignore[arg-type, call-overload]


def _argsort_shifted(x: Operand, axis: int, kind: str | None) -> Operand:
    return argsort(x, axis=axis + 1, kind=kind)


# argsort: the positions that sort x along an axis.
argsort = Primitive(
    name="argsort",
    shape=_positions,
    reference=_argsort_reference,
    vjp=no_gradient("integer output"),
    batch=batch_one(_argsort_shifted),
    lower=INTERPRETED,
    single=True,
)


def _argpartition_reference(x: Array, axis: int, kth: int | tuple[int, ...]) -> Array:
    return np.argpartition(x, kth, axis=axis)


def _argpartition_shifted(x: Operand, axis: int, kth: int | tuple[int, ...]) -> Operand:
    return argpartition(x, axis=axis + 1, kth=kth)


# argpartition: the positions that put the kth elements in their sorted place.
argpartition = Primitive(
    name="argpartition",
    shape=_positions,
    reference=_argpartition_reference,
    vjp=no_gradient("integer output"),
    batch=batch_one(_argpartition_shifted),
    lower=INTERPRETED,
    single=True,
)


def _lexsort_shape(t: TensorType) -> tuple[TensorType, ...]:
    return (tensor_type(t.shape[1:], INDEX),)


def _lexsort_reference(keys: Array) -> Array:
    return np.asarray(np.lexsort(keys))


def _lexsort_batch(keys: Operand) -> Operand:
    ndim = len(type_of(keys).shape)
    return lexsort(transpose(keys, order=(1, 0, *range(2, ndim))))


# lexsort: the positions that sort along the last axis by several keys, the last key first.
lexsort = Primitive(
    name="lexsort",
    shape=_lexsort_shape,
    reference=_lexsort_reference,
    vjp=no_gradient("integer output"),
    batch=batch_one(_lexsort_batch),
    lower=INTERPRETED,
    single=True,
)


def _row_by_row(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function of two vectors over the leading axes that both operands share."""

    def reference(a: Array, v: Array, **params: Any) -> Array:
        if a.ndim == 1:
            return np.asarray(function(a, v, **params))
        batch = a.shape[:-1]
        rows = zip(a.reshape(-1, a.shape[-1]), v.reshape(-1, *v.shape[a.ndim - 1 :]), strict=True)
        found = [np.asarray(function(x, y, **params)) for x, y in rows]
        return np.stack(found).reshape(*batch, *found[0].shape)

    return reference


def _search_shape(a: TensorType, v: TensorType, side: str) -> tuple[TensorType, ...]:
    return (tensor_type(v.shape, INDEX),)


def _search(a: Array, v: Array, side: str) -> Array:
    return np.searchsorted(a, v, side=side)  # type: ignore[call-overload]


def _search_reference(a: Array, v: Array, side: str) -> Array:
    if v.size == 0:
        return np.zeros(v.shape, INDEX)
    return _row_by_row(_search)(a, v, side=side)


# search(a, v): where v would be inserted into sorted rows a (..., n) to keep their order.
search = Primitive(
    name="searchsorted",
    shape=_search_shape,
    reference=_search_reference,
    vjp=no_gradient("integer output"),
    batch=batch_leading(lambda: search),
    lower=INTERPRETED,
    single=True,
)


def _correlate_shape(a: TensorType, v: TensorType) -> tuple[TensorType, ...]:
    count = a.shape[-1] - v.shape[-1] + 1
    if count < 1 or v.shape[-1] < 1 or a.shape[:-1] != v.shape[:-1] or a.dtype != v.dtype:
        raise ShapeError(f"correlate: {v} does not slide along {a}")
    return (tensor_type((*a.shape[:-1], count), a.dtype),)


def _slide(x: Array, y: Array) -> Array:
    return np.correlate(x, y, "valid")


def _correlate_reference(a: Array, v: Array) -> Array:
    if a.size == 0:
        return np.zeros((*a.shape[:-1], a.shape[-1] - v.shape[-1] + 1), a.dtype)
    return _row_by_row(_slide)(a, v)


def _pull_a(ct: Operand, y: Operand, a: Operand, v: Operand) -> Operand:
    ndim, more = len(type_of(v).shape), type_of(v).shape[-1] - 1
    widths = (*(0,) * (ndim - 1), more)
    spread = pad(ct, low=widths, high=widths, interior=(0,) * ndim)
    return correlate(spread, flip(v, axes=(ndim - 1,)))


def _pull_v(ct: Operand, y: Operand, a: Operand, v: Operand) -> Operand:
    return correlate(a, ct)


# correlate(a, v)[..., k] = sum over n of a[..., n + k] v[..., n], wherever v lies within a.
correlate = Primitive(
    name="correlate",
    shape=_correlate_shape,
    reference=_correlate_reference,
    vjp=per_input(_pull_a, _pull_v),
    batch=batch_leading(lambda: correlate),
    lower=INTERPRETED,
    single=True,
)
