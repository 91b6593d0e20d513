"""bp.numpy's creation functions on traced values: NumPy's shapes and dtypes, and derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backpass as bp

X = np.array([1.5, -2.0, 0.5])
CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "array of numbers": lambda np, x: np.array([[x[0], 1], [2, x[1]]]),
    "array of rows": lambda np, x: np.array([x, [1, 2, 3]]),
    "array dtype": lambda np, x: np.array((x[0], x[1]), np.float32),
    "array ndmin": lambda np, x: np.array(x, ndmin=3),
    "array ndmin of a number": lambda np, x: np.array(x[0], ndmin=1),
    "array copy": lambda np, x: np.array(x, copy=True),
    "asarray": lambda np, x: np.asarray(x, dtype=float),
    "asarray of a list": lambda np, x: np.asarray([x[2], x[0]]),
    "asanyarray": lambda np, x: np.asanyarray(x),
    "ascontiguousarray": lambda np, x: np.ascontiguousarray(x[::-1]),
    "ascontiguousarray of a number": lambda np, x: np.ascontiguousarray(x[1]),
}


@pytest.mark.parametrize("name", CALLS)
def test_traced_values_become_an_array(name: str) -> None:
    call = CALLS[name]
    expected = call(np, X)
    out, pull = bp.vjp(lambda x: call(bp.numpy, x), X)
    assert (out.shape, out.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(out, expected)
    jacobian = np.stack(
        [pull(row.reshape(out.shape))[0] for row in np.eye(out.size, dtype=out.dtype)]
    )
    steps = [np.ravel(call(np, X + e) - call(np, X - e)) / 0.5 for e in np.eye(3) / 4]
    np.testing.assert_array_equal(jacobian, np.stack(steps, axis=1))


def test_a_copy_is_its_own() -> None:
    def write(x: Any) -> Any:
        y = bp.numpy.array(x)
        y[0] = 7.0
        return np.sum(x * y)

    np.testing.assert_array_equal(bp.grad(write)(X), [7.0, 2 * X[1], 2 * X[2]])


@pytest.mark.parametrize("transform", [bp.grad, bp.jit])
def test_what_is_made_of_constants_is_read_and_written_as_in_numpy(transform: Any) -> None:
    """Before anything traced is written into them, they hold constants alone."""

    def run(np: Any, x: Any) -> Any:
        table = np.asarray(X)
        rows = np.zeros((2, 3))
        rows[1][0] = x[1]
        fresh, single = table.copy(), table.astype(float)
        fresh[1:] += x[1:]
        single[0] = x[2]
        return (table[[0, 2]] * table[1] + x[:2]).sum() + (rows[1] + fresh * single).sum()

    expected = run(np, X)
    slopes = [(run(np, X + e) - run(np, X - e)) / 0.5 for e in np.eye(3) / 4]
    found = transform(lambda x: run(bp.numpy, x))(X)
    np.testing.assert_allclose(found, slopes if transform is bp.grad else expected, rtol=1e-12)


def test_without_a_transform_they_are_numpys() -> None:
    assert type(bp.numpy.array([1.0], ndmin=2)) is np.ndarray
    assert bp.numpy.ascontiguousarray(X.reshape(1, 3).T).flags.c_contiguous
    assert bp.numpy.asanyarray(X) is X
