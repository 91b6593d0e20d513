"""In-place NumPy code under grad: the right gradient, or an error; never a wrong one."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tests.prims.sample import differences
from tests.trace.snippets import OK, REFUSED

import backpass as bp

VECTOR = np.random.default_rng(0).uniform(0.3, 0.9, 6)
MATRIX = np.random.default_rng(1).uniform(0.3, 0.9, (4, 4))


def start(matrix: bool) -> Any:
    """The point at which a snippet is differentiated."""
    return MATRIX if matrix else VECTOR


def plain(function: Any) -> Any:
    """The snippet on plain NumPy as a scalar function, on a copy of its own."""
    return lambda x: float(np.sum(function(x.copy())))


def traced(function: Any) -> Any:
    """The snippet under a transform."""
    return lambda x: np.sum(function(x.copy()))


@pytest.mark.parametrize("name", OK)
def test_gradient_is_that_of_the_plain_code(name: str) -> None:
    function, matrix = OK[name]
    x = start(matrix)
    value, gradient = bp.value_and_grad(traced(function))(x.copy())
    assert value == pytest.approx(plain(function)(x), rel=1e-12)
    expected = differences(plain(function), [x], 1e-4)[0]
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", OK)
def test_the_argument_is_not_written(name: str) -> None:
    function, matrix = OK[name]
    x = start(matrix).copy()
    bp.grad(lambda x: np.sum(function(x)))(x)
    np.testing.assert_array_equal(x, start(matrix))


@pytest.mark.parametrize("name", OK)
def test_forward_and_second_order(name: str) -> None:
    function, matrix = OK[name]
    x = start(matrix)
    t = np.linspace(0.5, 1.5, x.size).reshape(x.shape)
    gradient = bp.grad(traced(function))
    slope = bp.jvp(traced(function), (x,), (t,))[1]
    assert slope == pytest.approx(np.sum(gradient(x) * t), rel=1e-10)
    expected = differences(lambda v: np.sum(gradient(v) * t), [x], 1e-4)[0]
    np.testing.assert_allclose(bp.hvp(traced(function))(x, t), expected, rtol=1e-6, atol=1e-6)


NEEDS_VALUES = {"bubble_sort", "set_by_mask_array", "pivoting"}


@pytest.mark.parametrize("name", sorted(OK.keys() - NEEDS_VALUES))
def test_under_jit(name: str) -> None:
    function, matrix = OK[name]
    x = start(matrix)
    got = bp.jit(bp.grad(traced(function)))(x)
    np.testing.assert_allclose(got, bp.grad(traced(function))(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused(name: str) -> None:
    function, matrix = REFUSED[name]
    with pytest.raises(bp.BackpassError):
        bp.grad(traced(function))(start(matrix))


def test_the_error_names_both_lines() -> None:
    def stale(m: Any) -> Any:
        flat = m[:2]
        m[0, 0] = 5.0
        return np.sum(flat)

    lines = [stale.__code__.co_firstlineno + k for k in (1, 2)]
    with pytest.raises(bp.errors.AliasError) as caught:
        bp.grad(lambda x: stale(x * 1.0))(MATRIX)
    named = [int(n) for n in re.findall(r"test_inplace\.py:(\d+)", str(caught.value))]
    assert named == lines


def test_a_scalar_is_immutable_and_an_array_of_rank_zero_is_not() -> None:
    def f(x: Any) -> Any:
        y = x
        x += 1.0
        return x * y

    assert bp.value_and_grad(f)(2.0) == (6.0, 5.0)
    assert bp.value_and_grad(f)(np.float64(2.0)) == (6.0, 5.0)
    assert bp.value_and_grad(f)(np.array(2.0)) == (9.0, 6.0)
