"""What the training step says of a batch, and of the optimizer step that a batch completes.

Plain values without a reference to the trainer: the lowest file of this room but for the files
about folders. They are made in `step`, summed in `run_state` and shown to callbacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class FlowSample:
    """What one optimizer step says of each parameter; filled for callbacks that ask for it.

    Attributes:
        gradient_norms: (P,) the 2-norm of each parameter's gradient, before clipping.
        update_norms: (P,) the 2-norm of what the step added to each parameter.
        weight_norms: (P,) the 2-norm of each parameter before the step.
        alive: for each parameter, (rows,) bool: whether a row along axis 0 got a gradient that is
            not exactly zero.
    """

    gradient_norms: np.ndarray
    update_norms: np.ndarray
    weight_norms: np.ndarray
    alive: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """What one optimizer step gave.

    Attributes:
        loss: the mean loss over the step's samples.
        gradient_norm: the 2-norm of the whole gradient, before clipping.
        samples: how many samples the step took (over all accumulated batches).
        flow: per-parameter numbers if any callback has `needs_gradient_flow`.
    """

    loss: float
    gradient_norm: float
    samples: int
    flow: FlowSample | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one batch gave. `step` is None where it only added to the sums of an unfinished step,
    `predictions` where it was one of a series, which keeps them together.
    """

    loss: float
    weight: float
    predictions: Any
    step: StepResult | None
    finite: bool


__all__ = ["FlowSample", "Outcome", "StepResult"]
