"""An embedding bag: the mean of 32 rows of a table of 50,000 x 64 for each of 256 bags, and a head.

The gradient of the table is zero but for the rows that were read; the least traffic of an SGD step
is to read and write these rows once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.workloads.definition import Workload
from benchmarks.workloads.training import Training, build_torch, builders, uniform_linear

ROWS, WIDTH, BAGS, LENGTH, CLASSES = 50_000, 64, 256, 32, 10


def _arrays() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = {"table.weight": rng.standard_normal((ROWS, WIDTH)).astype(np.float32)}
    weights.update(uniform_linear(rng, "head", WIDTH, CLASSES))
    return weights, rng.integers(0, ROWS, (BAGS, LENGTH)), rng.integers(0, CLASSES, BAGS)


def _backpass_model() -> Any:
    from backpass import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(ROWS, WIDTH)
            self.head = nn.Linear(WIDTH, CLASSES)

        def forward(self, bags: Any) -> Any:
            return self.head(np.mean(self.table(bags), axis=1))

    return Net()


def _torch_model(sparse: bool) -> Any:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.EmbeddingBag(ROWS, WIDTH, mode="mean", sparse=sparse)
            self.head = torch.nn.Linear(WIDTH, CLASSES)

        def forward(self, bags: Any) -> Any:
            return self.head(self.table(bags))

    return Net()


def _jax_forward(parameters: Any, state: Any, key: Any, bags: Any) -> tuple[Any, Any]:
    mean = parameters["table.weight"][bags].mean(1)
    return mean @ parameters["head.weight"].T + parameters["head.bias"], state


def _recipe(sparse: bool) -> Training:
    return Training(_arrays, _backpass_model, lambda: _torch_model(sparse), _jax_forward, lr=0.5)


# Eager PyTorch is a multiple faster with a sparse gradient, which torch.compile does not take.
BUILDERS = {
    **builders(lambda exact: _recipe(False)),
    "torch": lambda exact: build_torch(_recipe(True)),
}

WORKLOADS = (
    Workload(
        name="embedding_bag_50000x64",
        title="Embedding bag 50,000 x 64, 256 bags of 32",
        about="Mean of the rows of each bag, linear head of 10 classes, cross entropy, SGD, "
        "float32. The least traffic is that of the rows read.",
        dtype="float32",
        flops=2.0 * BAGS * LENGTH * WIDTH + 6.0 * BAGS * WIDTH * CLASSES,
        bytes=2.0 * 4 * BAGS * LENGTH * WIDTH + 8.0 * BAGS * LENGTH,
        builders=BUILDERS,
    ),
)
