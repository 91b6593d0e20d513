"""Reductions and scans with axis, keepdims, ddof and where."""

from __future__ import annotations

import numpy
from tests.peers.case import JAX, A, B, Case, P, T, V

MASK = numpy.array(
    [[True, False, True, True], [False, True, True, False], [True, True, True, True]]
)
REDUCTIONS = {"sum": T, "mean": T, "var": T, "std": T, "prod": T, "max": T, "min": T}
AXES = {"none": None, "0": 0, "last": -1, "two": (0, 2)}

CASES = [
    *[
        Case(f"{name} axis {label}",
             lambda np, x, name=name, axis=axis: getattr(np, name)(x, axis=axis), (x,),
             JAX if name == "prod" and label == "two" else ("jax", "autograd"))
        for name, x in REDUCTIONS.items()
        for label, axis in AXES.items()
    ],
    *[
        Case(f"{name} keepdims",
             lambda np, x, name=name: x * getattr(np, name)(x, axis=1, keepdims=True), (T,))
        for name in REDUCTIONS
    ],
    Case("var ddof", lambda np, x: np.var(x, axis=0, ddof=1), (A,)),
    Case("std ddof keepdims", lambda np, x: x / np.std(x, axis=1, ddof=1, keepdims=True), (A,)),
    Case("sum where", lambda np, x: np.sum(x**2, axis=1, where=MASK), (A,), JAX),
    Case("mean where", lambda np, x: np.mean(x**2, axis=1, where=MASK), (A,), JAX),
    Case("var where", lambda np, x: np.var(x, axis=1, where=MASK), (A,), JAX),
    Case("std where", lambda np, x: np.std(x, axis=1, where=MASK), (A,), JAX),
    Case("prod where", lambda np, x: np.prod(x, axis=1, where=MASK), (A,), JAX),
    Case("max where", lambda np, x: np.max(x, axis=1, where=MASK, initial=-9.0), (A,), JAX),
    Case("min where", lambda np, x: np.min(x, axis=1, where=MASK, initial=9.0), (A,), JAX),
    Case("sum initial", lambda np, x: np.sum(x, axis=0, initial=2.0) ** 2, (A,), JAX),
    Case("max of a scalar", lambda np, x: np.max(x[0]) * x[1], (V,)),
    Case("max with ties", lambda np, x: np.max(np.floor(x * 2) + 0 * x) * x, (A,)),
    Case("amax", lambda np, x: np.amax(x, 1), (A,)),
    Case("amin", lambda np, x: np.amin(x, 1), (A,)),
    Case("ptp", lambda np, x: np.ptp(x, axis=1), (A,), JAX),
    Case("average", lambda np, x: np.average(x, axis=1), (A,), JAX),
    Case("average weighted", lambda np, x, w: np.average(x, axis=1, weights=w), (A, P), JAX),
    Case("average by a vector", lambda np, x, w: np.average(x, 0, w[:3, 0]), (A, P), JAX),
    Case("cumsum", lambda np, x: np.cumsum(x) ** 2, (A,)),
    Case("cumsum axis", lambda np, x: np.cumsum(x, axis=1) ** 2, (A,)),
    Case("cumprod", lambda np, x: np.cumprod(x, axis=0), (A,), JAX),
    Case("cumprod flat", lambda np, x: np.cumprod(x), (A,), JAX),
    Case("nansum", lambda np, x: np.nansum(np.where(MASK, x, np.nan), 1), (A,), JAX),
    Case("nanprod", lambda np, x: np.nanprod(np.where(MASK, x, np.nan), 1), (A,), JAX),
    Case("nanmean", lambda np, x: np.nanmean(np.where(MASK, x, np.nan) ** 2, 0), (A,), JAX),
    Case("nanvar", lambda np, x: np.nanvar(np.where(MASK, x, np.nan), 1), (A,), JAX),
    Case("nanstd", lambda np, x: np.nanstd(np.where(MASK, x, np.nan), 1), (A,), JAX),
    Case("nanmax", lambda np, x: np.nanmax(np.where(MASK, x, np.nan), 1), (A,), JAX),
    Case("nanmin", lambda np, x: np.nanmin(np.where(MASK, x, np.nan), 1), (A,), JAX),
    Case("sum method", lambda np, x: x.sum(axis=0, keepdims=True) * x, (A,)),
    Case("mean method", lambda np, x: x.mean() * x, (A,)),
    Case("std method", lambda np, x: x.std(0) * x, (A,)),
    Case("prod method", lambda np, x: x.prod(1), (A,)),
    Case("max method", lambda np, x: x.max(1) * x.min(1), (A,)),
    Case("argmax picks", lambda np, x: x[np.argmax(x[:, 0])] ** 2, (A,)),
    Case("covariance by hand", lambda np, x: (x - x.mean(1, keepdims=True)) @ x.T, (A,)),
    Case("norm by hand", lambda np, x: np.sqrt(np.sum(x * x, axis=1)), (A,)),
    Case("sum of two", lambda np, x, y: np.sum(x * y, axis=(0, 1)) * x, (A, B)),
]  # fmt: skip
