"""The short way of a jitted call is taken only where the long way would do the same."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np

import backpass as bp
from backpass import nn, optim

R = np.random.default_rng(0)


def training() -> tuple[Any, Any, Any, tuple[Any, Any]]:
    model = nn.Linear(3, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.5)

    @bp.jit
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(lambda m: np.mean((m(x) - y) ** 2))(model)
        optimizer.step(grads)
        return value

    batch = R.normal(size=(4, 3)).astype(np.float32), R.normal(size=(4, 2)).astype(np.float32)
    for _ in range(3):  # the long way, then the short one
        step(model, optimizer, *batch)
    assert step._ready
    return model, optimizer, step, batch


def changed(model: Any, step: Any, *args: Any) -> list[bool]:
    """Whether a call changes weight and bias."""
    before = [np.array(p) for p in model.parameters()]
    step(model, *args)
    return [not np.array_equal(a, p) for a, p in zip(before, model.parameters(), strict=True)]


def test_a_parameter_that_is_frozen_and_thawed_between_calls() -> None:
    model, optimizer, step, batch = training()
    for _ in range(3):
        model.bias.requires_grad = False
        assert changed(model, step, optimizer, *batch) == [True, False]
        model.bias.requires_grad = True
        assert changed(model, step, optimizer, *batch) == [True, True]


def test_freezing_another_model_does_not_make_calls_long() -> None:
    other = nn.Linear(2, 2)
    model, optimizer, step, batch = training()
    (ready,) = step._ready
    for frozen in (False, True):
        other.requires_grad_(frozen)
        assert changed(model, step, optimizer, *batch) == [True, True]
    assert step._ready == [ready]


def test_a_parameter_of_another_dtype_is_another_array() -> None:
    model = nn.Linear(3, 2)
    apply = bp.jit(lambda model, x: model(x))
    x = R.normal(size=(4, 3))
    for dtype in (np.float32, np.float64, np.float32):
        model.to(dtype)
        for _ in range(3):
            found = apply(model, x.astype(dtype))
            assert found.dtype == dtype
            np.testing.assert_allclose(
                found, x @ np.array(model.weight).T + model.bias, rtol=1e-5, atol=1e-6
            )
        model.weight[0, 0] = 7.0  # in place: the array that is bound
        found = apply(model, x.astype(dtype))
        np.testing.assert_allclose(
            found, x @ np.array(model.weight).T + model.bias, rtol=1e-5, atol=1e-6
        )


def test_arrays_that_a_model_has_no_more_are_not_kept() -> None:
    model = nn.Linear(3, 2)
    apply = bp.jit(lambda model, x: model(x))
    old = weakref.ref(model.weight.array)
    apply(model, np.ones((4, 3), np.float32))
    model.to(np.float64)
    assert old() is not None  # by the call that was kept
    apply(model, np.ones((4, 3)))
    gc.collect()
    assert old() is None


def test_arguments_that_the_program_does_not_need() -> None:
    """Inputs and results are chosen for the native code by their place."""
    f = bp.jit(lambda a, b, c: (c * 2, a))
    g = bp.jit(lambda a, b: np.float64(3.0))
    for k in range(3):
        a, b, c = np.full(2, k + 1.0), np.zeros(9), np.full(3, k - 1.0)
        twice, same = f(a, b, c)
        np.testing.assert_array_equal(twice, 2 * c)
        np.testing.assert_array_equal(same, a)
        assert g(a, b) == 3.0
