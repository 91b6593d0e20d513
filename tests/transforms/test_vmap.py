"""vmap in all forms of its axes, against a Python loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.errors import ShapeError, TracingError, TreeError

A = np.random.default_rng(0).uniform(0.5, 1.5, (3, 4, 5))
B = np.random.default_rng(1).uniform(0.5, 1.5, (4, 5))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("out", [0, 1, -1])
def test_axes_of_one_argument(axis: int, out: int) -> None:
    got = bp.vmap(lambda x: np.sin(x) @ np.ones(x.shape[-1]), axis, out)(A)
    loop = [np.sin(x) @ np.ones(x.shape[-1]) for x in np.moveaxis(A, axis, 0)]
    np.testing.assert_allclose(got, np.stack(loop, out), rtol=1e-13)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, 1), (-1, 0)])
def test_axes_of_two_arguments(axes: tuple[Any, ...]) -> None:
    x, y = A[0], A[1]
    if axes == (-1, 0):
        x = x.T
        x = np.moveaxis(x, 0, -1)
        y = y.T
    got = bp.vmap(lambda a, b: np.sum(a * np.mean(b)), axes)(x, y)
    size = next(v.shape[a] for v, a in zip((x, y), axes, strict=True) if a is not None)

    def part(v: Any, a: Any, k: int) -> Any:
        return v if a is None else np.take(v, k, a)

    loop = [np.sum(part(x, axes[0], k) * np.mean(part(y, axes[1], k))) for k in range(size)]
    np.testing.assert_allclose(got, loop, rtol=1e-13)


def test_containers_of_axes() -> None:
    tree = {"w": A, "b": (B, 2.0)}
    axes = ({"w": 1, "b": (0, None)},)
    got = bp.vmap(lambda t: {"y": np.sum(t["w"]) * t["b"][1], "z": t["b"][0]}, axes)(tree)
    np.testing.assert_allclose(got["y"], 2 * A.sum((0, 2)), rtol=1e-13)
    np.testing.assert_array_equal(got["z"], B)
    moved = bp.vmap(lambda x: (x, x * 2), out_axes=(0, 1))(B)
    assert (moved[0].shape, moved[1].shape) == ((4, 5), (5, 4))
    with pytest.raises(TreeError, match="2 entries for 1"):
        bp.vmap(np.sum, (0, 0))(A)
    with pytest.raises(TreeError, match="out_axes"):
        bp.vmap(lambda x: (x, x, x), out_axes=(0, 1))(B)


def test_what_vmap_refuses() -> None:
    with pytest.raises(ShapeError, match=r"different lengths \[3, 4\]"):
        bp.vmap(lambda x, y: x[0, 0] + y[0])(A, B)
    with pytest.raises(ValueError, match="at least one argument"):
        bp.vmap(np.sum, None)(A)
    with pytest.raises(ShapeError, match="axis 3 does not exist"):
        bp.vmap(np.sum, 3)(A)
    with pytest.raises(TracingError, match=r"np\.where"):
        bp.vmap(lambda x: x[x > 1])(B)


FUNCTIONS = {
    "index by traced": (lambda x, i: x[i], (B, np.array([0, 1, 4, -1]))),
    "set by traced": (lambda x, i: _set(x, i), (B, np.array([0, 1, 4, -1]))),
    "matmul": (lambda x, y: x @ y, (A, A.swapaxes(1, 2))),
    "matrix vector": (lambda x, y: x @ y, (A, A[:, 0])),
    "einsum": (lambda x, y: np.einsum("ij,ij->j", x, y), (A, A + 1)),
    "reductions": (lambda x: np.var(x, axis=0) + np.max(x) + np.prod(x, 0), (A,)),
    "concatenate": (lambda x, y: np.concatenate([x, y[None]]), (A, A[:, 0])),
    "cumsum": (lambda x: np.cumsum(x, axis=-1), (A,)),
    "where": (lambda x, y: np.where(x > 1, x, y), (A, A[:, 0])),
    "in place": (lambda x: _halved(x), (A,)),
    "solve": (lambda x: np.linalg.solve(x @ x.T + np.eye(4), x), (A,)),
    "sort": (lambda x: np.sort(x, axis=0), (A,)),
    "cond": (lambda x: bp.cond(x[0] > 1, np.sin, np.cos, x), (B,)),
    "random index": (lambda x, i: np.take(x, i, mode="wrap"), (B, np.array([7, 8, 9, 11]))),
}


def _set(x: Any, i: Any) -> Any:
    y = x * 1.0
    y[i] = 0.0
    return y


def _halved(x: Any) -> Any:
    y = x * 1.0
    y[1:] *= 0.5
    return y


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("jitted", [False, True])
def test_against_a_loop(name: str, jitted: bool) -> None:
    function, args = FUNCTIONS[name]
    mapped = bp.vmap(function)
    got = (bp.jit(mapped) if jitted else mapped)(*args)
    loop = np.stack([function(*[x[k] for x in args]) for k in range(len(args[0]))])
    np.testing.assert_allclose(got, loop, rtol=1e-12)


def test_per_example_gradients() -> None:
    w, x, y = np.ones(5), B, np.arange(4.0)

    def loss(w: Any, x: Any, y: Any) -> Any:
        return (x @ w - y) ** 2

    got = bp.vmap(bp.grad(loss), (None, 0, 0))(w, x, y)
    np.testing.assert_allclose(got, 2 * (x @ w - y)[:, None] * x, rtol=1e-13)


def test_an_empty_batch() -> None:
    assert bp.vmap(np.sin)(np.zeros((0, 3))).shape == (0, 3)
    assert bp.vmap(bp.grad(lambda x: np.sum(x**2)))(np.zeros((0, 3))).shape == (0, 3)
