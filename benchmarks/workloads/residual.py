"""A deep graph: 64 blocks h + relu(W layer_norm(h) + b) of width 128, and a linear head."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.workloads.definition import Workload
from benchmarks.workloads.training import Training, builders, uniform_linear

DEPTH, WIDTH, CLASSES, BATCH, EPS = 64, 128, 10, 64, 1e-5


def _arrays() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    for i in range(DEPTH):
        weights[f"blocks.{i}.norm.weight"] = np.ones(WIDTH, np.float32)
        weights[f"blocks.{i}.norm.bias"] = np.zeros(WIDTH, np.float32)
        weights.update(uniform_linear(rng, f"blocks.{i}.linear", WIDTH, WIDTH))
    weights.update(uniform_linear(rng, "head", WIDTH, CLASSES))
    x = rng.standard_normal((BATCH, WIDTH)).astype(np.float32)
    return weights, x, rng.integers(0, CLASSES, BATCH)


def _model(nn: Any, relu: Any) -> Any:
    """The same classes for backpass and PyTorch, whose modules have the same names."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(WIDTH)
            self.linear = nn.Linear(WIDTH, WIDTH)

        def forward(self, h: Any) -> Any:
            return h + relu(self.linear(self.norm(h)))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Block() for _ in range(DEPTH)])
            self.head = nn.Linear(WIDTH, CLASSES)

        def forward(self, h: Any) -> Any:
            for block in self.blocks:
                h = block(h)
            return self.head(h)

    return Net()


def _backpass_model() -> Any:
    from backpass import nn

    return _model(nn, nn.functional.relu)


def _torch_model() -> Any:
    import torch

    return _model(torch.nn, torch.relu)


def _jax_forward(parameters: Any, state: Any, key: Any, h: Any) -> tuple[Any, Any]:
    import jax.numpy as jnp

    for i in range(DEPTH):
        own = {k: parameters[f"blocks.{i}.{k}"] for k in ("norm.weight", "norm.bias")}
        centred = h - jnp.mean(h, 1, keepdims=True)
        n = centred / jnp.sqrt(jnp.mean(centred**2, 1, keepdims=True) + EPS)
        n = n * own["norm.weight"] + own["norm.bias"]
        linear = (
            n @ parameters[f"blocks.{i}.linear.weight"].T + parameters[f"blocks.{i}.linear.bias"]
        )
        h = h + linear.clip(0)
    return h @ parameters["head.weight"].T + parameters["head.bias"], state


RECIPE = Training(_arrays, _backpass_model, _torch_model, _jax_forward, lr=1e-3)
PARAMETERS = DEPTH * (WIDTH * WIDTH + 3 * WIDTH) + (WIDTH + 1) * CLASSES

WORKLOADS = (
    Workload(
        name="residual_64x128",
        title="64-layer residual MLP, width 128, layer norm, batch 64",
        about="h + relu(linear(layer_norm(h))), 64 times, and a linear head; cross entropy, SGD, "
        "float32.",
        dtype="float32",
        flops=2.0 * BATCH * 3 * (DEPTH * WIDTH * WIDTH + WIDTH * CLASSES),
        bytes=4.0 * (2 * PARAMETERS + BATCH * WIDTH),
        builders=builders(lambda exact: RECIPE),
        tolerance=5e-4,
    ),
)
