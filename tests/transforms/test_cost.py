"""The backward pass costs a multiple of the forward pass, in elements touched, not in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.prims import index, shape


@pytest.mark.parametrize("by_array", [False, True])
def test_reading_rows_in_a_loop_pads_nothing(
    by_array: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """n reads of one array are collected in one buffer; padded to the whole they would cost n^2."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a cotangent was padded to the whole array")

    def total(x: Any) -> Any:
        rows = [x[np.array([i])] if by_array else x[i : i + 1] for i in range(50)]
        return sum([np.sum(row**2) for row in rows])

    monkeypatch.setattr(shape, "pad", refuse)
    monkeypatch.setattr(index, "scatter_add", refuse)
    x = np.arange(100.0).reshape(50, 2)
    np.testing.assert_array_equal(bp.grad(total)(x), 2 * x)


def test_parts_and_wholes_add_up() -> None:
    def mixed(x: Any) -> Any:
        return np.sum(x**2) + np.sum(x[1:3] ** 3) + np.sum(x[np.array([0, 0, 2])]) + x[-1] * x[0]

    bp.check_grads(mixed, (np.array([0.5, -1.0, 2.0, 0.3]),), order=2)
