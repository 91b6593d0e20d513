"""Samples of the primitives that move, reduce, sort, index, multiply and factor arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.prims.sample import Sample, uniform

from backpass.flow.checkpoint import checkpointed
from backpass.flow.custom import BackwardRule, custom
from backpass.ir import Scope, ScopeKind, leaf, type_of
from backpass.prims import determinant, index, linalg, random, reduce, shape, sorting
from backpass.prims import elementwise as el
from backpass.prims.barrier import barrier
from backpass.prims.contract import contract
from backpass.prims.rules import broadcast, reduce_sum
from backpass.trace import capture
from backpass.tree import LEAF

X = uniform((2, 3, 4))
FLAT = uniform((6,), seed=2)


def _movement() -> list[Sample]:
    piece = {"starts": (0, 1, 3), "stops": (2, 3, 4), "steps": (1, 2, 1)}
    none = {"starts": (1, 3), "stops": (1, 3), "steps": (1, 1)}
    wide = {"low": (1, 0), "high": (0, 2), "interior": (1, 0)}
    at = (slice(0, 2), slice(1, 3, 2), slice(3, 4))
    return [
        Sample(broadcast, (FLAT,), {"shape": (2, 6, 3), "axes": (0, 2)},
               peer=lambda np, x: np.broadcast_to(x[:, None], (2, 6, 3))),
        Sample(broadcast, (uniform(()),), {"shape": (2, 0), "axes": (0, 1)}),
        Sample(shape.reshape, (X,), {"shape": (4, 6)}, peer=lambda np, x: x.reshape(4, 6)),
        Sample(shape.reshape, (uniform(()),), {"shape": (1, 1)}),
        Sample(shape.reshape, (uniform((0, 3)),), {"shape": (3, 0)}),
        Sample(shape.transpose, (X,), {"order": (2, 0, 1)},
               peer=lambda np, x: x.transpose(2, 0, 1)),
        Sample(shape.transpose, (uniform(()),), {"order": ()}),
        Sample(shape.flip, (X,), {"axes": (0, 2)}, peer=lambda np, x: np.flip(x, (0, 2))),
        Sample(shape.slice_, (X,), piece, peer=lambda np, x: x[at]),
        Sample(shape.slice_, (uniform((2, 3)),), none, label="empty"),
        Sample(shape.pad, (uniform((2, 3)),), wide,
               peer=lambda np, x: np.zeros((4, 5)).at[1::2, :3].set(x)),
        Sample(shape.pad, (uniform((0, 2)),), wide, label="empty"),
        Sample(shape.concatenate, (X, X[:, :1], X[:, :2] * 2), {"axis": 1},
               peer=lambda np, *xs: np.concatenate(xs, 1)),
        Sample(shape.concatenate, (X, X[:0]), {"axis": 0}, label="empty"),
        Sample(shape.slice_set, (X, uniform((2, 1, 1), seed=3)), piece,
               peer=lambda np, x, u: x.at[at].set(u)),
    ]  # fmt: skip


def _indexing() -> list[Sample]:
    i, j = np.array([[0, 1], [-1, 1]]), np.array([[2, 0], [1, 0]])
    u = uniform((2, 2, 4), seed=4)
    unique = np.array([1, 0])
    return [
        Sample(index.wrap_index, (np.array([0, -1, 3, -4]),), {"extent": 4}),
        Sample(index.wrap_index, (np.array(-2),), {"extent": 3}, label="one"),
        Sample(index.gather, (X, i, j), peer=lambda np, x, i, j: x[i, j]),
        Sample(index.gather, (FLAT, np.array(2)), label="one"),
        Sample(index.gather, (FLAT, np.zeros((0,), int)), label="none"),
        Sample(index.scatter_add, (u, i, j), {"shape": (2, 3, 4)},
               peer=lambda np, u, i, j: np.zeros((2, 3, 4)).at[i, j].add(u)),
        Sample(index.scatter_add, (u[:, 0], np.array([1, 1])), {"shape": (2, 4)}, label="repeats"),
        Sample(index.scatter_set, (X, u[:, 0], unique, unique),
               peer=lambda np, x, u, i, j: x.at[i, j].set(u)),
        Sample(index.scatter_set, (FLAT, u[0, :, 0], np.array([3, 3])), label="repeats"),
    ]  # fmt: skip


def _reductions() -> list[Sample]:
    found = []
    for name, primitive in (("sum", reduce_sum), ("max", reduce.reduce_max),
                            ("min", reduce.reduce_min), ("prod", reduce.prod)):  # fmt: skip
        for axes in ((), (1,), (0, 2), (0, 1, 2)):
            if axes or name == "sum":
                found.append(
                    Sample(
                        primitive,
                        (X,),
                        {"axes": axes},
                        label=f"axes{len(axes)}",
                        peer=lambda np, x, name=name, axes=axes: getattr(np, name)(x, axis=axes),
                    )
                )
    zeros = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    found.append(Sample(reduce.prod, (zeros,), {"axes": (1,)}, label="zeros"))
    found.append(Sample(reduce.prod, (uniform((0, 2)),), {"axes": (0,)}, label="empty"))
    found.append(Sample(reduce_sum, (uniform((0, 2)),), {"axes": (0,)}, label="empty"))
    for name in ("cumsum", "cumprod"):
        for reverse in (False, True):

            def peer(np: Any, x: Any, name: str = name, reverse: bool = reverse) -> Any:
                turned = np.flip(x, 1) if reverse else x
                y = getattr(np, name)(turned, axis=1)
                return np.flip(y, 1) if reverse else y

            params = {"axis": 1, "reverse": reverse}
            label = "reverse" if reverse else "forward"
            found.append(Sample(getattr(reduce, name), (X,), params, peer=peer, label=label))
            empty = uniform((2, 0))
            found.append(Sample(getattr(reduce, name), (empty,), params, label=label + "-empty"))
        found.append(
            Sample(getattr(reduce, name), (zeros,), {"axis": 1, "reverse": False}, label="zeros")
        )
    flags = X > 0
    found += [Sample(p, (flags,), {"axes": (1,)}) for p in (reduce.any_, reduce.all_)]
    found += [Sample(p, (X,), {"axis": 2}) for p in (reduce.argmax, reduce.argmin)]
    return found


def _contractions() -> list[Sample]:
    y = uniform((4, 2, 5), seed=5)
    axes = {"x_batch": (0,), "y_batch": (1,), "x_sum": (2,), "y_sum": (0,)}
    plain: dict[str, tuple[int, ...]] = {k: () for k in axes}
    return [
        Sample(contract, (X, y), axes, peer=lambda np, x, y: np.einsum("bik,kbj->bij", x, y)),
        Sample(contract, (X, uniform((4, 3), seed=6)),
               {**plain, "x_sum": (1, 2), "y_sum": (1, 0)}, label="two-summed",
               peer=lambda np, x, y: np.einsum("bik,ki->b", x, y)),
        Sample(contract, (FLAT, FLAT * 2), {**plain, "x_sum": (0,), "y_sum": (0,)}, label="dot"),
        Sample(contract, (FLAT[:2], FLAT), plain, label="outer"),
        Sample(contract, (uniform((2, 0)), uniform((0, 3))),
               {**plain, "x_sum": (1,), "y_sum": (0,)}, label="empty"),
    ]  # fmt: skip


def symmetric(x: Any) -> tuple[Any]:
    """(x + x^T) / 2."""
    return (linalg.symmetric_part(x),)


def positive(x: Any) -> tuple[Any]:
    """A symmetric positive definite matrix."""
    n = np.broadcast_to(4.0 * np.eye(3), x.shape)
    return (el.add(linalg.symmetric_part(x), n.astype(x.dtype)),)


def _linear_algebra() -> list[Sample]:
    a = uniform((2, 3, 3), seed=7) + 3 * np.eye(3)
    b = uniform((2, 3, 2), seed=8)
    tall, flat = uniform((4, 3), seed=9), uniform((3, 4), seed=10)

    def jax_symmetric(x: Any) -> Any:
        return (x + x.swapaxes(-1, -2)) / 2

    return [
        Sample(linalg.solve, (a, b), peer=lambda np, a, b: np.linalg.solve(a, b)),
        Sample(linalg.inv, (a,), {"strict": True}, peer=lambda np, a: np.linalg.inv(a)),
        Sample(linalg.cholesky, (a,), prepare=positive,
               peer=lambda np, x: np.linalg.cholesky(jax_symmetric(x) + 4 * np.eye(3))),
        Sample(linalg.qr, (tall,), peer=lambda np, a: tuple(np.linalg.qr(a))),
        Sample(linalg.eigh, (a,), {"lower": True}, prepare=symmetric),
        Sample(linalg.svd, (tall,), label="tall"),
        Sample(linalg.svd, (flat,), label="flat"),
        Sample(linalg.pinv, (tall,), {"rcond": None}, peer=lambda np, a: np.linalg.pinv(a)),
        Sample(linalg.matrix_rank, (a,), {"tol": None, "rtol": None}),
        Sample(determinant.det, (a,), peer=lambda np, a: np.linalg.det(a)),
        Sample(determinant.cofactor, (a,)),
        Sample(determinant.cofactor_slope, (a, a[::-1])),
        Sample(determinant.slogdet, (a,), peer=lambda np, a: tuple(np.linalg.slogdet(a))),
    ]  # fmt: skip


def _custom() -> list[Sample]:
    """exp with its own rule, as flow/custom.py builds the node: output, residual, argument."""
    x = uniform((3,), seed=11)
    rule = BackwardRule(lambda y, ct: (y * ct,), "exp", LEAF, LEAF, (LEAF,))

    def prepare(x: Any) -> tuple[Any, Any, Any]:
        y = el.exp(x)
        return y, y, x

    return [Sample(custom, (x,), {"count": 1, "rule": rule}, prepare=prepare, label="exp")]


def _recomputed() -> list[Sample]:
    """What flow/checkpoint.py builds: a barrier, and the node with and without its results."""
    x, y = uniform((2, 3), seed=14), uniform((2, 3), seed=15)
    with Scope(ScopeKind.COMPILE) as scope:
        leaves = [leaf(type_of(x), frozenset((scope,))) for _ in range(2)]
        graph = capture(leaves, [el.mul(*leaves)], scope).graph

    def prepare(x: Any, y: Any) -> tuple[Any, Any, Any]:
        return el.mul(x, y), x, y

    return [
        Sample(barrier, (x, y), peer=lambda np, x, t: x),
        Sample(checkpointed, (x, y), {"count": 0, "graph": graph}, label="again",
               peer=lambda np, x, y: (x * y,)),
        Sample(checkpointed, (x, y), {"count": 1, "graph": graph}, prepare=prepare,
               label="given", peer=lambda np, x, y: (x * y,)),
    ]  # fmt: skip


def _sorting() -> list[Sample]:
    a, v, edges = uniform((2, 6), seed=12), uniform((2, 3), seed=13), np.sort(uniform((2, 5)))
    return [
        Sample(sorting.argsort, (X,), {"axis": 1, "kind": "stable"}),
        Sample(sorting.argpartition, (X,), {"axis": 1, "kth": 1}),
        Sample(sorting.lexsort, (a,)),
        Sample(sorting.search, (edges, v), {"side": "left"}),
        Sample(sorting.correlate, (a, v)),
        Sample(sorting.correlate, (a[0], v[0]), label="vectors",
               peer=lambda np, a, v: np.correlate(a, v, "valid")),
    ]  # fmt: skip


def _random() -> list[Sample]:
    key, counter = np.array([1, 2], np.uint64), np.array([3, 4], np.uint64)
    return [Sample(random.random_bits, (key, counter), {"shape": (3,)})]


SAMPLES = [
    *_movement(),
    *_indexing(),
    *_reductions(),
    *_contractions(),
    *_linear_algebra(),
    *_sorting(),
    *_custom(),
    *_recomputed(),
    *_random(),
]
