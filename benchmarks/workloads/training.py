"""A training step in four libraries from one recipe: weights by torch's keys, loss, optimizer.

Each library gets its data in its own arrays before the clock starts, and its fastest idiom:
torch.compile takes gradient and update as one graph through torch.func (a third of the time of
compiled forward, backward() and optimizer.step()); JAX donates parameters and optimizer state.
Adam's rule is written out for both, since neither library has one that fits inside its compiled
step. (Kingma and Ba 2015)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.workloads.definition import Builder, Built, flat

ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
JaxForward = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Training:
    """What the four implementations of one training step share.

    Args:
        arrays: gives (weights by torch's keys, x, y), the same at each call.
        backpass_model, torch_model: make the Module; the weights are then loaded.
        jax_forward: (parameters, buffers, random key, x) to (outputs, buffers).
        loss: cross_entropy, or bce for binary cross entropy with logits.
        optimizer: sgd or adam.
        lr: the learning rate.
        buffers: the keys of `weights` that are state and not trained.
    """

    arrays: Callable[[], tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]
    backpass_model: Callable[[], Any]
    torch_model: Callable[[], Any]
    jax_forward: JaxForward
    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    lr: float = 0.05
    buffers: tuple[str, ...] = ()

    def _parts(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, np.ndarray]:
        weights, x, y = self.arrays()
        trained = {k: v for k, v in weights.items() if k not in self.buffers}
        return trained, {k: weights[k] for k in self.buffers}, x, y


def builders(recipe: Callable[[bool], Training]) -> Mapping[str, Builder]:
    """The builders of a workload from its recipe, which gets `exact`."""
    return {
        "backpass": lambda exact: build_backpass(recipe(exact)),
        "torch": lambda exact: build_torch(recipe(exact)),
        "torch.compile": lambda exact: build_torch_compile(recipe(exact)),
        "jax": lambda exact: build_jax(recipe(exact)),
    }


def uniform_linear(
    rng: np.random.Generator, name: str, inputs: int, outputs: int
) -> dict[str, np.ndarray]:
    """Weight and bias of a linear layer, uniform in +-1/sqrt(inputs), by torch's keys."""
    bound = 1.0 / np.sqrt(inputs)
    return {
        f"{name}.weight": rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32),
        f"{name}.bias": rng.uniform(-bound, bound, outputs).astype(np.float32),
    }


def build_backpass(recipe: Training) -> Built:
    """bp.jit of value_and_grad and optimizer.step, as the documentation writes it."""
    import backpass as bp
    from backpass import nn, optim

    weights, x, y = recipe.arrays()
    model = recipe.backpass_model()
    model.load_state_dict(weights)
    rule = {"sgd": optim.SGD, "adam": optim.Adam}[recipe.optimizer]
    optimizer = rule(model.parameters(), lr=recipe.lr)
    functional = {
        "cross_entropy": nn.functional.cross_entropy,
        "bce": nn.functional.binary_cross_entropy_with_logits,
    }[recipe.loss]

    def loss(model: Any, x: Any, y: Any) -> Any:
        return functional(model(x), y)

    @bp.jit
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(loss)(model, x, y)
        optimizer.step(grads)
        return value

    arguments = (model, optimizer, x, y)
    return Built(lambda: step(model, optimizer, x, y), flat, (step, arguments))


def torch_loss(name: str) -> Callable[[Any, Any], Any]:
    """PyTorch's loss of that name."""
    from torch.nn import functional as F

    return {"cross_entropy": F.cross_entropy, "bce": F.binary_cross_entropy_with_logits}[name]


def build_torch(recipe: Training) -> Built:
    """Eager PyTorch: zero_grad, backward, optimizer.step."""
    import torch

    weights, x, y = recipe.arrays()
    model = recipe.torch_model()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    rule = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[recipe.optimizer]
    optimizer = rule(model.parameters(), lr=recipe.lr)
    loss, inputs, targets = torch_loss(recipe.loss), torch.from_numpy(x), torch.from_numpy(y)

    def step() -> Any:
        optimizer.zero_grad()
        value = loss(model(inputs), targets)
        value.backward()
        optimizer.step()
        return value

    return Built(step, flat)


