"""Statements of random programs along axes: reductions, scans, sorts, matmul and einsum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.codegen.graph_statement import (
    Pool,
    Rng,
    Statement,
    far,
    is_float,
    kind,
    pick,
)

import backpass as bp


def _distinct(axis: int | None) -> Callable[[Any], bool]:
    """Whether neighbours in sorted order lie apart, so that no tie decides."""

    def check(a: Any) -> bool:
        if np.size(a) == 0:
            return False
        return far(np.diff(np.sort(a, axis=axis), axis=-1 if axis is None else axis))

    return check


def _spread(axis: Any) -> Callable[[Any], bool]:
    def check(a: Any) -> bool:
        return np.size(a) > 0 and bool(np.all(np.std(a, axis=axis) > 0.1))

    return check


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "var": np.var,
    "std": np.std,
    "argmax": np.argmax,
    "all": np.all,
    "any": np.any,
    "count_nonzero": np.count_nonzero,
    "ptp": np.ptp,
    "logsumexp": lambda a, axis, keepdims: np.logaddexp.reduce(a, axis=axis, keepdims=keepdims),
    "maximum.reduce": np.maximum.reduce,
}
TIES = ("max", "min", "argmax", "ptp", "maximum.reduce")


def reduction(rng: Rng, pool: Pool) -> Statement | None:
    """A reduction over one axis, two or all, with or without keepdims."""
    name = str(rng.choice(list(REDUCTIONS)))
    function = REDUCTIONS[name]
    i = pick(rng, pool, lambda a: np.ndim(a) > 0)
    if i is None:
        return None
    a, keepdims = pool[i], bool(rng.random() < 0.4)
    axis: Any = None if rng.random() < 0.35 else int(rng.integers(-np.ndim(a), np.ndim(a)))
    if axis is not None and np.ndim(a) > 1 and rng.random() < 0.25 and name != "argmax":
        axis = tuple(int(x) for x in sorted(rng.choice(np.ndim(a), 2, replace=False)))
    if name == "logsumexp" and isinstance(axis, tuple | None):
        return None
    if name in TIES and (isinstance(axis, tuple) or not _distinct(axis)(a)):
        return None
    if name in ("std", "var") and not (is_float(a) and _spread(axis)(a)):
        return None
    if name in ("all", "any", "count_nonzero") and is_float(a) and not far(a):
        return None
    text = f"{name}({{}}, axis={axis}, keepdims={keepdims})"
    return Statement(text, (i,), lambda x: function(x, axis=axis, keepdims=keepdims))


SCANS: dict[str, Callable[..., Any]] = {
    "cumsum": np.cumsum,
    "cumprod": np.cumprod,
    "diff": np.diff,
    "sort": np.sort,
    "argsort": np.argsort,
    "flip": np.flip,
    "roll": lambda a, axis: np.roll(a, 2, axis),
    "repeat": lambda a, axis: np.repeat(a, 2, axis),
    "take": lambda a, axis: np.take(a, [0, -1, 0], axis),
    "softmax": lambda a, axis: bp.scipy.special.softmax(a, axis),
    "log_softmax": lambda a, axis: bp.scipy.special.log_softmax(a, axis),
    "center": lambda a, axis: a - np.mean(a, axis, keepdims=True),
}


def scan(rng: Rng, pool: Pool) -> Statement | None:
    """What goes along one axis and keeps the rank."""
    name = str(rng.choice(list(SCANS)))
    function = SCANS[name]
    needs_floats = name in ("softmax", "log_softmax", "center")
    i = pick(rng, pool, lambda a: np.ndim(a) > 0 and (is_float(a) or not needs_floats))
    if i is None:
        return None
    a = pool[i]
    axis = int(rng.integers(-np.ndim(a), np.ndim(a)))
    if name in ("sort", "argsort") and not _distinct(axis)(a):
        return None
    if kind(a) == "b" and name in ("diff", "cumprod", "center"):
        return None
    return Statement(f"{name}({{}}, {axis})", (i,), lambda x: function(x, axis=axis))


EINSUMS = (
    "ij->ji", "ij->i", "ii->i", "ij->", "ijk->kij", "ijk->ik",
    "ij,ij->i", "ij,kj->ik", "ij,ik->jk", "i,j->ij", "ij,j->i", "ijk,kl->ijl", "ijk,ilk->ijl",
)  # fmt: skip


def einsum(rng: Rng, pool: Pool) -> Statement | None:
    """An einsum whose operands are in the pool."""
    pattern = str(rng.choice(EINSUMS))
    terms = pattern.split("->")[0].split(",")
    extents: dict[str, int] = {}
    places: list[int] = []
    for term in terms:

        def fits(a: Any, term: str = term) -> bool:
            if not is_float(a) or np.ndim(a) != len(term):
                return False
            own = dict(extents)
            return all([own.setdefault(x, n) == n for x, n in zip(term, np.shape(a), strict=True)])

        i = pick(rng, pool, fits)
        if i is None:
            return None
        extents.update(zip(term, np.shape(pool[i]), strict=True))
        places.append(i)
    text = f"einsum('{pattern}', {', '.join(['{}'] * len(places))})"
    return Statement(text, tuple(places), lambda *xs: np.einsum(pattern, *xs))


def matmul(rng: Rng, pool: Pool) -> Statement | None:
    """A product with an array of the pool, its transpose, or a constant."""
    i = pick(rng, pool, lambda a: is_float(a) and np.ndim(a) >= 1)
    if i is None:
        return None
    inner = np.shape(pool[i])[-1]
    j = pick(rng, pool, lambda b: is_float(b) and np.ndim(b) in (1, 2) and np.shape(b)[0] == inner)
    k = pick(rng, pool, lambda b: is_float(b) and np.ndim(b) == 2 and np.shape(b)[1] == inner)
    choice = rng.random()
    if j is not None and choice < 0.4:
        return Statement("{} @ {}", (i, j), lambda a, b: a @ b)
    if k is not None and choice < 0.7:
        return Statement("{} @ {}.T", (i, k), lambda a, b: a @ b.T)
    columns = int(rng.choice([1, 2, 5, 17]))
    constant = rng.uniform(-1, 1, (inner, columns)).astype(np.asarray(pool[i]).dtype)
    return Statement(f"{{}} @ C{constant.shape}", (i,), lambda a: a @ constant)
