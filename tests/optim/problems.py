"""Options and problems for the optimizers: a quadratic and a small MLP, in NumPy and in torch.

The NumPy side is a Model of Cells that value_and_grad differentiates; torch has the same weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

import backpass as bp
from backpass.trace import Cell

Array = np.ndarray[Any, Any]
# Optimizers that torch has, with the options that they are tried with.
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.001, "momentum": 0.5, "maximize": True}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("Adam", {"lr": 0.05, "amsgrad": True, "weight_decay": 0.05, "betas": (0.8, 0.9)}),
    ("Adam", {"lr": 0.05, "eps": 1e-3, "maximize": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adam", {"lr": 0.05, "betas": (0.0, 0.9)}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.0, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("NAdam", {"lr": 0.05, "momentum_decay": 0.1, "maximize": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.05, "betas": (0.8, 0.9), "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "centered": True}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.5, "centered": True, "alpha": 0.9, "eps": 1e-4}),
    ("RMSprop", {"lr": 0.02, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1, "eps": 1e-4}),
    ("Adadelta", {"maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adamax", {"lr": 0.05, "betas": (0.7, 0.95), "maximize": True}),
]


class Model:
    """Named Cells, as a Module holds them."""

    def __init__(self, weights: Mapping[str, Array], frozen: tuple[str, ...] = ()) -> None:
        self.cells = {
            name: Cell(w, trainable=name not in frozen, name=name) for name, w in weights.items()
        }

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "cells":
            raise AttributeError(name)
        return self.cells[name].read()

    def __backpass_cells__(self) -> Mapping[str, Cell]:
        return self.cells

    def __backpass_static__(self) -> str:
        return type(self).__name__

    def parameters(self) -> list[Cell]:
        return list(self.cells.values())

    def arrays(self) -> dict[str, Array]:
        return {name: np.array(cell.read()) for name, cell in self.cells.items()}


@dataclass(frozen=True)
class Problem:
    """Weights to start from, and the loss of both sides; `batch(t)` gives the data of step t."""

    weights: dict[str, Array]
    loss: Callable[..., Any]
    torch_loss: Callable[..., Any]
    batch: Callable[[int], tuple[Array, ...]]

    def model(self, dtype: Any = np.float64, frozen: tuple[str, ...] = ()) -> Model:
        return Model({k: w.astype(dtype) for k, w in self.weights.items()}, frozen)

    def torch_parameters(self, torch: ModuleType, dtype: Any = np.float64) -> dict[str, Any]:
        return {
            k: torch.nn.Parameter(torch.tensor(w.astype(dtype))) for k, w in self.weights.items()
        }


def _mlp_loss(model: Any, x: Any, y: Any) -> Any:
    hidden = np.tanh(x @ model.w1.T + model.b1)
    return np.mean((hidden @ model.w2.T + model.b2 - y) ** 2)


def _mlp_torch(torch: ModuleType, w: Mapping[str, Any], x: Any, y: Any) -> Any:
    hidden = torch.tanh(x @ w["w1"].T + w["b1"])
    return ((hidden @ w["w2"].T + w["b2"] - y) ** 2).mean()


def _quadratic_loss(model: Any, a: Any) -> Any:
    x = model.x
    return 0.5 * (x @ a @ x) - np.sum(x) + np.sum(model.shift**2)


def _quadratic_torch(torch: ModuleType, w: Mapping[str, Any], a: Any) -> Any:
    x = w["x"]
    return 0.5 * (x @ a @ x) - x.sum() + (w["shift"] ** 2).sum()


def mlp() -> Problem:
    """Three inputs, four hidden units, two outputs; a new batch of eight each step."""
    r = np.random.default_rng(0)
    shapes = {"w1": (4, 3), "b1": (4,), "w2": (2, 4), "b2": (2,)}
    weights = {name: r.normal(size=shape) * 0.5 for name, shape in shapes.items()}

    def batch(t: int) -> tuple[Array, ...]:
        s = np.random.default_rng(100 + t)
        return s.normal(size=(8, 3)), s.normal(size=(8, 2))

    return Problem(weights, _mlp_loss, _mlp_torch, batch)


def quadratic() -> Problem:
    """An ill-conditioned quadratic form in six variables, and a scalar parameter."""
    r = np.random.default_rng(1)
    q = np.linalg.qr(r.normal(size=(6, 6)))[0]
    a = q @ np.diag([0.1, 0.3, 1.0, 2.0, 5.0, 8.0]) @ q.T
    weights = {"x": r.normal(size=6), "shift": np.array(0.7)}
    return Problem(weights, _quadratic_loss, _quadratic_torch, lambda t: (a,))


PROBLEMS = {"mlp": mlp(), "quadratic": quadratic()}


def train(
    problem: Problem, model: Model, optimizer: Any, steps: int, *, jit: bool = False, first: int = 0
) -> list[float]:
    """Run steps eagerly or under jit; the losses."""
    dtype = next(iter(model.cells.values())).dtype

    def step(model: Any, optimizer: Any, *batch: Any) -> Any:
        value, grads = bp.value_and_grad(problem.loss)(model, *batch)
        optimizer.step(grads)
        return value

    run = bp.jit(step) if jit else step
    return [
        float(run(model, optimizer, *[x.astype(dtype) for x in problem.batch(t)]))
        for t in range(first, first + steps)
    ]


def train_torch(
    problem: Problem, torch: ModuleType, weights: Mapping[str, Any], optimizer: Any, steps: int
) -> list[float]:
    """The same steps in torch."""
    losses = []
    dtype = next(iter(weights.values())).dtype
    for t in range(steps):
        optimizer.zero_grad()
        loss = problem.torch_loss(
            torch, weights, *[torch.tensor(x, dtype=dtype) for x in problem.batch(t)]
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
