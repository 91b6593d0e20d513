"""The loop of `Trainer.fit`: epochs, batches, validation, and the record of each epoch.

What it remembers is a `RunState`, which changes between whole steps only. A checkpoint may be
written wherever a callback runs after a step or an epoch; a resumed run enters the same epoch at
the batch where it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from backpass.files import remove_partial_files
from backpass.metrics import Metric
from backpass.train.batches import Batch, Batches
from backpass.train.callback import TrainerView
from backpass.train.evaluation import (
    Evaluator,
    compute_metrics,
    update_metrics,
    update_metrics_of_series,
)
from backpass.train.history import (
    EpochRecord,
    append_record,
    as_json_number,
    logs_of,
    rewrite_history,
)
from backpass.train.interrupt import Interruption, TrainingInterrupted, interruptible
from backpass.train.learning_rate import learning_rate
from backpass.train.model_checkpoint import ModelCheckpoint, save_on_interrupt
from backpass.train.modules import set_mode
from backpass.train.nonfinite import non_finite_error
from backpass.train.run_state_file import load_run
from backpass.train.series import Ran, until_boundary
from backpass.train.step import TrainingStep
from backpass.train.step_result import Outcome, StepResult


class TrainerOfLoop(TrainerView, Protocol):
    """What the loop needs of a Trainer besides what callbacks see."""

    validation_metrics: list[Metric[Any]]

    @property
    def training_step(self) -> TrainingStep: ...

    @property
    def evaluator(self) -> Evaluator: ...


class FitLoop:
    """One call of `fit`.

    Args:
        trainer: whose model is trained.
        train, validation: the data; no validation if None.
        epochs: how many more.

    Attributes:
        last_epoch: the number of the epoch after which this `fit` ends.
        record: the record of the epoch that has just ended; callbacks may add to it in
            `on_epoch_end`.
    """

    def __init__(
        self, trainer: TrainerOfLoop, train: Batches, validation: Batches | None, epochs: int
    ) -> None:
        self.trainer, self.train, self.validation = trainer, train, validation
        self.epochs = epochs
        self.last_epoch = trainer.state.epochs_done + epochs
        self.interruption = Interruption()
        self.record: EpochRecord = {}

    def run(self, resume: Path | None) -> None:
        """All epochs, between the callbacks' start and end."""
        trainer, state = self.trainer, self.trainer.state
        state.first_epoch, state.in_epoch, state.should_stop = state.epochs_done, False, False
        state.averaged = None
        state.start_epoch()
        trainer.training_step.reset()
        if trainer.directory is not None:
            remove_partial_files(trainer.directory)
        with interruptible() as self.interruption:
            try:
                trainer.callbacks.call("on_fit_start", trainer)
                if resume is not None:
                    self._resume(resume)
                self._prepare_folders()
                while state.epochs_done < self.last_epoch and not state.should_stop:
                    self._epoch()
                trainer.callbacks.call("on_fit_end", trainer)
                if self.interruption.requested:
                    raise TrainingInterrupted("interrupted when training was already complete")
            finally:
                state.in_epoch = False
                trainer.callbacks.close(trainer)

    def _prepare_folders(self) -> None:
        trainer = self.trainer
        for callback in trainer.callbacks.items:
            if isinstance(callback, ModelCheckpoint):
                callback.check_folder(trainer)
        if trainer.directory is not None:
            rewrite_history(trainer.directory / "history.jsonl", trainer.history)

    def _resume(self, path: Path) -> None:
        load_run(self.trainer, path, self.identity())
        self.last_epoch = self.trainer.state.first_epoch + self.epochs

    def identity(self) -> dict[str, Any]:
        """What a checkpoint says of the data, and compares when it is resumed."""
        return {
            "data": self.train.identity(),
            "accumulate": self.trainer.accumulate,
            "validation data": self.validation.identity() if self.validation else None,
        }

    def _epoch(self) -> None:
        trainer, state = self.trainer, self.trainer.state
        state.in_epoch = True
        if state.batches_done == 0:
            state.start_epoch()
            for metric in trainer.metrics:
                metric.reset()
            trainer.callbacks.call("on_epoch_start", trainer)
        trainer.training_step.reset()
        set_mode(trainer.model, True)
        set_mode(trainer.loss, True)
        self._whole_batches()
        for batch, last in self.train.marked(trainer.epoch, state.batches_done, trainer.accumulate):
            self._batch(batch, last)
        self._end_of_epoch()

    def _whole_batches(self) -> None:
        """Run the epoch's whole batches many at a time, if they are small."""
        trainer, state, step = self.trainer, self.trainer.state, self.trainer.training_step
        rows = self.train.rows(trainer.epoch)
        if rows is None:
            return
        samples = rows.batch_size
        with self._memory_explained(samples):
            at_most = step.at_most(rows)
        if at_most == 1:
            return
        while state.batches_done < len(rows.order):
            begin = state.batches_done
            count = until_boundary(begin, len(rows.order), at_most)
            count = min(count, trainer.callbacks.steps_until_needed(trainer))
            with self._memory_explained(samples):
                ran = step.run(rows, begin, count) if count > 1 else None
            if ran is not None and ran.count:
                self._after_series(ran, step.outcomes(ran, samples))
            if ran is None or ran.count < count:
                self._batch(rows.batch(state.batches_done), True)

    def _after_series(self, ran: Ran, outcomes: list[Outcome]) -> None:
        """Count the steps of a series, and tell the callbacks of each."""
        trainer, state = self.trainer, self.trainer.state
        update_metrics_of_series(trainer.metrics, ran, ran.outputs["predictions"])
        left = iter(outcomes)
        try:
            for state.ahead, outcome in zip(range(len(outcomes) - 1, -1, -1), left, strict=True):
                state.add(outcome)
                if outcome.step is not None:
                    trainer.callbacks.after_batch(trainer, outcome.step)
        finally:
            state.ahead = 0
            for outcome in left:  # the model has done these too
                state.add(outcome)
        self._stop_if_interrupted()

    def _batch(self, batch: Batch, last: bool) -> None:
        trainer, state = self.trainer, self.trainer.state
        with self._memory_explained(batch.samples):
            outcome = trainer.training_step(batch, last=last)
        if not outcome.finite:
            raise non_finite_error(trainer, trainer.training_step, batch, outcome, last)
        state.add(outcome)
        update_metrics(trainer.metrics, outcome.predictions, batch.targets)
        if outcome.step is not None:
            self._after_step(outcome.step)

    @contextmanager
    def _memory_explained(self, samples: int) -> Iterator[None]:
        """Say what would need less memory and give the same gradient."""
        try:
            yield
        except MemoryError as error:
            half = max(1, samples // 2)
            error.add_note(
                f"a step on a batch of {samples:,} samples did not fit into memory; "
                f"batch_size={half} with accumulate={2 * self.trainer.accumulate} takes about half "
                "and gives the same gradient (but for BatchNorm)."
            )
            raise

    def _after_step(self, result: StepResult) -> None:
        self.trainer.callbacks.after_batch(self.trainer, result)
        self._stop_if_interrupted()

    def _stop_if_interrupted(self) -> None:
        if not self.interruption.requested:
            return
        saved = save_on_interrupt(self.trainer)
        where = f"saved to {saved}" if saved else "no checkpoint: the trainer has no directory"
        raise TrainingInterrupted(
            f"interrupted in epoch {self.trainer.epoch}, after step {self.trainer.step}; {where}",
            saved,
        )

    def _end_of_epoch(self) -> None:
        trainer, state = self.trainer, self.trainer.state
        training = {"loss": _quotient(state.loss_total, state.weight_total)}
        training.update(compute_metrics(trainer.metrics))
        validation = self._validate()
        record: EpochRecord = {
            "epoch": trainer.epoch,
            "step": state.step,
            "lr": learning_rate(trainer.optimizer),
            "train": {name: as_json_number(value) for name, value in training.items()},
        }
        if validation is not None:
            record["validation"] = {n: as_json_number(v) for n, v in validation.items()}
        record["gradient_norm"] = as_json_number(_quotient(state.norm_total, state.steps_in_epoch))
        self.record = record
        self._note_undefined(training, trainer.metrics, "")
        self._note_undefined(validation or {}, trainer.validation_metrics, "val_")
        trainer.callbacks.call("on_epoch_end", trainer, logs_of(record))
        record["messages"] = list(state.messages)
        self._keep(record)

    def _note_undefined(
        self, values: Mapping[str, float], metrics: Sequence[Metric[Any]], prefix: str
    ) -> None:
        """Say why a value of the epoch is null."""
        reasons = {metric.name: metric.note for metric in metrics if metric.note}
        for name, value in values.items():
            if not math.isfinite(value):
                why = reasons.get(name) or "NaN or infinity came out"
                self.trainer.note(f"{prefix}{name} is undefined: {why}")

    def _keep(self, record: EpochRecord) -> None:
        """The epoch counts as done: first on the disk, then in memory, then for the callbacks."""
        trainer, state = self.trainer, self.trainer.state
        if trainer.directory is not None:
            append_record(trainer.directory / "history.jsonl", record)
        trainer.history.append(record)
        state.epochs_done += 1
        state.in_epoch = False
        state.averaged = None
        state.start_epoch()
        trainer.callbacks.call("on_epoch_recorded", trainer, record)
        self._stop_if_interrupted()

    def _validate(self) -> dict[str, float] | None:
        if self.validation is None:
            return None
        try:
            return self._validated(self.validation)
        except _StopValidation:
            self._stop_if_interrupted()
            raise

    def _validated(self, batches: Batches) -> dict[str, float]:
        trainer = self.trainer
        trainer.callbacks.call("on_validation_start", trainer)
        try:
            set_mode(trainer.model, False)
            set_mode(trainer.loss, False)
            return trainer.evaluator.evaluate(
                batches, trainer.validation_metrics, trainer.epoch, self._look_for_interruption
            )
        finally:
            trainer.callbacks.call("on_validation_end", trainer)

    def _look_for_interruption(self) -> None:
        if self.interruption.requested:
            raise _StopValidation


class _StopValidation(Exception):
    """Ctrl-C between two validation batches: averaged weights must go back before a checkpoint is
    written.
    """


def _quotient(total: float, count: float) -> float:
    return total / count if count else math.nan


__all__ = ["FitLoop"]
