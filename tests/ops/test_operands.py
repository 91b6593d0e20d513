"""What a caller passes beside traced arrays: lists that hold traced numbers, and Python integers
that the array's dtype cannot hold. Both mean what they mean in NumPy.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backpass as bp

Function = Callable[..., Any]
X = np.array([0.5, -1.5, 2.0, 0.25])


def _written(x: Any, index: Any, value: Any) -> Any:
    y = x + 0.0
    y[index] = value
    return y


LISTS: dict[str, Function] = {
    "operator": lambda x: x[:2] - [x[0], 1.0],
    "reflected": lambda x: [2.0, x[1]] * x[:2],
    "maximum": lambda x: np.maximum(x[:2], (x[3], 0.3)),
    "write": lambda x: _written(x, slice(0, 2), [x[1] * x[1], 3.0]),
    "write a matrix": lambda x: _written(
        np.zeros_like(x, shape=(2, 2)), ..., [[x[0], 1.0], [x[1], 2.0]]
    ),
    "append": lambda x: np.append(x, [x[0], 1.0]),
    "concatenate": lambda x: np.concatenate([x, [x[0]], (1.0, x[1])]),
    "dot": lambda x: np.dot([x[0], x[1]], x[:2]),
    "select": lambda x: np.select([x > 0, x <= 0], [x, [x[1]] * 4]),
    "where": lambda x: np.where(x > 0, [x[0], x[1], x[2], x[3]], 0.0),
    "einsum": lambda x: np.einsum("i,i", [x[0], x[1]], x[:2]),
    "convolve": lambda x: np.convolve(x, [x[0], 1.0]),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_traced_numbers_is_an_array(name: str) -> None:
    function = LISTS[name]
    np.testing.assert_allclose(bp.jit(function)(X), function(X), rtol=1e-14)
    bp.check_grads(function, (X,), order=2)


def test_a_list_has_the_dtype_that_numpy_gives_it() -> None:
    x = X.astype(np.float32)
    for function in (lambda x: x[:2] - [x[0], x[1]], lambda x: np.add(x[:2], [x[0], 1.0])):
        assert bp.jit(function)(x).dtype == function(x).dtype


def test_a_ragged_list_is_refused() -> None:
    with pytest.raises(ValueError, match="arrays of one shape"):
        bp.grad(lambda x: np.sum(np.concatenate([x, [x[0], x[:2]]])))(X)


ASKED = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)
NUMBERS = (-(2**63), -100, -1, 0, 200, 255, 256, 2**40, 2**63 - 1)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
@pytest.mark.parametrize("ask", ASKED)
def test_integers_out_of_range_are_compared_by_their_value(dtype: Any, ask: Function) -> None:
    x = np.array([0, 1, 100], dtype)
    for number in NUMBERS:
        for function in (lambda x, n=number: ask(x, n), lambda x, n=number: ask(n, x)):
            assert np.array_equal(bp.jit(function)(x), function(x)), number


@pytest.mark.parametrize("ask", ASKED)
def test_an_integer_argument_is_compared_by_its_value(ask: Function) -> None:
    x, asked = np.array([0, 100, 200], np.uint8), bp.jit(ask)
    for number in (-100, -1, 100, 256, 300):
        assert np.array_equal(asked(x, number), ask(x, number)), number


def test_a_logical_function_asks_only_whether_a_number_is_zero() -> None:
    x = np.array([0, 1], np.uint8)
    assert bp.jit(lambda x: np.logical_and(x, 256))(x).tolist() == [False, True]


def _with_128(x: Any) -> Any:
    y = np.zeros_like(x)
    y[0] = 128
    return y


@pytest.mark.parametrize("function", [lambda x: x + 1000, lambda x: -200 * x, _with_128])
def test_an_integer_that_does_not_fit_does_not_wrap(function: Function) -> None:
    x = np.array([1, 2], np.int8)
    for run in (function, bp.jit(function)):
        with pytest.raises(OverflowError, match="out of bounds for int8"):
            run(x)
