"""RunState: all that the loop of `Trainer.fit` itself remembers.

With the Cells, the callbacks' state and the metrics' sums it is what a checkpoint holds (see
`run_state_file`). It changes between whole steps only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from backpass.train.step_result import Outcome


@dataclass(slots=True)
class RunState:
    """How far a trainer has come.

    Attributes:
        epochs_done, batches_done: whole epochs, and batches of the running one.
        step: optimizer steps of all epochs.
        first_epoch: epochs that were done when the running `fit` began.
        in_epoch: whether an epoch is running.
        should_stop: a callback asked to end.
        loss_total, weight_total: sums over the epoch's batches; their quotient is its loss.
        norm_total, steps_in_epoch: sum of the gradient norms over the epoch's steps, and their
            number.
        messages: notes for the epoch's record.
        ahead: steps that the model is ahead of `step`, while the callbacks of a series are called.
        averaged: weights that were validated instead of the model's own (EMA); never in a
            checkpoint.
    """

    epochs_done: int = 0
    batches_done: int = 0
    step: int = 0
    first_epoch: int = 0
    in_epoch: bool = False
    should_stop: bool = False
    loss_total: float = 0.0
    weight_total: float = 0.0
    norm_total: float = 0.0
    steps_in_epoch: int = 0
    messages: list[str] = field(default_factory=list)
    ahead: int = 0
    averaged: Mapping[str, np.ndarray] | None = None

    def start_epoch(self) -> None:
        """Nothing is summed yet."""
        self.batches_done = self.steps_in_epoch = 0
        self.loss_total = self.weight_total = self.norm_total = 0.0
        self.messages = []

    def add(self, outcome: Outcome) -> None:
        """Count one batch."""
        self.batches_done += 1
        if outcome.weight > 0:
            self.loss_total += outcome.loss * outcome.weight
            self.weight_total += outcome.weight
        if outcome.step is not None:
            self.step += 1
            self.steps_in_epoch += 1
            self.norm_total += outcome.step.gradient_norm


__all__ = ["RunState"]
