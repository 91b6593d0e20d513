"""Multi-layer perceptrons trained with plain SGD, from tiny to 4 x 1024."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks.workloads.definition import Workload
from benchmarks.workloads.training import Training, builders, uniform_linear


def dense_flops(sizes: Sequence[int], batch: int) -> float:
    """FLOP of a step: forward, dW, and dX of all layers but the first (2 FLOP a multiply-add)."""
    products = [a * b for a, b in itertools.pairwise(sizes)]
    return 2.0 * batch * (3 * sum(products) - products[0])


def dense_bytes(sizes: Sequence[int], batch: int) -> float:
    """Bytes of a step with SGD: parameters read and written, inputs read."""
    parameters = sum([(a + 1) * b for a, b in itertools.pairwise(sizes)])
    return 4.0 * (2 * parameters + batch * sizes[0])


def dense(
    name: str,
    sizes: tuple[int, ...],
    batch: int,
    loss: str = "cross_entropy",
    *,
    last: bool = False,
) -> Workload:
    """Linear layers with ReLU between them, and after the last if `last`."""
    layers = len(sizes) - 1
    activations = layers if last else layers - 1

    def arrays() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        weights: dict[str, np.ndarray] = {}
        for i in range(layers):
            weights.update(uniform_linear(rng, str(2 * i), sizes[i], sizes[i + 1]))
        x = rng.standard_normal((batch, sizes[0])).astype(np.float32)
        if loss == "bce":
            return weights, x, rng.integers(0, 2, (batch, 1)).astype(np.float32)
        return weights, x, rng.integers(0, sizes[-1], batch)

    def model(nn: Any) -> Any:
        modules = []
        for i in range(layers):
            modules.append(nn.Linear(sizes[i], sizes[i + 1]))
            modules.extend([nn.ReLU()] * (i < activations))
        return nn.Sequential(*modules)

    def backpass_model() -> Any:
        from backpass import nn

        return model(nn)

    def torch_model() -> Any:
        from torch import nn

        return model(nn)

    def jax_forward(parameters: Any, state: Any, key: Any, x: Any) -> tuple[Any, Any]:
        for i in range(layers):
            x = x @ parameters[f"{2 * i}.weight"].T + parameters[f"{2 * i}.bias"]
            x = x.clip(0) if i < activations else x
        return x, state

    recipe = Training(arrays, backpass_model, torch_model, jax_forward, loss)
    shape = "-".join(map(str, sizes))
    criterion = {"cross_entropy": "cross entropy", "bce": "BCE with logits"}[loss]
    return Workload(
        name=name,
        title=f"MLP {shape}, batch {batch}",
        about=f"Linear layers {shape} with ReLU, {criterion}, SGD, float32.",
        dtype="float32",
        flops=dense_flops(sizes, batch),
        bytes=dense_bytes(sizes, batch),
        builders=builders(lambda exact: recipe),
    )


WORKLOADS = (
    dense("mlp_16_32_32_3", (16, 32, 32, 3), 32),
    dense("mlp_64_128_64_10", (64, 128, 64, 10), 64),
    dense("mlp_30_64_64_1_bce", (30, 64, 64, 1), 256, "bce"),
    dense("mlp_784_512_512_10", (784, 512, 512, 10), 128),
    dense("mlp_4x1024", (1024,) * 5, 512, last=True),
)
