"""plan and profile: what they count is what the program has, and looking changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.codegen.training import training_step

import backpass as bp
from backpass import nn, optim

RNG = np.random.default_rng(5)
X = RNG.normal(size=(32, 16)).astype(np.float32)
Y = RNG.integers(0, 3, 32)


def made() -> tuple[Any, Any, Any]:
    """A jitted step, its model and its optimizer."""
    bp.manual_seed(1)
    model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    return training_step(), model, optimizer


def test_the_products_of_a_step_are_counted() -> None:
    step, model, optimizer = made()
    plan = step.plan(model, optimizer, X, Y)
    products = sum(2 * np.prod(k.shape) for k in plan.kernels if k.kind == "product")
    # forward, weights' gradients, and the gradient in the hidden layer
    assert products == 2 * 32 * (2 * 16 * 24 + 3 * 24 * 3)
    assert products < plan.flops < 2 * products
    assert not any(k.kind == "reference" for k in plan.kernels)


def test_memory_is_arena_results_and_constants() -> None:
    step, model, optimizer = made()
    plan = step.plan(model, optimizer, X, Y)
    assert plan.peak_bytes == plan.arena_bytes + plan.result_bytes + plan.constant_bytes
    assert plan.result_bytes == 4  # the loss; parameters are updated in place
    hidden = 32 * 24 * 4
    assert 2 * hidden <= plan.arena_bytes <= 8 * hidden


def test_both_graphs_and_every_kernel_are_text() -> None:
    step, model, optimizer = made()
    plan = step.plan(model, optimizer, X, Y)
    assert "gather" in plan.before and "gather" not in plan.after
    assert all(k.text for k in plan.kernels)
    printed = str(plan)
    assert all(k.name in printed for k in plan.kernels) and "arena" in printed


def test_a_reference_call_is_named() -> None:
    plan = bp.jit(np.linalg.inv).plan(np.eye(3))
    assert [(k.name, k.kind) for k in plan.kernels] == [("inv", "reference")]


@pytest.mark.parametrize("flat", [True, False])
def test_profile_times_every_kernel_and_changes_nothing(flat: bool) -> None:
    step, model, optimizer = made()
    before = {name: np.array(p.data) for name, p in model.named_parameters()}
    profile = step.profile(model, optimizer, X if flat else np.asfortranarray(X), Y, repeats=3)
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.data, before[name])
    plan = step.plan(model, optimizer, X, Y)
    assert [k.plan.shape for k in profile.kernels] == [k.shape for k in plan.kernels]
    assert all(k.seconds > 0 and k.percent >= 0 for k in profile.kernels)
    assert profile.seconds == pytest.approx(sum(k.seconds for k in profile.kernels))
    assert "GFLOP/s" in str(profile)
