"""jit: signatures, static arguments, containers, what it owns, and equality with eager."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.errors import TracingError

X = np.array([1.0, 2.0, 3.0])


def counted(function: Any) -> tuple[Any, list[int]]:
    """The function, and a list that grows with each run of its Python code."""
    runs: list[int] = []

    def counting(*args: Any, **options: Any) -> Any:
        runs.append(1)
        return function(*args, **options)

    return counting, runs


def test_one_trace_for_each_signature() -> None:
    function, runs = counted(lambda x, s: x * s)
    fast = bp.jit(function)
    for _ in range(3):
        fast(X, 2.0)
    assert len(runs) == 1
    np.testing.assert_array_equal(fast(X + 1, 3.0), (X + 1) * 3)
    assert len(runs) == 1
    fast(X[:2], 2.0)
    fast(X.astype(np.float32), 2.0)
    fast(X, 2)
    fast([X[0], X[1]][0], 2.0)
    assert len(runs) == 5


def test_static_arguments_are_by_value() -> None:
    function, runs = counted(lambda x, n, mode: x**n if mode == "power" else x * n)
    fast = bp.jit(function, static_argnums=1)
    np.testing.assert_array_equal(fast(X, 2, "power"), X**2)
    np.testing.assert_array_equal(fast(X, 3, "power"), X**3)
    np.testing.assert_array_equal(fast(X, 3, "times"), X * 3)
    assert len(runs) == 3
    with pytest.raises(TracingError, match="not hashable"):
        fast(X, [1], "power")


def test_static_arguments_of_other_types_are_other_programs() -> None:
    fast = bp.jit(lambda x, s: x * s[0], static_argnums=1)
    ints = np.arange(3)
    assert fast(ints, (2,)).dtype == np.int64
    assert fast(ints, (2.0,)).dtype == np.float64
    assert fast(ints, (True,)).dtype == np.int64


def test_keywords_containers_and_none() -> None:
    @bp.jit
    def f(tree: Any, *, scale: Any = 1.0, flag: bool = False, note: str = "") -> Any:
        return {"y": tree["x"] * scale, "z": (tree["n"], flag and note)} if flag else tree

    assert f({"x": X, "n": None})["n"] is None
    np.testing.assert_array_equal(f({"x": X, "n": None})["x"], X)


def test_dtypes_are_those_of_eager_code() -> None:
    single, half = X.astype(np.float32), X.astype(np.float16)
    functions = (
        lambda x: x * 2.0,
        lambda x: x + np.float64(1.0),
        lambda x: np.sum(x) / 3,
        lambda x: np.mean(x, axis=0) * np.arange(3),
        lambda x: np.where(x > 1, x, 0),
        lambda x: x**2 + np.pi,
    )
    for x in (X, single, half, np.arange(3)):
        for function in functions:
            got, expected = bp.jit(function)(x), function(x)
            assert got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert bp.jit(lambda x, s: x * s)(single, 2.0).dtype == np.float32


def test_results_are_its_own_and_arguments_are_not_written() -> None:
    c = np.ones(3)
    fast = bp.jit(lambda x: (x, x[::-1], x + c, c))
    x = X.copy()
    first = fast(x)
    for y in first:
        y += 100
    second = fast(x)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(second[2], X + 1)
    np.testing.assert_array_equal(second[3], np.ones(3))
    c += 5
    np.testing.assert_array_equal(fast(x)[2], X + 1)


def test_buffers_reused_while_tracing() -> None:
    def f(x: Any) -> Any:
        c, total = np.zeros(3), 0.0
        for i in range(3):
            c[i] = 1.0
            total = total + np.sum(x * c)
        return total

    assert bp.jit(f)(X) == f(X)
    np.testing.assert_array_equal(bp.vmap(f)(X[None]), [f(X)])


def test_a_jitted_function_that_closes_over_a_traced_value() -> None:
    def outer(a: Any) -> Any:
        inner = bp.jit(lambda x: np.sum(np.sin(x * a)))
        return inner(X) + inner(2 * X)

    expected = np.sum(X * np.cos(2 * X)) + np.sum(2 * X * np.cos(4 * X))
    assert bp.grad(outer)(2.0) == pytest.approx(expected)
    assert bp.jit(bp.grad(outer))(2.0) == pytest.approx(expected)


def test_methods_and_decorators() -> None:
    class Scaled:
        factor = 3.0

        @bp.jit
        def double(self, x: Any) -> Any:
            return 2 * x

    np.testing.assert_array_equal(bp.jit(lambda x: -x)(X), -X)
    fast = bp.jit(static_argnums=(1,))(lambda x, n: x[:n])
    assert fast(X, 2).tolist() == [1.0, 2.0]
    assert Scaled.double.__name__ == "double"


def test_branches_on_shapes_are_fine_and_on_values_are_refused() -> None:
    fast = bp.jit(lambda x: x[0] if x.ndim == 1 and len(x) > 2 else np.sum(x))
    assert fast(X) == 1.0
    assert fast(X[:2]) == 3.0
    for function in (
        lambda x: x if x[0] > 0 else -x,
        lambda x: range(int(x[0])),
        lambda x: float(x[0]),
        lambda x: x[x > 1],
        lambda x: np.nonzero(x),
    ):
        with pytest.raises((TracingError, bp.BackpassError)):
            bp.jit(function)(X)


def test_no_stale_program_after_an_error() -> None:
    fail = [True]

    def f(x: Any) -> Any:
        if fail[0]:
            raise RuntimeError("first time")
        return x + 1

    fast = bp.jit(f)
    with pytest.raises(RuntimeError, match="first time"):
        fast(X)
    fail[0] = False
    np.testing.assert_array_equal(fast(X), X + 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, n: x.reshape(n, -1),
        lambda x, n: np.reshape(x, n),
        lambda x, n: np.broadcast_to(x, (n, 6)),
    ],
)
def test_a_traced_extent_is_refused_with_the_way_out(function: Any) -> None:
    with pytest.raises(TracingError, match=r"jit compiles for fixed shapes.* static_argnums"):
        bp.jit(function)(np.ones(6), 6)
    eager = function(np.ones(6), 6)
    np.testing.assert_array_equal(bp.jit(function, static_argnums=1)(np.ones(6), 6), eager)


def _drawing() -> dict[str, Any]:
    """Functions that draw from a stream, which is named."""
    generator = np.random.default_rng(0)
    return {
        "numpy.random": lambda x: x * np.random.rand(3),
        "random": lambda x: x * random.random(),
        "generator": lambda x: x * generator.normal(size=3),
        "own": lambda x, own=generator: x * own.normal(size=3),
    }


@pytest.mark.parametrize("stream", _drawing())
def test_random_numbers_drawn_in_a_trace_are_said_to_be_constants(stream: str) -> None:
    draws = bp.jit(_drawing()[stream])
    with pytest.warns(UserWarning, match=rf"drew from {stream} while it was traced"):
        first = draws(np.ones(3))
    assert np.array_equal(first, draws(np.ones(3)))


def test_a_function_that_draws_nothing_is_not_warned_of() -> None:
    generator = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bp.jit(lambda x: x * (generator is not None))(np.random.rand(3))
