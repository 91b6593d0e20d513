"""Learning rates: reading them, stepping a schedule, and keeping what they were.

A schedule is an object of `backpass.optim.lr_scheduler` with torch's `step()`; ReduceLROnPlateau
takes the monitored value in `step(value)`. The learning rates live in Cells of the optimizer, so a
compiled step sees the new ones.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np

from backpass.errors import ConfigError
from backpass.train.callback import NEVER, Callback, Logs, State, TrainerView
from backpass.train.monitor import Monitor
from backpass.train.step_result import StepResult


def learning_rates(optimizer: Any) -> list[float]:
    """The learning rate of each parameter group."""
    return [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]


def learning_rate(optimizer: Any) -> float | None:
    """The learning rate of the first parameter group; None where the rule has none."""
    rates = learning_rates(optimizer)
    return rates[0] if rates else None


class LearningRateSchedule(Callback):
    """Steps a schedule: after each epoch, or after each optimizer step.

    Args:
        scheduler: has `step()`, or `step(value)` where it watches a value, and `state_dict`,
            `load_state_dict`.
        interval: `"epoch"` or `"step"`.
        monitor: what a schedule that takes a value gets; default val_loss, or loss without
            validation data.

    Raises:
        ConfigError: another interval, or a schedule that watches a value with `interval="step"`.
    """

    order: ClassVar[int] = 40

    def __init__(self, scheduler: Any, interval: str = "epoch", monitor: str | None = None) -> None:
        if interval not in ("epoch", "step"):
            raise ConfigError(f"scheduler interval {interval!r}; use 'epoch' or 'step'.")
        if not hasattr(scheduler, "step"):
            raise ConfigError(
                f"a scheduler has a method step(); a {type(scheduler).__name__} has none."
            )
        self.scheduler, self.interval, self.monitor = scheduler, interval, monitor
        self.takes_value = _takes_value(scheduler)
        if self.takes_value and interval == "step":
            raise ConfigError(
                f"{type(scheduler).__name__} watches a value that is known once an epoch; use "
                "interval='epoch'."
            )

    def steps_until_needed(self, trainer: TrainerView) -> int:
        """After each step, if the interval is a step."""
        return 1 if self.interval == "step" else NEVER

    def on_batch_end(self, trainer: TrainerView, result: StepResult) -> None:
        """Step, if the interval is a step."""
        if self.interval == "step":
            self.scheduler.step()

    def on_epoch_end(self, trainer: TrainerView, logs: Logs) -> None:
        """Step, if the interval is an epoch."""
        if self.interval != "epoch":
            return
        if not self.takes_value:
            self.scheduler.step()
            return
        name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        self.scheduler.step(Monitor(name, "min").value(logs))

    def state_dict(self) -> dict[str, Any]:
        """The schedule's own state."""
        return dict(self.scheduler.state_dict())

    def load_state_dict(self, state: State) -> None:
        """Restore the schedule's own state; the learning rates come with the optimizer's."""
        self.scheduler.load_state_dict(dict(state))


class LearningRateMonitor(Callback):
    """Keeps the learning rate of every step, for a plot.

    Attributes:
        steps: the optimizer steps, from 1.
        values: for each, the learning rate of every parameter group that it used.
    """

    order: ClassVar[int] = 35  # before a schedule changes it

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[list[float]] = []

    def steps_until_needed(self, trainer: TrainerView) -> int:
        """The rates of a series are one."""
        return NEVER

    def on_batch_end(self, trainer: TrainerView, result: StepResult) -> None:
        """Keep one step's rates."""
        self.steps.append(trainer.step)
        self.values.append(learning_rates(trainer.optimizer))

    def state_dict(self) -> dict[str, Any]:
        """What was kept."""
        return {
            "steps": np.array(self.steps, np.int64),
            "values": np.array(self.values, np.float64),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on after what was kept."""
        self.steps = np.asarray(state["steps"]).tolist()
        self.values = np.asarray(state["values"]).tolist()


def _takes_value(scheduler: Any) -> bool:
    """Whether `step` has a parameter that must be given: torch's mark of ReduceLROnPlateau."""
    required = [
        p
        for p in inspect.signature(scheduler.step).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return bool(required)


__all__ = ["LearningRateMonitor", "LearningRateSchedule", "learning_rate", "learning_rates"]
