"""Comparisons, counts and sets: isclose, isin, nonzero, bincount, digitize, unique, ...

Their results are integers and booleans, which carry no derivative. Where the shape of a result
depends on values, the values must be known: under jit and vmap that is an error that says so.
Functions of the values of floats that are more than a question (unique, histogram edges) are
refused or read the array at known positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from backpass.dtypes import common, promotable, ufunc_dtypes
from backpass.errors import TracingError, UnsupportedError
from backpass.ir import Operand, Value
from backpass.ops.elementwise import where as choose
from backpass.ops.indexing import getitem
from backpass.ops.operand import (
    cast_to,
    common_shape,
    dtype_of,
    operand,
    refused_call,
    shape_of,
)
from backpass.ops.reduction import all_, any_
from backpass.ops.shape import ravel, reshape
from backpass.ops.sorting import searchsorted
from backpass.ops.ufuncs import ufunc
from backpass.prims import elementwise as el
from backpass.prims.index import gather, scatter_add
from backpass.prims.rules import full_like

Function = Callable[..., Any]


def known(name: str, x: Any) -> np.ndarray[Any, Any]:
    """The array of an operand, whose values must be known."""
    own = operand(x)
    if isinstance(own, Value):
        if own.array is None:
            raise TracingError(
                f"{name}: its result depends on the values of {own.type}, which jit and vmap do "
                "not know; call it outside of them, or use np.where with a condition"
            )
        return own.array
    return own


def isclose(
    a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False
) -> Operand:
    """Where |a - b| <= atol + rtol |b|."""
    dtype = np.result_type(common(a, b), np.float32)
    x, y = common_shape("isclose", *[cast_to(operand(v), dtype) for v in (a, b)])
    bound = ufunc(np.add, atol, ufunc(np.multiply, rtol, el.absolute(y)))
    close = ufunc(np.less_equal, el.absolute(el.sub(x, y)), bound)
    found = choose(el.isfinite(y), close, el.equal(x, y))
    return el.logical_or(found, el.logical_and(el.isnan(x), el.isnan(y))) if equal_nan else found


def allclose(
    a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False
) -> Operand:
    """Whether all elements are close."""
    return all_(isclose(a, b, rtol, atol, equal_nan))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    """Whether shapes and all elements are equal."""
    x, y = operand(a1), operand(a2)
    if shape_of(x) != shape_of(y):
        return False
    same = ufunc(np.equal, x, y)
    if equal_nan and dtype_of(x).kind == "f" and dtype_of(y).kind == "f":
        same = el.logical_or(same, el.logical_and(el.isnan(x), el.isnan(y)))
    return all_(same)


def array_equiv(a1: Any, a2: Any) -> Any:
    """Whether all elements are equal after broadcasting one to the other."""
    x, y = operand(a1), operand(a2)
    try:
        np.broadcast_shapes(shape_of(x), shape_of(y))
    except ValueError:
        return False
    return all_(ufunc(np.equal, x, y))


def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: str | None = None,
) -> Operand:
    """Which elements are among the test elements."""
    x = operand(element)
    tests = ravel(test_elements)
    found = any_(ufunc(np.equal, reshape(x, (*shape_of(x), 1)), tests), -1)
    return el.logical_not(found) if invert else found


def digitize(x: Any, bins: Any, right: bool = False) -> Operand:
    """The number of the bin of each element; the edges must have known values."""
    edges = known("digitize", bins)
    steps = np.diff(edges)
    if (steps >= 0).all():
        return searchsorted(edges, x, "left" if right else "right")
    if not (steps <= 0).all():
        raise ValueError("bins must be monotonically increasing or decreasing")
    found = searchsorted(edges[::-1], x, "left" if right else "right")
    return el.sub(full_like(found, len(edges)), found)


def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Operand:
    """How often each integer occurs, or the sum of its weights; the integers must be known."""
    numbers = known("bincount", x)
    if weights is None:
        return np.bincount(numbers, minlength=minlength)
    if numbers.ndim != 1 or (numbers.size and numbers.min() < 0) or numbers.dtype.kind not in "iub":
        raise ValueError("bincount: the first argument must be a vector of integers >= 0")
    w = cast_to(operand(weights), np.dtype(np.float64))
    if shape_of(w) != numbers.shape:
        raise ValueError("The weights and list don't have the same length.")
    length = max(int(numbers.max()) + 1 if numbers.size else 0, minlength)
    return scatter_add(w, numbers.astype(np.intp), shape=(length,))


def nonzero(a: Any) -> tuple[np.ndarray[Any, Any], ...]:
    """The indices of what is not zero; the values must be known."""
    return np.nonzero(known("nonzero", a))


def flatnonzero(a: Any) -> np.ndarray[Any, Any]:
    """The flat indices of what is not zero; the values must be known."""
    return np.flatnonzero(known("flatnonzero", a))


def argwhere(a: Any) -> np.ndarray[Any, Any]:
    """The indices of what is not zero, in rows; the values must be known."""
    return np.argwhere(known("argwhere", a))


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Operand:
    """x without the zeros at its ends; the values must be known."""
    values = known("trim_zeros", filt)
    axes = range(values.ndim) if axis is None else np.atleast_1d(axis) % values.ndim
    index = [slice(None)] * values.ndim
    for i, places in enumerate(np.nonzero(values)):
        if i not in axes:
            continue
        if not places.size:
            index[i] = slice(0, 0)
            continue
        low = int(places.min()) if "f" in trim.lower() else 0
        high = int(places.max()) + 1 if "b" in trim.lower() else values.shape[i]
        index[i] = slice(low, high)
    return getitem(filt, tuple(index))


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """The sorted distinct elements, read where each first occurs; the values must be known."""
    values = known("unique", ar)
    if axis is not None:
        raise UnsupportedError("unique: axis= is not supported on traced arrays")
    _, first, inverse, counts = np.unique(values, True, True, True, equal_nan=equal_nan)
    found: list[Any] = [gather(ravel(ar), first)]
    found += [first] if return_index else []
    found += [inverse] if return_inverse else []
    found += [counts] if return_counts else []
    return tuple(found) if len(found) > 1 else found[0]


def _of_integers(function: Function) -> Function:
    """NumPy's own function of integers or booleans with known values: it has no derivative."""

    def apply(*args: Any, **options: Any) -> Any:
        name = function.__name__
        return function(
            *[_integers(name, x) for x in args],
            **{key: _integers(name, x) for key, x in options.items()},
        )

    return apply