def build_torch_compile(recipe: Training) -> Built:
    """One compiled graph of forward, gradient and in-place update."""
    import torch

    trained, buffers, x, y = recipe._parts()
    model = recipe.torch_model()
    parameters = {k: torch.from_numpy(v.copy()) for k, v in trained.items()}
    state = {k: torch.from_numpy(v.copy()) for k, v in buffers.items()}
    loss, inputs, targets = torch_loss(recipe.loss), torch.from_numpy(x), torch.from_numpy(y)
    update = {"sgd": _torch_sgd, "adam": _torch_adam}[recipe.optimizer]
    moments = {k: (torch.zeros_like(v), torch.zeros_like(v)) for k, v in parameters.items()}
    count = torch.zeros(())

    def objective(parameters: Any, state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        fresh = {k: v.clone() for k, v in state.items()}
        outputs = torch.func.functional_call(model, (parameters, fresh), (x,))
        return loss(outputs, y), fresh

    def whole(parameters: Any, state: Any, moments: Any, count: Any, x: Any, y: Any) -> Any:
        gradient = torch.func.grad_and_value(objective, has_aux=True)
        grads, (value, fresh) = gradient(parameters, state, x, y)
        count.add_(1)
        for name, parameter in parameters.items():
            update(parameter, grads[name], moments[name], count, recipe.lr)
        for name, old in state.items():
            old.copy_(fresh[name])
        return value

    compiled = torch.compile(whole, fullgraph=True)

    def step() -> Any:
        with torch.no_grad():
            return compiled(parameters, state, moments, count, inputs, targets)

    return Built(step, flat)


def _torch_sgd(parameter: Any, grad: Any, moments: Any, count: Any, lr: float) -> None:
    parameter.sub_(grad, alpha=lr)


def _torch_adam(parameter: Any, grad: Any, moments: Any, count: Any, lr: float) -> None:
    first, second = moments
    first.mul_(ADAM["beta1"]).add_(grad, alpha=1 - ADAM["beta1"])
    second.mul_(ADAM["beta2"]).addcmul_(grad, grad, value=1 - ADAM["beta2"])
    scale = lr / (1 - ADAM["beta1"] ** count)
    root = (second / (1 - ADAM["beta2"] ** count)).sqrt() + ADAM["eps"]
    parameter.sub_(scale * first / root)


def jax_loss(name: str) -> Callable[[Any, Any], Any]:
    """The mean loss of that name."""
    import jax
    import jax.numpy as jnp

    def cross_entropy(logits: Any, y: Any) -> Any:
        log_p = jax.nn.log_softmax(logits)
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))

    def bce(logits: Any, y: Any) -> Any:
        return jnp.mean(jax.nn.softplus(logits) - y * logits)

    return {"cross_entropy": cross_entropy, "bce": bce}[name]


def build_jax(recipe: Training) -> Built:
    """jax.jit of the whole step; everything that changes is donated."""
    import jax
    import jax.numpy as jnp

    trained, buffers, x, y = recipe._parts()
    loss = jax_loss(recipe.loss)
    inputs = jnp.asarray(x)
    targets = jnp.asarray(y.astype(np.int32) if y.dtype == np.int64 else y)
    update = {"sgd": _jax_sgd, "adam": _jax_adam}[recipe.optimizer]

    def objective(parameters: Any, state: Any, key: Any, x: Any, y: Any) -> tuple[Any, Any]:
        outputs, state = recipe.jax_forward(parameters, state, key, x)
        return loss(outputs, y), state

    def whole(carried: Any, x: Any, y: Any) -> tuple[Any, Any]:
        parameters, state, moments, count, key = carried
        key, now = jax.random.split(key)
        gradient = jax.value_and_grad(objective, has_aux=True)
        (value, state), grads = gradient(parameters, state, now, x, y)
        count = count + 1
        parameters, moments = update(parameters, grads, moments, count, recipe.lr)
        return (parameters, state, moments, count, key), value

    compiled = jax.jit(whole, donate_argnums=0)
    parameters = {k: jnp.array(v) for k, v in trained.items()}
    moments: Any = ()
    if recipe.optimizer == "adam":
        zeros = [{k: jnp.zeros_like(v) for k, v in parameters.items()} for _ in range(2)]
        moments = tuple(zeros)
    state = {k: jnp.array(v) for k, v in buffers.items()}
    carried = (parameters, state, moments, jnp.zeros((), jnp.float32), jax.random.key(0))

    def step() -> Any:
        nonlocal carried
        carried, value = compiled(carried, inputs, targets)
        return value.block_until_ready()

    return Built(step, flat)


def _jax_sgd(parameters: Any, grads: Any, moments: Any, count: Any, lr: float) -> tuple[Any, Any]:
    return {k: v - lr * grads[k] for k, v in parameters.items()}, moments


def _jax_adam(parameters: Any, grads: Any, moments: Any, count: Any, lr: float) -> tuple[Any, Any]:
    beta1, beta2 = ADAM["beta1"], ADAM["beta2"]
    first = {k: beta1 * m + (1 - beta1) * grads[k] for k, m in moments[0].items()}
    second = {k: beta2 * m + (1 - beta2) * grads[k] ** 2 for k, m in moments[1].items()}
    scale, root_scale = lr / (1 - beta1**count), 1 / (1 - beta2**count)

    def moved(k: str, v: Any) -> Any:
        return v - scale * first[k] / ((second[k] * root_scale) ** 0.5 + ADAM["eps"])

    return {k: moved(k, v) for k, v in parameters.items()}, (first, second)
