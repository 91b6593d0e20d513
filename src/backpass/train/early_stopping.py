"""EarlyStopping: end training when the monitored value has stopped getting better.

Prechelt 1998, "Early stopping - but when?". A NaN counts as no improvement.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from backpass.errors import ConfigError
from backpass.train.callback import Callback, Logs, State, TrainerView
from backpass.train.modules import write_weights
from backpass.train.monitor import Mode, monitor_of


class EarlyStopping(Callback):
    """Stop after `patience` epochs without improvement, and put the best weights back.

    Args:
        monitor: `"val_loss"`, `"val_accuracy"`, `"loss"`, ...
        patience: epochs without improvement that are borne; the next one that does not improve ends
            training when the count reaches it, as in Keras. 0 stops at the first.
        min_delta: the least change that counts.
        mode: `"auto"` takes the metric's own direction; else `"min"` or `"max"`.
        restore_best_weights: at the end, also when training was not stopped early, the model gets
            the weights (and buffers) of the best epoch.

    Attributes:
        best_epoch, best_value: the best so far; None before the first epoch.
        stopped_epoch: the epoch after which training was stopped; None if it was not.
    """

    order: ClassVar[int] = 20

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        *,
        min_delta: float = 0.0,
        mode: Mode = "auto",
        restore_best_weights: bool = True,
    ) -> None:
        if not isinstance(patience, int) or patience < 0:
            raise ConfigError(f"EarlyStopping: patience={patience!r}; give a whole number from 0.")
        if not (min_delta >= 0 and math.isfinite(min_delta)):
            raise ConfigError(f"EarlyStopping: min_delta={min_delta!r}; give a number from 0.")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.mode: Mode = mode
        self.restore_best_weights = restore_best_weights
        self._forget()

    def _forget(self) -> None:
        self.wait = 0
        self.best_epoch: int | None = None
        self.best_value: float | None = None
        self.stopped_epoch: int | None = None
        self.best_weights: dict[str, np.ndarray] = {}

    def on_fit_start(self, trainer: TrainerView) -> None:
        """Start counting anew; a wrong monitor is found here, before training."""
        self._forget()
        monitor_of(trainer.metrics, self.monitor, self.mode)
        if self.monitor.startswith("val_") and trainer.loop.validation is None:
            raise ConfigError(
                f"EarlyStopping watches {self.monitor!r}, but fit was given no validation_data."
            )

    def on_epoch_end(self, trainer: TrainerView, logs: Logs) -> None:
        """Compare, and stop if it has been too long."""
        monitor = monitor_of(trainer.metrics, self.monitor, self.mode, self.min_delta)
        value = monitor.value(logs)
        if monitor.better(value, self.best_value):
            self.best_value, self.best_epoch, self.wait = value, trainer.epoch, 0
            if self.restore_best_weights:
                self.best_weights = trainer.weights()
            return
        self.wait += 1
        if self.wait >= max(self.patience, 1):
            self.stopped_epoch = trainer.epoch
            trainer.should_stop = True
            best = (
                "no epoch had a finite value"
                if self.best_epoch is None
                else (f"the best was {self.best_value:.6g} in epoch {self.best_epoch}")
            )
            trainer.note(
                f"stopped early: {self.monitor} did not improve for {self.wait} "
                f"{'epoch' if self.wait == 1 else 'epochs'}; {best}"
            )

    def on_fit_end(self, trainer: TrainerView) -> None:
        """Put the best weights back."""
        if self.restore_best_weights and self.best_weights:
            write_weights(trainer.model, self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """The count, the best epoch and its weights."""
        names = ("wait", "best_epoch", "best_value", "stopped_epoch", "best_weights")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: State) -> None:
        """Go on counting."""
        self._forget()
        for name in tuple(self.state_dict()):
            setattr(self, name, state[name])


__all__ = ["EarlyStopping"]
