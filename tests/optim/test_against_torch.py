"""Every optimizer takes the steps that torch's takes, from the same weights."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.conftest import Peer
from tests.optim.problems import OPTIONS, PROBLEMS, train, train_torch

from backpass import optim

STEPS = 50
each_option = pytest.mark.parametrize(("name", "options"), OPTIONS)
each_problem = pytest.mark.parametrize("problem", PROBLEMS)


@pytest.fixture
def torch(peer: Peer) -> Iterator[ModuleType]:
    """torch with float64 as its default, in which it then keeps NAdam's scalar state too."""
    module = peer("torch")
    before = module.get_default_dtype()
    module.set_default_dtype(module.float64)
    yield module
    module.set_default_dtype(before)


def trajectories(
    torch: ModuleType, problem: str, name: str, options: dict[str, Any], dtype: Any
) -> tuple[dict[str, Any], dict[str, Any], list[float], list[float]]:
    """The weights and losses of both sides after the same steps."""
    p = PROBLEMS[problem]
    model, weights = p.model(dtype), p.torch_parameters(torch, dtype)
    own = train(p, model, getattr(optim, name)(model.parameters(), **options), STEPS)
    theirs_optimizer = getattr(torch.optim, name)(weights.values(), **options)
    theirs = train_torch(p, torch, weights, theirs_optimizer, STEPS)
    return model.arrays(), {k: w.detach().numpy() for k, w in weights.items()}, own, theirs


@each_problem
@each_option
def test_float64_steps_are_torchs(
    torch: ModuleType, problem: str, name: str, options: dict[str, Any]
) -> None:
    ours, theirs, losses, expected = trajectories(torch, problem, name, options, np.float64)
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value, rtol=1e-10, atol=1e-12, err_msg=key)


@each_problem
@each_option
def test_float32_steps_are_torchs_within_rounding(
    torch: ModuleType, problem: str, name: str, options: dict[str, Any]
) -> None:
    ours, theirs, _, _ = trajectories(torch, problem, name, options, np.float32)
    for key, value in theirs.items():
        assert ours[key].dtype == np.float32
        scale = max(1.0, float(np.abs(value).max()))
        bound = 64 * np.sqrt(STEPS) * np.finfo(np.float32).eps * scale
        np.testing.assert_allclose(ours[key], value, rtol=0, atol=bound, err_msg=key)


def test_state_and_hyperparameters_load_from_torch(torch: ModuleType) -> None:
    p = PROBLEMS["mlp"]
    model, weights = p.model(), p.torch_parameters(torch)
    theirs = torch.optim.AdamW(weights.values(), lr=0.02, amsgrad=True)
    train_torch(p, torch, weights, theirs, 7)
    for name, cell in model.cells.items():
        cell.write(weights[name].detach().numpy())
    optimizer = optim.AdamW(model.parameters(), lr=0.5)
    optimizer.load_state_dict(theirs.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.02
    train(p, model, optimizer, 5)
    train_torch(p, torch, weights, theirs, 5)
    for name, value in weights.items():
        np.testing.assert_allclose(model.cells[name].read(), value.detach().numpy(), rtol=1e-12)


def test_every_optimizer_of_ours_is_compared() -> None:
    ours = {
        name
        for name in optim.__all__
        if isinstance(cls := getattr(optim, name), type) and issubclass(cls, optim.Optimizer)
    }
    assert ours - {name for name, _ in OPTIONS} == {
        "Optimizer",
        "Lion",  # torch has none
        "LBFGS",  # in test_lbfgs.py
    }
