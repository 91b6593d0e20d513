"""Compiled random bits are the reference's, whatever their number; no step leaves native code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled

import backpass as bp
from backpass import nn, optim
from backpass.codegen import Program, compile_graph
from backpass.codegen.lower import lower
from backpass.codegen.lower.schedule import Bound
from backpass.ir import Graph, Scope, ScopeKind, TensorType, leaf
from backpass.ops.operand import operand
from backpass.prims.random import random_bits
from backpass.trace import unwrap, wrap

UINT64 = np.dtype(np.uint64)
REFERENCE: Any = random_bits.reference
BITS = np.random.default_rng(0)


def program_of(keys: tuple[int, ...], shape: tuple[int, ...]) -> Program:
    """random_bits(key, counter, shape) alone."""
    with Scope(ScopeKind.COMPILE) as scope:
        inputs = [leaf(TensorType(keys, UINT64), frozenset((scope,))) for _ in range(2)]
        out: Any = random_bits(*inputs, shape=shape)
    return compile_graph(Graph(tuple(inputs), (out.node,), (out,)))


def check(keys: tuple[int, ...], shape: tuple[int, ...]) -> None:
    program = program_of(keys, shape)
    assert all([isinstance(step, Bound) for step in program.lowered.steps])
    for _ in range(2):
        key, counter = (np.asarray(BITS.integers(0, 2**64, keys, np.uint64)) for _ in range(2))
        (found,) = program([key, counter])
        expected = REFERENCE(key, counter, shape=shape)
        assert found.dtype == np.uint32
        np.testing.assert_array_equal(found, expected, err_msg=f"{keys} {shape}")


@pytest.mark.parametrize("size", [*range(1, 71), 10_000, 70_001])
def test_bits_of_one_key_are_the_references(size: int) -> None:
    check((), (size,))


@pytest.mark.parametrize(
    ("keys", "shape"),
    [((), ()), ((), (3, 5, 7)), ((3,), (21,)), ((2, 3), (5, 8)), ((1, 4), ()), ((0,), (3,))],
)
def test_bits_of_several_keys_and_axes_are_the_references(
    keys: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    check(keys, shape)


def test_keys_may_be_views() -> None:
    def draw(keys: Any, counters: Any) -> Any:
        return wrap(
            random_bits(*[operand(unwrap(x)) for x in (keys[::-2], counters[1])], shape=(13,))
        )

    keys = BITS.integers(0, 2**64, 6, np.uint64)
    counters = BITS.integers(0, 2**64, (2, 3), np.uint64)
    found = bp.jit(draw)(keys, counters)
    expected = REFERENCE(keys[::-2], counters[1], shape=(13,))
    np.testing.assert_array_equal(found, expected)


def test_a_step_with_dropout_is_native_and_the_eager_one() -> None:
    def loss(model: Any, x: Any, y: Any) -> Any:
        return nn.functional.cross_entropy(model(x), y)

    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(loss)(model, x, y)
        optimizer.step(grads)
        return value

    def network() -> tuple[Any, Any]:
        nn.manual_seed(3)
        layers = nn.Linear(20, 33), nn.ReLU(), nn.Dropout(0.4), nn.Linear(33, 3)
        model = nn.Sequential(*layers)
        return model, optim.SGD(model.parameters(), lr=0.1)

    x, y = BITS.normal(size=(7, 20)).astype(np.float32), np.arange(7) % 3
    eager, compiled, fast = network(), network(), bp.jit(step)
    for _ in range(3):
        assert_compiled(fast(*compiled, x, y), step(*eager, x, y))
    for a, b in zip(eager[0].parameters(), compiled[0].parameters(), strict=True):
        assert_compiled(b.data, a.data)
    lowered = lower(fast.graph(*compiled, x, y))
    assert all([isinstance(s, Bound) for s in lowered.steps])
    assert any([node.primitive is random_bits for node in lowered.graph.nodes])
