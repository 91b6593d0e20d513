"""Callback: what a user, or this room, hangs into training. Every method is optional.

Order of events in `Trainer.fit`::

    on_fit_start                          once; a resumed run loads the callbacks' state after it
      on_epoch_start                      before the first batch of an epoch
        on_batch_end                      after every optimizer step, with what the step gave
      on_validation_start, _end           around the pass over the validation data
      on_epoch_end                        with all values of the epoch; may stop, may add messages
      on_epoch_recorded                   the epoch is in the history: checkpoints are written here
    on_fit_end                            once, also if stopped early; not after an exception
    on_close                              always last

A callback runs between whole steps only, so model and optimizer are consistent whatever it raises.
What it must remember across a killed run it gives in `state_dict`. Callbacks run in the rising
order of `order`, and among equals in the order in which they were passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from backpass.train.history import EpochRecord
    from backpass.train.trainer import Trainer

Logs = Mapping[str, float]
State = Mapping[str, Any]


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


class Callback:
    """Base class: override what you need.

    Attributes:
        order: callbacks run in rising order; EMA 10, EarlyStopping 20, SWA 30, others 50,
            ModelCheckpoint 90, ProgressBar 100.
        needs_gradient_flow: ask the step for `StepResult.flow`; costs a pass over the parameters.

    >>> class Loud(Callback):
    ...     def on_epoch_end(self, trainer, logs):
    ...         print(trainer.epoch, round(logs["loss"], 3))
    """

    order: ClassVar[int] = 50
    needs_gradient_flow: ClassVar[bool] = False

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first epoch of a `fit`; start from a clean state here."""

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Before the first batch of epoch `trainer.epoch`."""

    def on_batch_end(self, trainer: Trainer, result: StepResult) -> None:
        """After every optimizer step; `trainer.step` counts it already."""

    def on_validation_start(self, trainer: Trainer) -> None:
        """Before the validation data are run; the model's weights may be exchanged here."""

    def on_validation_end(self, trainer: Trainer) -> None:
        """After the validation data were run, in falling order; exchanged weights go back here."""

    def on_epoch_end(self, trainer: Trainer, logs: Logs) -> None:
        """After validation. `logs` holds loss, val_loss, each metric and val_ metric, lr,
        gradient_norm.

        Set `trainer.should_stop` (with `trainer.note("why")`) to end training after this epoch.
        """

    def on_epoch_recorded(self, trainer: Trainer, record: EpochRecord) -> None:
        """The epoch counts as done and its record, as in history.jsonl, is in `trainer.history`."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch; not called when an exception ends the run."""

    def on_close(self, trainer: Trainer) -> None:
        """Always called last, also after an exception: give back files, terminals, exchanged
        weights.
        """

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: NumPy arrays, and values that JSON can hold, by name."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Go on from what `state_dict` gave; called after `on_fit_start`."""


class Callbacks:
    """The callbacks of one trainer, in their order, called by event. What one raises gets a note
    that names it.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.items = tuple(sorted(callbacks, key=lambda c: c.order))
        self._after_batch = [c for c in self.items if _overrides(c, "on_batch_end")]
        self.needs_gradient_flow = any(c.needs_gradient_flow for c in self.items)

    def call(self, event: str, trainer: Trainer, *args: Any) -> None:
        """One event, in rising order; `on_validation_end` in falling order."""
        items = self.items[::-1] if event == "on_validation_end" else self.items
        for callback in items:
            self._call_one(callback, event, trainer, args)

    def after_batch(self, trainer: Trainer, result: StepResult) -> None:
        """`on_batch_end` of those that have one."""
        for callback in self._after_batch:
            self._call_one(callback, "on_batch_end", trainer, (result,))

    def close(self, trainer: Trainer) -> None:
        """`on_close` of all, whatever some of them raise."""
        with ExitStack() as stack:
            for callback in self.items:
                stack.callback(callback.on_close, trainer)

    @staticmethod
    def _call_one(callback: Callback, event: str, trainer: Trainer, args: tuple[Any, ...]) -> None:
        try:
            getattr(callback, event)(trainer, *args)
        except Exception as error:
            error.add_note(
                f"raised by the callback {type(callback).__name__}.{event} in epoch "
                f"{trainer.epoch}, after step "
                f"{trainer.step}. Model and optimizer are as that step left them; "
                f"{trainer.way_to_resume()}"
            )
            raise


def _overrides(callback: Callback, name: str) -> bool:
    return getattr(type(callback), name) is not getattr(Callback, name)


__all__ = ["Callback", "Callbacks", "FlowSample", "Logs", "State", "StepResult"]
