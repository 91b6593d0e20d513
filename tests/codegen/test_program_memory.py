"""Memory of programs: long chains, updates in place, and steps that fail and change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.codegen import compile_graph
from backpass.ir import Graph
from backpass.ir.graph import leaf, made, type_of
from backpass.prims import elementwise as el
from backpass.prims import index as ix

A, B, C = np.arange(3.0), np.arange(3.0) + 10, np.arange(3.0) + 20


def updated(outputs: Any, updates: dict[int, int], *arrays: Any) -> list[Any]:
    """What a program returns; the arrays are written in place."""
    inputs = tuple([leaf(type_of(x), frozenset()) for x in arrays])
    found = tuple(outputs(*inputs))
    nodes = sorted({v.node for v in found if v.node is not None}, key=lambda n: n.order)
    return compile_graph(Graph(inputs, tuple(nodes), found), updates)(list(arrays))


@pytest.mark.parametrize("shape", [(), (1000,)])
def test_a_long_chain(shape: tuple[int, ...]) -> None:
    def chain(x: Any) -> Any:
        for _ in range(2500):
            x = (x * 0.9999 + 0.5) * 1.0001 - 0.5
        return x

    x = np.full(shape, 0.3)
    np.testing.assert_allclose(bp.jit(chain)(x), chain(x), rtol=1e-12)


def test_two_arrays_change_places() -> None:
    a, b = A.copy(), B.copy()
    assert updated(lambda x, y: (y, x), {0: 0, 1: 1}, a, b) == []
    assert np.array_equal(a, B)
    assert np.array_equal(b, A)


def test_a_chain_of_updates() -> None:
    a, b, c = A.copy(), B.copy(), C.copy()
    updated(lambda x, y, z: (y, z), {0: 0, 1: 1}, a, b, c)
    assert [a[0], b[0], c[0]] == [10.0, 20.0, 20.0]


def test_the_old_value_is_returned() -> None:
    a = A.copy()
    (old,) = updated(lambda x: (x, made(el.neg, (x,))), {1: 0}, a)
    assert np.array_equal(old, A)
    assert np.array_equal(a, -A)


@pytest.mark.parametrize("wrong", [3, -4])
def test_a_step_that_fails_has_changed_nothing(wrong: int) -> None:
    a, b = A.copy(), B.copy()
    i = np.array([0, wrong, 1])

    def step(x: Any, y: Any, i: Any) -> Any:
        return made(el.neg, (x,)), made(ix.gather, (y, i))

    with pytest.raises(IndexError, match=f"index {wrong} is out of bounds"):
        updated(step, {0: 0, 1: 1}, a, b, i)
    assert np.array_equal(a, A)
    assert np.array_equal(b, B)
