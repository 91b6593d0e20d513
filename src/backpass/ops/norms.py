"""Norms of vectors and matrices, and condition numbers, over operands.

Conventions at kinks: the norm of zeros has derivative 0, and so has each absolute value at 0; ties
of a maximum share evenly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.dtypes import at_least_float
from backpass.errors import ShapeError
from backpass.ir import Operand
from backpass.ops.linalg import inv, matrices, svdvals
from backpass.ops.operand import (
    Axis,
    axes_of,
    axis_of,
    cast_to,
    dtype_of,
    extent,
    operand,
    restore,
    shape_of,
)
from backpass.ops.reduction import max_, min_, safe_sqrt, sum_
from backpass.ops.shape import moveaxis
from backpass.prims import elementwise as el
from backpass.prims.rules import full_like, zeros_like

Function = Callable[..., Any]


def _guarded(x: Operand, function: Callable[[Operand], Operand]) -> Operand:
    """function(x) where x is not 0, and a flat 0 there."""
    zero = el.equal(x, zeros_like(x))
    safe = el.select(zero, full_like(x, 1.0), x)
    return el.select(zero, zeros_like(x), function(safe))


def _power_norm(x: Operand, order: float, axis: Axis, keepdims: bool) -> Operand:
    """sum(|x|^order)^(1/order). Below order 1 the cusp at an element of 0 is taken as flat."""
    size = el.absolute(x)

    def powered(v: Operand) -> Operand:
        return el.power(v, full_like(v, order))

    terms = _guarded(size, powered) if 0.0 < order < 1.0 else powered(size)
    total = sum_(terms, axis, keepdims=keepdims)
    if order < 0.0:
        return el.power(total, full_like(total, 1.0 / order))
    return _guarded(total, lambda v: el.power(v, full_like(v, 1.0 / order)))


def _largest(x: Operand, axis: Axis, keepdims: bool = False) -> Operand:
    """The maximum of absolute values; 0 where there are none."""
    if not extent(shape_of(x), axes_of(x, axis)):
        return sum_(x, axis, keepdims=keepdims)
    return max_(x, axis, keepdims=keepdims)


def _vector(x: Operand, order: Any, axis: Axis, keepdims: bool) -> Operand:
    if order is None or order == 2:
        return safe_sqrt(sum_(el.square(x), axis, keepdims=keepdims))
    if order == np.inf:
        return _largest(el.absolute(x), axis, keepdims)
    if order == -np.inf:
        return min_(el.absolute(x), axis, keepdims=keepdims)
    if order == 0:
        nonzero = cast_to(el.not_equal(x, zeros_like(x)), dtype_of(x))
        return sum_(nonzero, axis, keepdims=keepdims)
    if order == 1:
        return sum_(el.absolute(x), axis, keepdims=keepdims)
    if isinstance(order, str):
        raise ValueError(f"norm: invalid norm order {order!r} for vectors")
    return _power_norm(x, float(order), axis, keepdims)


def _singular(x: Operand, axes: tuple[int, int], order: Any) -> Operand:
    """Norms made of singular values; abs gives a zero one the derivative 0."""
    moved = moveaxis(x, axes, (-2, -1))
    s = el.absolute(svdvals(moved))
    if order == 2:
        return _largest(s, -1)
    return min_(s, -1) if order == -2 else sum_(s, -1)


def _matrix(x: Operand, order: Any, row: int, column: int, keepdims: bool) -> Operand:
    if row == column:
        raise ValueError("norm: duplicate axes given")
    both = tuple(sorted((row, column)))
    if order in (None, "fro", "f"):
        return _vector(x, None, both, keepdims)
    if order in (2, -2, "nuc"):
        found = _singular(x, (row, column), order)
    elif order in (1, -1, np.inf, -np.inf):
        summed, rest = (row, column) if abs(order) == 1 else (column, row)
        sums = sum_(el.absolute(x), summed)
        choose = _largest if order > 0 else min_
        found = choose(sums, rest - 1 if rest > summed else rest)
    else:
        raise ValueError(f"norm: invalid norm order {order!r} for matrices")
    return restore(found, both, keepdims)


def _floating(x: Any) -> Operand:
    own = operand(x)
    return cast_to(own, at_least_float(dtype_of(own)))


def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Operand:
    """np.linalg.norm, all orders of vectors and matrices."""
    a = _floating(x)
    ndim = len(shape_of(a))
    if axis is None and (
        ord is None or (ndim == 1 and ord == 2) or (ndim == 2 and ord in ("f", "fro"))
    ):
        return _vector(a, None, None, keepdims)
    axes = tuple(range(ndim)) if axis is None else _in_order(a, axis)
    if len(axes) == 1:
        return _vector(a, ord, axes[0], keepdims)
    if len(axes) == 2:
        return _matrix(a, ord, axes[0], axes[1], keepdims)
    raise ValueError(f"norm: improper number of dimensions to norm: {len(axes)}; give axis")


def _in_order(x: Operand, axis: Any) -> tuple[int, ...]:
    given = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    return tuple([axis_of(x, int(i)) for i in given])


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Operand:
    """The norm of the matrices in the last two axes."""
    a = _floating(x)
    return norm(a, ord, (-2, -1), keepdims)


def vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: Any = 2) -> Operand:
    """The norm of all the elements along `axis`, taken as one vector."""
    a = _floating(x)
    return _vector(a, ord, axes_of(a, axis), keepdims)


def cond(x: Any, p: Any = None) -> Operand:
    """The condition number: norm(x, p) norm(inv(x), p), by singular values for p None, 2 and -2."""
    (a,) = matrices("cond", x)
    if 0 in shape_of(a)[-2:]:
        raise ShapeError(f"cond: is not defined on empty arrays, got shape {shape_of(a)}")
    if p is None or p in (2, -2):
        s = svdvals(a)
        largest, least = max_(s, -1), min_(s, -1)
        return el.div(least, largest) if p == -2 else el.div(largest, least)
    return el.mul(norm(a, p, (-2, -1)), norm(inv(a), p, (-2, -1)))


FUNCTIONS: dict[Function, Function] = {
    np.linalg.norm: norm,
    np.linalg.matrix_norm: matrix_norm,
    np.linalg.vector_norm: vector_norm,
    np.linalg.cond: cond,
}
