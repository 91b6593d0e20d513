"""Indices by a single truth value: one new axis, of extent 1 where it is true and 0 where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backpass as bp

X = np.random.default_rng(0).normal(size=(3, 4))
ZERO_RANK = np.array(True)
Read = Callable[[Any], Any]
READS: dict[str, Read] = {
    "x[True]": lambda x: x[True],
    "x[False]": lambda x: x[False],
    "x[np.True_]": lambda x: x[np.True_],
    "x[ZERO_RANK]": lambda x: x[ZERO_RANK],
    "x[:, True]": lambda x: x[:, True],
    "x[0, True]": lambda x: x[0, True],
    "x[..., False]": lambda x: x[..., False],
    "x[True, [0, 1]]": lambda x: x[True, [0, 1]],
    "x[[0, 1], :, True]": lambda x: x[[0, 1], :, True],
    "of x itself": lambda x: x[x[0, 0] > -9.0],
    "of x itself, false": lambda x: x[x[0, 0] > 9.0],
}


@pytest.mark.parametrize("name", READS)
def test_a_truth_value_as_an_index(name: str) -> None:
    read = READS[name]
    out, pull = bp.vjp(read, X)
    np.testing.assert_array_equal(out, read(X))
    ct = np.random.default_rng(1).normal(size=out.shape)
    expected = ct.sum(axis=tuple(i for i, n in enumerate(out.shape) if n == 1)) if ct.size else 0.0
    expected_places = read(np.arange(12).reshape(3, 4)).reshape(-1)
    gradient = np.zeros(12)
    gradient[expected_places] = np.reshape(expected, -1) if ct.size else 0.0
    np.testing.assert_array_equal(pull(ct)[0].reshape(-1), gradient)


def test_a_truth_value_as_the_index_of_a_write() -> None:
    def write(x: Any) -> Any:
        y = x * 1.0
        y[True] = x[1]
        y[False] = 7.0
        y[x[0, 0] > -9.0] *= 2.0
        return y

    np.testing.assert_array_equal(bp.vjp(write, X)[0], write(X))
    gradient = bp.grad(lambda x: np.sum(write(x)))(X)
    np.testing.assert_array_equal(gradient, [[0.0] * 4, [6.0] * 4, [0.0] * 4])
