"""Small models and data that the tests of training share."""

from typing import Any

import numpy as np

from backpass import nn, optim
from backpass.train import Trainer


def blobs(
    n: int = 96, features: int = 4, classes: int = 3, seed: int = 0, dtype: Any = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Points around class centres, (n, features), and their classes, (n,) int64."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, features)) * 2
    y = random.integers(0, classes, n)
    return (centres[y] + random.normal(size=(n, features))).astype(dtype), y


def network(features: int = 4, classes: int = 3, *, seed: int = 0, dropout: float = 0.0) -> Any:
    """A small classifier, the same for the same seed."""
    nn.manual_seed(seed)
    middle = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(nn.Linear(features, 8), nn.ReLU(), *middle, nn.Linear(8, classes))


def trainer(model: Any = None, **options: Any) -> Trainer:
    """A quiet trainer of a small classifier."""
    model = network() if model is None else model
    rate = options.pop("lr", 1e-2)
    options.setdefault("optimizer", optim.Adam(model.parameters(), lr=rate))
    options.setdefault("progress", "none")
    return Trainer(model, options.pop("loss", nn.CrossEntropyLoss()), **options)


def weights(model: Any) -> dict[str, np.ndarray]:
    """Copies of all Cells of a model."""
    return {name: np.array(cell.read()) for name, cell in model.__backpass_cells__().items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether two sets of arrays are the same bits."""
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)
