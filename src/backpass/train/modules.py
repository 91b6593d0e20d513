"""What training needs of a model beyond calling it: its dtype, its mode, copies of its arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from backpass.errors import ConfigError, NonFiniteError
from backpass.trace import Cell, Stateful


def cells_of(model: Any) -> dict[str, Cell]:
    """Every Cell of a Module by its qualified name.

    Raises:
        ConfigError: it is no Module.
    """
    if not isinstance(model, Stateful):
        raise ConfigError(
            f"the model is a {type(model).__name__}, not a Module: it has no parameters to train. "
            "Subclass nn.Module, "
            "or use bp.value_and_grad on a function of arrays."
        )
    return dict(model.__backpass_cells__())


def parameters_of(model: Any) -> dict[str, Cell]:
    """The trainable Cells by name."""
    return {name: cell for name, cell in cells_of(model).items() if cell.trainable}


def model_dtype(model: Any) -> np.dtype[Any]:
    """The floating dtype of the first parameter (of any floating Cell where none is trainable);
    else float32.
    """
    cells = list(cells_of(model).values())
    floating = [c for c in cells if c.dtype.kind == "f"]
    trainable = [c for c in floating if c.trainable]
    chosen = trainable or floating
    return chosen[0].dtype if chosen else np.dtype(np.float32)


def submodules(model: Any) -> list[Any]:
    """The Module and all below it; just itself where it cannot say."""
    return list(model.modules()) if hasattr(model, "modules") else [model]


def set_mode(model: Any, training: bool) -> None:
    """`train()` or `eval()` of a Module; nothing for what has no mode."""
    if hasattr(model, "train") and hasattr(model, "training"):
        model.train(training)


@contextmanager
def modes_kept(*models: Any) -> Iterator[None]:
    """Put the mode of every submodule back at the end, whatever happens."""
    modes = [(m, m.training) for x in models for m in submodules(x) if hasattr(m, "training")]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def copy_weights(
    model: Any, instead: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Copies of all arrays of a Module, with some of them replaced."""
    replaced = instead or {}
    return {n: np.array(replaced.get(n, c.read())) for n, c in cells_of(model).items()}


def write_weights(model: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Arrays into the Cells of these names, in place."""
    cells = cells_of(model)
    for name, array in weights.items():
        cells[name].write(np.asarray(array, dtype=cells[name].dtype))


def check_finite_weights(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise NonFiniteError if a floating array holds NaN or infinity."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            bad = int(np.sum(~np.isfinite(array)))
            raise NonFiniteError(
                f"parameter {name!r} holds {bad:,} of {array.size:,} values that are NaN or "
                "infinite, so no checkpoint "
                "is written; the one before stays. Lower the learning rate, or clip the gradient."
            )


__all__ = [
    "cells_of",
    "check_finite_weights",
    "copy_weights",
    "model_dtype",
    "modes_kept",
    "parameters_of",
    "set_mode",
    "submodules",
    "write_weights",
]
