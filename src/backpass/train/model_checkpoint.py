"""ModelCheckpoint: keeps the newest checkpoints of a run, and the best one.

A checkpoint holds the whole run (see `run_state_file`), so any of them can be resumed. It is
written after the epoch is in the history and every other callback has seen the epoch, so what is
resumed goes on as if nothing had happened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from backpass.errors import ConfigError
from backpass.files import remove_partial_files
from backpass.train.callback import NEVER, Callback, State, TrainerView
from backpass.train.checkpoint_files import checkpoint_name, checkpoints_in
from backpass.train.history import EpochRecord, logs_of
from backpass.train.monitor import Mode, monitor_of
from backpass.train.run_state_file import save_run
from backpass.train.step_result import StepResult

BEST_NAME = "best.safetensors"


class ModelCheckpoint(Callback):
    """Writes `checkpoint-<step>.safetensors` after epochs, and `best.safetensors` when the monitor
    improves.

    Args:
        directory: where to; default `checkpoints/` in the trainer's directory.
        monitor: the value that decides which is best; None: val_loss, or loss without validation
            data.
        save_best: whether to keep the best one.
        keep_last: how many of the newest to keep, at least 1.
        every_n_epochs: write after every n-th epoch, and after the last one.
        every_n_steps: also write within epochs, after every n-th optimizer step; None for not.
        mode: `"auto"` takes the metric's own direction; else `"min"` or `"max"`.
        min_delta: the least change that makes a better one.

    Attributes:
        newest: the newest checkpoint written or resumed from; None before the first.
        best: the best one; None before the first.
        best_value: the monitor's value there.

    Raises:
        ConfigError: no directory is known, or it holds checkpoints of another run.
        OSError: a checkpoint could not be written; those before are whole.
    """

    order: ClassVar[int] = 90

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        monitor: str | None = None,
        save_best: bool = True,
        keep_last: int = 1,
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        mode: Mode = "auto",
        min_delta: float = 0.0,
    ) -> None:
        counts = {"keep_last": keep_last, "every_n_epochs": every_n_epochs}
        counts["every_n_steps"] = 1 if every_n_steps is None else every_n_steps
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"ModelCheckpoint: {name}={value!r}; give a whole number from 1.")
        self._given = None if directory is None else Path(directory)
        self.directory: Path | None = self._given
        self.monitor, self.min_delta = monitor, min_delta
        self.mode: Mode = mode
        self.save_best, self.keep_last = save_best, keep_last
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.newest: Path | None = None
        self.best: Path | None = None
        self.best_value: float | None = None

    def on_fit_start(self, trainer: TrainerView) -> None:
        """Find the folder, and clear away what a killed process left half written."""
        folder = self._given
        if folder is None:
            if trainer.directory is None:
                raise ConfigError(
                    "ModelCheckpoint has no directory: give it one, or Trainer(directory=...)."
                )
            folder = trainer.directory / "checkpoints"
        self.directory = folder
        remove_partial_files(folder)

    def check_folder(self, trainer: TrainerView) -> None:
        """Refuse a folder with checkpoints that are ahead of this run: they are of another one."""
        ahead = [p for step, p in checkpoints_in(self._folder()) if step > trainer.step]
        if ahead:
            raise ConfigError(
                f"{self._folder()} holds checkpoints of a run that came further, up to "
                f"{ahead[-1].name}; this run is at "
                f"step {trainer.step}. Resume that run (fit(..., resume=folder)), delete them, or "
                "take another folder."
            )

    def steps_until_needed(self, trainer: TrainerView) -> int:
        """At the next step that it writes after."""
        n = self.every_n_steps
        return NEVER if n is None else n - trainer.step % n

    def on_batch_end(self, trainer: TrainerView, result: StepResult) -> None:
        """Write within an epoch, unless its last batch is done: the epoch's own checkpoint follows
        at once.
        """
        if self.every_n_steps is None or trainer.step % self.every_n_steps:
            return
        if trainer.state.batches_done != trainer.loop.train.count:
            self.write(trainer)

    def on_epoch_recorded(self, trainer: TrainerView, record: EpochRecord) -> None:
        """Write after the epoch; the best one too if it is."""
        logs = logs_of(record)
        better = False
        if self.save_best:
            name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
            monitor = monitor_of(trainer.metrics, name, self.mode, self.min_delta)
            value = monitor.value(logs)
            better = monitor.better(value, self.best_value)
            if better:
                self.best_value = value
                self.best = self._folder() / BEST_NAME
                save_run(trainer, self.best)
        last = trainer.epoch >= trainer.loop.last_epoch or trainer.should_stop
        if trainer.epoch % self.every_n_epochs == 0 or last:
            self.write(trainer)

    def write(self, trainer: TrainerView) -> Path:
        """Write a checkpoint now, and delete the oldest ones."""
        path = self._folder() / checkpoint_name(trainer.step)
        save_run(trainer, path)
        self.newest = path
        for _, old in checkpoints_in(self._folder())[: -self.keep_last]:
            old.unlink(missing_ok=True)
        return path

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best_value": self.best_value}

    def load_state_dict(self, state: State) -> None:
        """Go on comparing with the best value."""
        self.best_value = state["best_value"]
        best = None if self.directory is None else self.directory / BEST_NAME
        self.best = best if best is not None and best.exists() else None

    def _folder(self) -> Path:
        if self.directory is None:
            raise ConfigError("ModelCheckpoint has no directory before fit has started.")
        return self.directory


def save_on_interrupt(trainer: TrainerView) -> Path | None:
    """A checkpoint of the state as it is, by the run's ModelCheckpoint or in the trainer's
    directory.
    """
    for callback in trainer.callbacks.items:
        if isinstance(callback, ModelCheckpoint):
            return callback.write(trainer)
    if trainer.directory is None:
        return None
    path = trainer.directory / "checkpoints" / checkpoint_name(trainer.step)
    save_run(trainer, path)
    return path


__all__ = ["BEST_NAME", "ModelCheckpoint", "save_on_interrupt"]
