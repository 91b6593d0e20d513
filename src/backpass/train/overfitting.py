"""OverfittingWarning: says when training gets better and validation gets worse.

The rule: the validation value has been worse than its best for `patience` epochs in a row, the
training value is better now than in that best epoch, and the gap between validation and training is
more than `gap` of the training value's size. All three: noise in one epoch, or a model that is
merely worse on other data, is not overfitting.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from backpass.errors import ConfigError
from backpass.train.callback import Callback, Logs, State, TrainerView


class OverfittingWarning(Callback):
    """Adds a message to each epoch in which the rule of this module holds, for the loss.

    Args:
        patience: epochs in a row, at least 1.
        gap: (val_loss - loss) / max(|loss|, 1e-8) above which the gap counts, for example 0.1.

    Attributes:
        since: the epoch since which the model overfits; None if it does not.
    """

    order: ClassVar[int] = 46

    def __init__(self, patience: int = 3, gap: float = 0.1) -> None:
        if patience < 1 or not gap >= 0:
            raise ConfigError(
                f"OverfittingWarning: patience={patience!r}, gap={gap!r}; give at least 1 and at "
                "least 0."
            )
        self.patience, self.gap = patience, gap
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0
        self.loss_then = math.inf
        self.worse = 0
        self.since: int | None = None

    def on_fit_start(self, trainer: TrainerView) -> None:
        """Nothing was seen yet."""
        self._forget()

    def on_epoch_end(self, trainer: TrainerView, logs: Logs) -> None:
        """Apply the rule."""
        loss, held_out = logs.get("loss"), logs.get("val_loss")
        if loss is None or held_out is None:
            return
        if self.best is None or held_out < self.best:
            self.best, self.best_epoch, self.loss_then = held_out, trainer.epoch, loss
            self.worse, self.since = 0, None
            return
        self.worse += 1
        gap = (held_out - loss) / max(abs(loss), 1e-8)
        if self.worse >= self.patience and loss < self.loss_then and gap > self.gap:
            self.since = self.since or self.best_epoch + 1
            trainer.note(
                f"overfitting since epoch {self.since}: the training loss fell from "
                f"{self.loss_then:.4g} to {loss:.4g}, "
                f"the validation loss rose from {self.best:.4g} to {held_out:.4g}"
            )

    def state_dict(self) -> dict[str, Any]:
        """What was seen."""
        names = ("best", "best_epoch", "loss_then", "worse", "since")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: State) -> None:
        """Go on from what was seen."""
        for name in tuple(self.state_dict()):
            setattr(self, name, state[name])


__all__ = ["OverfittingWarning"]
