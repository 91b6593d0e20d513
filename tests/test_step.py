"""The whole training step: model, loss, gradients and optimizer, eagerly and under jit."""

from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass import nn, optim

STEPS = 20
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "AdamW": {"lr": 1e-2},
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "RMSprop": {"lr": 1e-3, "centered": True},
    "Lion": {"lr": 1e-3},
}


def loss(model: Any, x: Any, y: Any) -> Any:
    return nn.functional.cross_entropy(model(x), y)


def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    value, grads = bp.value_and_grad(loss)(model, x, y)
    optimizer.step(grads)
    return value


def clipped_step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    value, grads = bp.value_and_grad(loss)(model, x, y)
    grads, norm = optim.clip_grad_norm(grads, 0.5)
    optimizer.step(grads)
    return value, norm


def network(dtype: Any) -> Any:
    r = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)
    )
    for parameter in model.parameters():
        parameter.data = r.normal(size=parameter.shape) * 0.3
    return model.to(dtype)


def data(dtype: Any) -> list[tuple[Any, Any]]:
    r = np.random.default_rng(1)
    x = r.normal(size=(STEPS, 12, 8))
    y = np.argmax(x @ r.normal(size=(8, 3)), axis=-1)
    return [(x[i].astype(dtype), y[i]) for i in range(STEPS)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("function", [step, clipped_step])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_jitted_step_is_the_eager_one(name: str, function: Any, dtype: Any) -> None:
    models = [network(dtype), network(dtype)]
    optimizers = [getattr(optim, name)(m.parameters(), **OPTIMIZERS[name]) for m in models]
    traced = []

    def counted(*args: Any) -> Any:
        traced.append(1)
        return function(*args)

    fast = bp.jit(counted)
    addresses = [p.read().__array_interface__["data"][0] for p in models[1].parameters()]
    bound = 1e-13 if dtype is np.float64 else 1e-4
    for x, y in data(dtype):
        eager = function(models[0], optimizers[0], x, y)
        np.testing.assert_allclose(fast(models[1], optimizers[1], x, y), eager, rtol=bound)
    assert traced == [1]
    for one, two in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert two.dtype == dtype
        np.testing.assert_allclose(two.read(), one.read(), rtol=bound, atol=bound)
    assert addresses == [p.read().__array_interface__["data"][0] for p in models[1].parameters()]


def test_it_learns() -> None:
    model = network(np.float64)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    fast = bp.jit(step)
    batches = data(np.float64)
    losses = [float(fast(model, optimizer, x, y)) for _ in range(10) for x, y in batches]
    assert np.mean(losses[-STEPS:]) < 0.3 * np.mean(losses[:STEPS])


@pytest.mark.parametrize("jit", [False, True])
def test_frozen_and_tied_parameters(jit: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    model.double()
    kept = {k: np.array(v) for k, v in model.state_dict().items()}
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    x, y = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])
    grads = bp.grad(loss)(model, x, y)
    (bp.jit(step) if jit else step)(model, optimizer, x, y)
    found = model.state_dict()
    assert set(grads) == {"0.weight", "0.bias", "1.bias"}
    for name in ("2.weight", "2.bias"):
        assert np.array_equal(found[name], kept[name])
    for name, g in grads.items():
        np.testing.assert_allclose(found[name], kept[name] - 0.1 * g, rtol=1e-12)
    assert np.array_equal(found["1.weight"], found["0.weight"])


def test_an_optimizer_that_is_no_argument_is_an_error() -> None:
    model = network(np.float64)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x, y = data(np.float64)[0]
    with pytest.raises(TypeError, match="as an argument"):
        bp.jit(lambda model, x, y: step(model, optimizer, x, y))(model, x, y)
