"""A training step of a classifier: what tests of whole programs share."""

from __future__ import annotations

from typing import Any

import backpass as bp
from backpass import nn


def training_step() -> Any:
    """A jitted step of (model, optimizer, x, y): it takes one step and gives the cross entropy."""

    @bp.jit
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        def loss(model: Any) -> Any:
            return nn.functional.cross_entropy(model(x), y)

        value, grads = bp.value_and_grad(loss)(model)
        optimizer.step(grads)
        return value

    return step
