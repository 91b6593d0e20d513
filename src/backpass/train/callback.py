"""Callback: what a user, or this room, hangs into training. Every method is optional.

Order of events in `Trainer.fit`::

    on_fit_start                          once; a resumed run loads the callbacks' state after it
      on_epoch_start                      before the first batch of an epoch
        on_batch_end                      for every optimizer step, with what the step gave
      on_validation_start, _end           around the pass over the validation data
      on_epoch_end                        with all values of the epoch; may stop, may add messages
      on_epoch_recorded                   the epoch is in the history: checkpoints are written here
    on_fit_end                            once, also if stopped early; not after an exception
    on_close                              always last

A callback runs between whole steps only, so model and optimizer are consistent whatever it raises.
Small steps are run many in one native call where no callback minds (`steps_until_needed`).
What it must remember across a killed run it gives in `state_dict`. Callbacks run in the rising
order of `order`, and among equals in the order in which they were passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from backpass.metrics import Metric
from backpass.sentence import Sentence
from backpass.train.batches import Batches
from backpass.train.history import EpochRecord, History
from backpass.train.run_state import RunState
from backpass.train.step_result import StepResult

Logs = Mapping[str, float]
State = Mapping[str, Any]

#: What a callback gives as `steps_until_needed` that never needs the model within an epoch.
NEVER = 2**31


class FitView(Protocol):
    """What a callback sees of the running `fit`.

    Attributes:
        train, validation: the batches; `train.count` is their number in an epoch, if it is known.
        last_epoch: the number of the epoch after which this `fit` ends.
        record: the record of the epoch that has just ended; a callback may add to it in
            `on_epoch_end`.
    """

    train: Batches
    validation: Batches | None
    last_epoch: int
    record: EpochRecord

    def identity(self) -> dict[str, Any]: ...


class TrainerView(Protocol):
    """What a callback sees of the Trainer: annotate the `trainer` of your methods with it.

    The meaning of each attribute is in the docstring of `Trainer`.
    """

    model: Any
    loss: Any
    optimizer: Any
    metrics: list[Metric[Any]]
    callbacks: Callbacks
    history: History
    state: RunState
    directory: Path | None
    accumulate: int
    seed: int
    jit: bool

    @property
    def should_stop(self) -> bool: ...

    @should_stop.setter
    def should_stop(self, value: bool) -> None: ...

    @property
    def epoch(self) -> int: ...

    @property
    def step(self) -> int: ...

    @property
    def loop(self) -> FitView: ...

    @property
    def has_loop(self) -> bool: ...

    def note(self, message: str) -> None: ...

    def weights(self) -> dict[str, np.ndarray]: ...

    def way_to_resume(self) -> Sentence: ...


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

    def on_fit_start(self, trainer: TrainerView) -> None:
        """Before the first epoch of a `fit`; start from a clean state here."""

    def on_epoch_start(self, trainer: TrainerView) -> None:
        """Before the first batch of epoch `trainer.epoch`."""

    def on_batch_end(self, trainer: TrainerView, result: StepResult) -> None:
        """For every optimizer step; `trainer.step` counts it already."""

    def steps_until_needed(self, trainer: TrainerView) -> int:
        """After how many more optimizer steps, from 1, `on_batch_end` must see the model.

        1, as here, has it run right after each step. A callback that reads only the results, or the
        model now and then, gives more: `on_batch_end` still comes for every step and in order, but
        when it comes, later steps may have been done, as many as this says.
        """
        return 1

    def on_validation_start(self, trainer: TrainerView) -> None:
        """Before the validation data are run; the model's weights may be exchanged here."""

    def on_validation_end(self, trainer: TrainerView) -> None:
        """After the validation data were run, in falling order; exchanged weights go back here."""

    def on_epoch_end(self, trainer: TrainerView, logs: Logs) -> None:
        """After validation. `logs` holds loss, val_loss, each metric and val_ metric, lr,
        gradient_norm.

        Set `trainer.should_stop` (with `trainer.note("why")`) to end training after this epoch.
        """

    def on_epoch_recorded(self, trainer: TrainerView, record: EpochRecord) -> None:
        """The epoch counts as done and its record, as in history.jsonl, is in `trainer.history`."""

    def on_fit_end(self, trainer: TrainerView) -> None:
        """After the last epoch; not called when an exception ends the run."""

    def on_close(self, trainer: TrainerView) -> None:
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

    def call(self, event: str, trainer: TrainerView, *args: Any) -> None:
        """One event, in rising order; `on_validation_end` in falling order."""
        items = self.items[::-1] if event == "on_validation_end" else self.items
        for callback in items:
            self._call_one(callback, event, trainer, args)

    def after_batch(self, trainer: TrainerView, result: StepResult) -> None:
        """`on_batch_end` of those that have one."""
        for callback in self._after_batch:
            self._call_one(callback, "on_batch_end", trainer, (result,))

    def steps_until_needed(self, trainer: TrainerView) -> int:
        """How many steps may be run before `after_batch` must have been called for them."""
        return min([_steps_until_needed(c, trainer) for c in self._after_batch], default=NEVER)

    def close(self, trainer: TrainerView) -> None:
        """`on_close` of all, whatever some of them raise."""
        with ExitStack() as stack:
            for callback in self.items:
                stack.callback(callback.on_close, trainer)

    @staticmethod
    def _call_one(
        callback: Callback, event: str, trainer: TrainerView, args: tuple[Any, ...]
    ) -> None:
        try:
            getattr(callback, event)(trainer, *args)
        except Exception as error:
            ahead = trainer.state.ahead
            left = f"step {trainer.step + ahead}" if ahead else "that step"
            error.add_note(
                f"raised by the callback {type(callback).__name__}.{event} in epoch "
                f"{trainer.epoch}, after step {trainer.step}. Model and optimizer are as {left} "
                f"left them{trainer.way_to_resume()}"
            )
            raise


def _overrides(callback: Callback, name: str) -> bool:
    return getattr(type(callback), name) is not getattr(Callback, name)


def _steps_until_needed(callback: Callback, trainer: TrainerView) -> int:
    """What a callback says, but 1 if its `on_batch_end` is of a class below the one that said it:
    who wrote that need not know.
    """
    kinds = type(callback).__mro__
    said, done = (
        next(i for i, kind in enumerate(kinds) if name in vars(kind))
        for name in ("steps_until_needed", "on_batch_end")
    )
    return max(1, callback.steps_until_needed(trainer)) if said <= done else 1


__all__ = ["NEVER", "Callback", "Callbacks", "FitView", "Logs", "State", "TrainerView"]
