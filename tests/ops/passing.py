"""One call for every function and ufunc that docs/coverage.md says passes through.

A call takes one array x of floats, traced or not. What it gives must be what NumPy gives, and a
derivative through it must be zero.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy

np: Any = numpy
X = numpy.array([[0.5, -1.5, 2.25], [0.5, 3.0, -0.75]])
Call = Callable[[Any], Any]


def integers(x: Any) -> Any:
    """Integers of the same values, cut."""
    return x.astype(np.int64)


def plain(name: str, *more: Any) -> Call:
    """The function of x."""
    return lambda x: getattr(np, name)(x, *more)


def of_integers(name: str) -> Call:
    """The function of integers and 3."""
    return lambda x: getattr(np, name)(integers(x), 3)


def like(name: str) -> Call:
    """An array from numbers, of x's kind."""
    return lambda x: getattr(np, name)([1.0, 2.0], like=x)


UFUNCS: dict[str, Call] = {
    **{
        name: plain(name)
        for name in ("ceil", "floor", "rint", "trunc", "sign", "signbit", "spacing")
    },
    **{name: plain(name) for name in ("isfinite", "isinf", "isnan", "logical_not")},
    **{
        name: plain(name, 0.5)
        for name in (
            *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
            *("floor_divide", "logical_and", "logical_or", "logical_xor"),
        )
    },
    **{
        name: of_integers(name)
        for name in (
            *("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"),
            *("gcd", "lcm"),
        )
    },
    "bitwise_count": lambda x: np.bitwise_count(integers(x)),
    "invert": lambda x: np.invert(integers(x)),
}
FUNCTIONS: dict[str, Call] = {
    **{
        name: plain(name)
        for name in (
            *("all", "angle", "any", "argmax", "argmin", "argsort", "argwhere", "around"),
            *("common_type", "count_nonzero", "fix", "flatnonzero", "imag", "iscomplex"),
            *("iscomplexobj", "isneginf", "isposinf", "isreal", "isrealobj", "lexsort"),
            *("min_scalar_type", "nanargmax", "nanargmin", "ndim", "nonzero", "ones_like"),
            *("result_type", "round", "shape", "size", "zeros_like"),
        )
    },
    **{name: plain(name) for name in ("tril_indices_from", "triu_indices_from")},
    "diag_indices_from": lambda x: np.diag_indices_from(x[:, :2]),
    "allclose": lambda x: np.allclose(x, x + 1e-12),
    "isclose": lambda x: np.isclose(x, [0.5, 1.0, np.inf]),
    "array_equal": lambda x: np.array_equal(x, X),
    "array_equiv": lambda x: np.array_equiv(x, X[0]),
    "argpartition": lambda x: np.argpartition(x, 1, axis=1),
    "can_cast": lambda x: np.can_cast(x.dtype, np.float32),
    "digitize": lambda x: np.digitize(x, [3.0, 1.0, -1.0]),
    "searchsorted": lambda x: np.searchsorted([-1.0, 0.5, 1.0], x, side="right"),
    "isin": lambda x: np.isin(x, [0.5, 3.0], invert=True),
    "einsum_path": lambda x: np.einsum_path("ij,kj,kl", x, x, x)[0],
    "empty_like": lambda x: np.empty_like(x).shape,
    "full_like": lambda x: np.full_like(x, 3.0),
    "linalg.matrix_rank": lambda x: np.linalg.matrix_rank(x),
    "may_share_memory": lambda x: np.may_share_memory(x, X + 1),
    "shares_memory": lambda x: np.shares_memory(x, X + 1),
    "array_repr": lambda x: len(np.array_repr(x)) > 0,
    "array_str": lambda x: len(np.array_str(x)) > 0,
    "array2string": lambda x: len(np.array2string(x)) > 0,
    # of integers with known values
    "packbits": lambda x: np.packbits(x > 0),
    "unpackbits": lambda x: np.unpackbits(np.abs(integers(x)).astype(np.uint8)),
    "ravel_multi_index": lambda x: np.ravel_multi_index((abs(integers(x)), 0), (4, 2)),
    "unravel_index": lambda x: np.unravel_index(abs(integers(x)), (2, 2)),
    "intersect1d": lambda x: np.intersect1d(integers(x), [0, 3]),
    "setdiff1d": lambda x: np.setdiff1d(integers(x), [0, 3]),
    "setxor1d": lambda x: np.setxor1d(integers(x), [0, 9]),
    "union1d": lambda x: np.union1d(integers(x), [0, 9]),
    "unique_all": lambda x: list(np.unique_all(integers(x))),
    "unique_counts": lambda x: list(np.unique_counts(integers(x))),
    "unique_inverse": lambda x: list(np.unique_inverse(integers(x))),
    # made from no values: like=x says what kind of array to make
    **{
        name: like(name)
        for name in (
            *("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"),
            *("require",),
        )
    },
    "arange": lambda x: np.arange(3.0, like=x),
    "empty": lambda x: np.empty(3, like=x).shape,
    "eye": lambda x: np.eye(2, like=x),
    "identity": lambda x: np.identity(2, like=x),
    "full": lambda x: np.full(2, 7.0, like=x),
    "ones": lambda x: np.ones(2, like=x),
    "zeros": lambda x: np.zeros(2, like=x),
    "tri": lambda x: np.tri(2, like=x),
    "frombuffer": lambda x: np.frombuffer(b"\1\2", np.uint8, like=x),
    "fromfunction": lambda x: np.fromfunction(lambda i: i + 1, (3,), like=x),
    "fromiter": lambda x: np.fromiter([1.0, 2.0], float, like=x),
    "fromstring": lambda x: np.fromstring("1 2", sep=" ", like=x),
    "genfromtxt": lambda x: np.genfromtxt(io.StringIO("1 2"), like=x),
    "loadtxt": lambda x: np.loadtxt(io.StringIO("1 2"), like=x),
}
