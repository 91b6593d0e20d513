"""Random sequences of NumPy statements, with views and in-place writes, on plain NumPy and traced.

The traced run must give the values and (by central differences of the plain run) the gradient, or
raise one of our errors. A program is a list of small numbers that choose statements, so hypothesis
can shrink it. Jitted programs without in-place code equal eager ones, in both precisions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.prims.sample import differences

import backpass as bp

SHAPE = (3, 4)
START = np.random.default_rng(0).uniform(0.3, 0.9, SHAPE)
Statement = Callable[[list[Any], int, int], Any]


def pick(arrays: list[Any], i: int) -> Any:
    """One of the arrays so far."""
    return arrays[i % len(arrays)]


def like(arrays: list[Any], i: int, shape: tuple[int, ...]) -> Any:
    """An array of this shape: one that has it, else the mean of another."""
    x = pick(arrays, i)
    return x if x.shape == shape else np.mean(x)


def write(target: Any, index: Any, value: Any) -> None:
    """target[index] = value, of whatever shape."""
    target[index] = np.mean(value)


def swap(x: Any) -> None:
    """The first two rows exchanged by an index array."""
    if x.shape[0] > 1:
        x[[0, 1]] = x[[1, 0]]


def in_place_add(x: Any, y: Any) -> None:
    x += y


def in_place_multiply(x: Any, y: Any) -> None:
    x *= y


def out(x: Any) -> None:
    np.multiply(x, x, out=x)


# A statement gets the arrays and two numbers; what it returns joins the arrays.
PURE: list[Statement] = [
    lambda a, i, j: np.sin(pick(a, i)),
    lambda a, i, j: pick(a, i) * like(a, j, pick(a, i).shape),
    lambda a, i, j: pick(a, i) + 0.5 * like(a, j, pick(a, i).shape),
    lambda a, i, j: np.exp(-(pick(a, i) ** 2)),
    lambda a, i, j: pick(a, i) @ pick(a, i).T if pick(a, i).ndim == 2 else pick(a, i) * 2,
    lambda a, i, j: np.cumsum(pick(a, i), axis=0),
    lambda a, i, j: np.where(pick(a, i) > 0.4, pick(a, i), 0.1),
    lambda a, i, j: pick(a, i)[np.array([0, -1, 0])],
    lambda a, i, j: np.concatenate([pick(a, i), pick(a, i)[:1]]),
    lambda a, i, j: np.tanh(pick(a, i)) / (1 + pick(a, i) ** 2),
    lambda a, i, j: pick(a, i) - np.mean(pick(a, i), axis=0),
    lambda a, i, j: pick(a, i).copy(),
]
VIEWS: list[Statement] = [
    lambda a, i, j: pick(a, i)[1:],
    lambda a, i, j: pick(a, i)[::-1],
    lambda a, i, j: pick(a, i).T,
    lambda a, i, j: pick(a, i).reshape(-1),
    lambda a, i, j: pick(a, i)[0],
    lambda a, i, j: pick(a, i)[..., :2],
    lambda a, i, j: pick(a, i)[None],
    lambda a, i, j: np.squeeze(pick(a, i)[:1]),
]
WRITES: list[Statement] = [
    lambda a, i, j: write(pick(a, i), 0, pick(a, j)),
    lambda a, i, j: write(pick(a, i), slice(None, None, 2), pick(a, j)),
    lambda a, i, j: write(pick(a, i), np.array([0, -1]), pick(a, j)),
    lambda a, i, j: write(pick(a, i), Ellipsis, pick(a, j)),
    lambda a, i, j: in_place_add(pick(a, i), like(a, j, pick(a, i).shape)),
    lambda a, i, j: in_place_multiply(pick(a, i), 1.1),
    lambda a, i, j: out(pick(a, i)),
    lambda a, i, j: swap(pick(a, i)),
]
EVERY = [*PURE, *VIEWS, *WRITES]
number = st.integers(0, 7)
PROGRAMS = st.lists(st.tuples(st.integers(0, len(EVERY) - 1), number, number), max_size=9)
PURE_PROGRAMS = st.lists(st.tuples(st.integers(0, len(PURE) - 1), number, number), max_size=9)


def run(program: list[tuple[int, int, int]], x: Any, statements: list[Statement]) -> Any:
    """The sum of all arrays at the end, each weighted differently."""
    arrays = [x * 1.0, np.sin(x)]
    for which, i, j in program:
        made = statements[which](arrays, i, j)
        if made is not None and made.ndim and made.size and made.size < 100:
            arrays.append(made)
    total = 0.0
    for k, a in enumerate(arrays):
        total = total + np.sum(a * np.cos(np.arange(a.size) + k).reshape(a.shape))
    return total


checked = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@checked
@given(PROGRAMS)
def test_a_program_has_its_gradient_or_raises(program: list[tuple[int, int, int]]) -> None:
    with np.errstate(all="ignore"):
        try:
            expected = run(program, START, EVERY)
        except (ValueError, IndexError):  # the program itself is no valid NumPy code
            return
        try:
            value, gradient = bp.value_and_grad(lambda x: run(program, x, EVERY))(START)
        except bp.BackpassError:
            return
        np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-10)
        if not np.isfinite(expected) or abs(expected) > 1e6:
            return
        slopes = differences(lambda x: float(run(program, x, EVERY)), [START], 1e-5)[0]
    scale = max(1.0, float(np.max(np.abs(slopes))))
    if scale < 1e6 and not kinked(program):
        np.testing.assert_allclose(gradient, slopes, rtol=0, atol=2e-5 * scale)


def kinked(program: list[tuple[int, int, int]]) -> bool:
    """Whether a point of the differences may lie on the other side of np.where's bound."""
    moved = [run(program, START + h, EVERY) for h in (-1e-4, 0.0, 1e-4)]
    return abs(moved[0] - 2 * moved[1] + moved[2]) > 1e-3 * max(1.0, abs(moved[1]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@checked
@given(PURE_PROGRAMS)
def test_jit_equals_eager(dtype: Any, program: list[tuple[int, int, int]]) -> None:
    x = START.astype(dtype)
    step = bp.value_and_grad(lambda x: run(program, x, PURE))
    with np.errstate(all="ignore"):
        value, gradient = step(x)
        jitted, jitted_gradient = bp.jit(step)(x)
    assert (jitted.dtype, jitted_gradient.dtype) == (value.dtype, gradient.dtype)
    bound = 1e-12 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(jitted, value, rtol=bound, atol=bound)
    scale = max(1.0, float(np.max(np.abs(gradient))))
    np.testing.assert_allclose(jitted_gradient, gradient, rtol=0, atol=bound * scale)