def _integers(name: str, x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)([_integers(name, v) for v in x])
    if not isinstance(x, Value):
        return x
    if x.dtype.kind == "f":
        raise refused_call(
            f"numpy.{name}",
            f"it takes traced integers and booleans, not {x.type}; if no derivative is wanted, "
            "call it on arrays outside of the transform",
        )
    return known(name, x)


def _bins(name: str) -> Function:
    def refused(*args: Any, **options: Any) -> NoReturn:
        raise refused_call(
            f"numpy.{name}",
            "counts in bins have no derivative, and the edges depend on the data; call it on "
            "arrays outside of the transform, or use np.digitize and np.bincount with fixed edges",
        )

    return refused


def frexp(x: Any) -> tuple[Operand, Operand]:
    """Mantissa and exponent of two; the exponent is piecewise constant."""
    own = cast_to(operand(x), ufunc_dtypes(np.frexp, (promotable(x),))[0])
    exponent = el.exponent(own)
    return el.ldexp(own, el.neg(exponent)), exponent


def bitwise_count(x: Any) -> Operand:
    """The number of 1-bits of integers."""
    return el.bit_count(operand(x))


def _boolean(answer: bool) -> Function:
    def function(x: Any) -> Operand:
        return np.full(shape_of(operand(x)), answer)

    return function


UFUNCS: dict[np.ufunc, Function] = {np.frexp: frexp, np.bitwise_count: bitwise_count}
FUNCTIONS: dict[Function, Function] = {
    np.isclose: isclose,
    np.allclose: allclose,
    np.array_equal: array_equal,
    np.array_equiv: array_equiv,
    np.isin: isin,
    np.digitize: digitize,
    np.bincount: bincount,
    np.nonzero: nonzero,
    np.flatnonzero: flatnonzero,
    np.argwhere: argwhere,
    np.trim_zeros: trim_zeros,
    np.unique: unique,
    np.unique_values: unique,
    np.iscomplex: _boolean(False),
    np.isreal: _boolean(True),
    np.real_if_close: lambda a, tol=100: operand(a),
    np.histogram: _bins("histogram"),
    np.histogram2d: _bins("histogram2d"),
    np.histogramdd: _bins("histogramdd"),
    np.histogram_bin_edges: _bins("histogram_bin_edges"),
    **{
        function: _of_integers(function)
        for function in (
            np.unravel_index,
            np.ravel_multi_index,
            np.packbits,
            np.unpackbits,
            np.unique_all,
            np.unique_counts,
            np.unique_inverse,
            np.union1d,
            np.intersect1d,
            np.setdiff1d,
            np.setxor1d,
        )
    },
}
METHODS: dict[str, Function] = {"nonzero": nonzero}
