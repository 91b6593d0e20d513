"""Sums over rows in two halves equal the whole, by the interpreter; and when there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.codegen.lower.lowering import REFERENCES

import backpass as bp
from backpass.codegen.bands import Rows, band_rows
from backpass.codegen.halves import in_halves
from backpass.codegen.lower.lower import lower
from backpass.codegen.lower.schedule import Bound
from backpass.loops import Space, interpret, verify

R = np.random.default_rng(0)
Array = np.ndarray[Any, Any]


def bias(x: Array, d: Array, b: Array) -> Array:
    """A column sum, and a bias that it changes."""
    return b - 0.5 * np.sum(x * d, 0)


def two(x: Array, d: Array, b: Array) -> Array:
    """Two folds of the same rows, joined afterwards."""
    y = x * d
    return np.sum(y, 0) * b + np.max(y, axis=0)


def single(function: Callable[..., Any], *arrays: Array) -> Bound:
    steps = lower(bp.jit(function).graph(*arrays)).steps
    assert len(steps) == 1 and isinstance(steps[0], Bound)
    return steps[0]


def memories(step: Bound) -> list[int]:
    return [i for i, b in enumerate(step.kernel.buffers) if b.space is Space.MEMORY]


def run(step: Bound, memory: dict[Any, Array]) -> None:
    arrays: list[Array] = []
    for place, key in zip(memories(step), step.keys, strict=True):
        buffer = step.kernel.buffers[place]
        arrays.append(memory.setdefault(key, np.full(buffer.size, 77, buffer.dtype)))
    assert interpret(verify(step.kernel), arrays, REFERENCES) == 0


@pytest.mark.parametrize("function", [bias, two])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "columns"), [(32, 64), (48, 5), (64, 17), (2048, 3)])
def test_two_halves_are_the_whole(function: Any, dtype: Any, rows: int, columns: int) -> None:
    x, d = R.normal(size=(rows, columns)).astype(dtype), R.normal(size=(rows, 1)).astype(dtype)
    b = R.normal(size=columns).astype(dtype)
    whole = single(function, x, d, b)
    given: dict[Any, Array] = {}
    for place, key in zip(memories(whole), whole.keys, strict=True):
        if not whole.kernel.buffers[place].written:
            given[key] = next(
                a for a in (x, d, b) if a.shape == getattr(key, "shape", None)
            ).ravel()
    bands = rows // band_rows(rows)
    made = {key: Rows(bands, a.size // bands) for key, a in given.items() if a.size == x.size}
    halves = in_halves(whole, made)
    assert halves is not None
    first, second = halves
    assert first.bands == bands and not any([k in whole.keys for k in second.keys if k in made])
    expected, found = dict(given), dict(given)
    run(whole, expected)
    for half in halves:
        run(half, found)
    (result,) = set(whole.keys) - set(given)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found[result], expected[result], rtol=rows * eps, atol=rows * eps)


def test_what_bands_did_not_make_is_summed_as_a_whole() -> None:
    x, d, b = R.normal(size=(64, 8)), R.normal(size=(64, 1)), R.normal(size=8)
    whole = single(bias, x, d, b)
    (key,) = [k for k in whole.keys if getattr(k, "shape", None) == x.shape]
    assert in_halves(whole, {}) is None
    assert in_halves(whole, {key: Rows(2, 256)}) is None  # other bands
    assert in_halves(whole, {key: Rows(4, 128)}) is not None


def test_rows_that_are_no_bands_are_summed_as_a_whole() -> None:
    x, d, b = R.normal(size=(40, 8)), R.normal(size=(40, 1)), R.normal(size=8)
    whole = single(bias, x, d, b)
    made = {k: Rows(2, 160) for k in whole.keys}
    assert in_halves(whole, made) is None


def test_a_sum_along_a_row_is_no_sum_of_rows() -> None:
    x = R.normal(size=(64, 32))
    whole = single(lambda x: np.sum(x, 1), x)
    assert in_halves(whole, {k: Rows(4, 512) for k in whole.keys}) is None
