"""Trainer: fit, evaluate, predict. The face of this room; the loop itself is in `loop`, the step in
`step`.

The names follow Keras and Lightning. One trainer holds a model, a loss, an optimizer, and how far
they have come (`epoch`, `step`, `history`); calling `fit` again goes on from there. With one seed,
one machine and one version the result is the same bits, also when the run was killed and resumed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backpass import metrics as metrics_room
from backpass import optim
from backpass.errors import ConfigError
from backpass.metrics import Metric
from backpass.sentence import Clause, Sentence, Setting
from backpass.train.batches import batches_of, inputs_of
from backpass.train.callback import Callback, Callbacks
from backpass.train.checkpoint_files import find_checkpoint
from backpass.train.evaluation import Evaluator
from backpass.train.history import History
from backpass.train.learning_rate import LearningRateSchedule
from backpass.train.loop import FitLoop
from backpass.train.model_checkpoint import ModelCheckpoint
from backpass.train.modules import copy_weights, model_dtype, modes_kept, set_mode
from backpass.train.progress import ProgressBar
from backpass.train.run_state import RunState
from backpass.train.run_state_file import load_model, load_run, save_run
from backpass.train.step import TrainingStep

Progress = Literal["auto", "bar", "lines", "none"]


def _paired(data: Any, targets: Any) -> Any:
    """`(x, y)` as one pair, or x and y apart, or several inputs and y apart."""
    if targets is None:
        return data
    return (*data, targets) if isinstance(data, tuple) else (data, targets)


class Trainer:
    """Trains a model on batches, and says how good it is.

    Args:
        model: a Module: called with the inputs it gives predictions. Its parameters are updated in
            place.
        loss: called with (predictions, targets) it gives a floating scalar, the mean over the
            batch: a loss Module such as `nn.CrossEntropyLoss()`, or a function.
        optimizer: made with the model's parameters; None for a trainer that only evaluates and
            predicts.
        metrics: names (see `backpass.metrics.names()`) or Metric objects, computed for training and
            validation data.
        callbacks: see `Callback`. A progress display is added unless `progress="none"` or one is
            among them.
        scheduler: a learning-rate schedule of `backpass.optim.lr_scheduler`, or a
            `LearningRateSchedule`.
        scheduler_interval: `"epoch"` steps the scheduler after each epoch, `"step"` after each
            optimizer step.
        scheduler_monitor: what ReduceLROnPlateau watches; default val_loss, or loss without
            validation data.
        gradient_clip_norm: the 2-norm above which the whole gradient is scaled down to it.
        gradient_clip_value: the absolute value at which each element of the gradient is cut.
        accumulate: batches whose gradients make one optimizer step. The gradient is that of the
            mean over all their samples, also when the last batch is smaller; what is left at the
            end of an epoch makes a step of its own.
        seed: decides the order of the samples, with the epoch: 0 <= seed < 2**64.
        jit: compile the step; False runs it eagerly, where `print` and `pdb` in the model work.
        progress: `"bar"`, `"lines"` (one plain line an epoch), `"none"`, or `"auto"`: a bar on a
            terminal, else lines.
        directory: the run folder: history.jsonl and checkpoints/ go there. None writes nothing.

    Attributes:
        history: a `History` of all epochs.
        epoch: the epoch that is running (from 1), else the number of epochs done.
        step: optimizer steps done, over all epochs.
        should_stop: set it in a callback to end training after the running epoch.

    Raises:
        ConfigError: an argument has a value that cannot be used.
        MetricError: a metric's name is unknown.

    >>> import numpy as np
    >>> from backpass import nn, optim
    >>> x = np.random.default_rng(0).normal(size=(256, 2)).astype(np.float32)
    >>> y = (x[:, 0] > x[:, 1]).astype(np.int64)
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    >>> trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.05),
    ...                   metrics=["accuracy"], progress="none")
    >>> history = trainer.fit((x, y), epochs=5, batch_size=32)
    >>> trainer.evaluate((x, y))["accuracy"] > 0.9
    True
    """

    def __init__(
        self,
        model: Any,
        loss: Callable[[Any, Any], Any],
        optimizer: Any = None,
        *,
        metrics: str | Sequence[str | Metric[Any]] = (),
        callbacks: Sequence[Callback] = (),
        scheduler: Any = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        scheduler_monitor: str | None = None,
        gradient_clip_norm: float | None = None,
        gradient_clip_value: float | None = None,
        accumulate: int = 1,
        seed: int = 0,
        jit: bool = True,
        progress: Progress | bool = "auto",
        directory: str | Path | None = None,
    ) -> None:
        _check_parts(model, loss, optimizer)
        if isinstance(optimizer, optim.LBFGS):
            raise ConfigError(
                "LBFGS evaluates the loss several times a step, so it needs a closure, which a "
                "Trainer has not; use it in a loop of your own, or another optimizer here."
            )
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        named = [metrics] if isinstance(metrics, str) else list(metrics)
        self.metrics: list[Metric[Any]] = metrics_room.get(named)
        self.validation_metrics: list[Metric[Any]] = copy.deepcopy(self.metrics)
        self.seed = seed
        self.jit = bool(jit)
        self.accumulate = _at_least_one("accumulate", accumulate)
        self.directory = None if directory is None else Path(directory)
        self.callbacks = _all_callbacks(
            callbacks, scheduler, scheduler_interval, scheduler_monitor, progress
        )
        self.history = History()
        self.state = RunState()
        self._training_step: TrainingStep | None = None
        self._clip = (
            _positive("gradient_clip_norm", gradient_clip_norm),
            _positive("gradient_clip_value", gradient_clip_value),
        )
        self._evaluator = Evaluator(model, loss, self.jit)
        self._loop: FitLoop | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: what was compiled, and the last `fit`, are left behind."""
        kept = dict(self.__dict__)
        for name in ("_evaluator", "_training_step", "_loop"):
            del kept[name]
        return kept

    def __setstate__(self, found: dict[str, Any]) -> None:
        self.__dict__.update(found)
        self._training_step = self._loop = None
        self._evaluator = Evaluator(self.model, self.loss, self.jit)

    # -- what people call

    def fit(
        self,
        data: Any,
        targets: Any = None,
        *,
        validation_data: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool = True,
        drop_last: bool = False,
        resume: str | Path | None = None,
    ) -> History:
        """Train for `epochs` more epochs.

        Args:
            data: `(x, y)` arrays or frames of N samples; `(x1, x2, ..., y)` for a model of several
                inputs; a `DataLoader` of such arrays; or an iterable (or a function that gives one)
                of ready-made batches. Floating arrays are cast to the model's dtype.
            targets: y, where `data` is x alone, as Keras and scikit-learn have it.
            validation_data: the same, run after every epoch without training; None for none.
            epochs: how many more; 0 does nothing. With `resume`, what the interrupted `fit` was
                given.
            batch_size: samples in a batch, of arrays and frames; the last batch may have fewer.
            shuffle: a new order in each epoch, decided by (seed, epoch) alone.
            drop_last: leave out a last batch that is not full.
            resume: a checkpoint, or a run folder whose newest checkpoint is taken: go on exactly
                where it was saved.

        Returns:
            The history of all epochs so far (`trainer.history`).

        Raises:
            DataError: the data are empty, hold NaN or infinity, differ in length, or were used up.
            NonFiniteError: the loss or the gradient became NaN or infinite; that step is not
                applied.
            CheckpointError: `resume` cannot be read, or does not fit this trainer or data.
            TrainingInterrupted: (KeyboardInterrupt) Ctrl-C; the step was finished and a checkpoint
                saved.
        """
        if self.optimizer is None:
            raise ConfigError("fit needs an optimizer: Trainer(model, loss, optimizer).")
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 0:
            raise ConfigError(f"epochs={epochs!r}; give a whole number, at least 0.")
        dtype = model_dtype(self.model)
        train = batches_of(
            _paired(data, targets),
            "the training data",
            dtype,
            batch_size,
            shuffle,
            self.seed,
            drop_last,
        )
        validation = None
        if validation_data is not None:
            validation = batches_of(validation_data, "the validation data", dtype, batch_size)
        loop = self._loop = FitLoop(self, train, validation, epochs)
        with modes_kept(self.model, self.loss):
            loop.run(None if resume is None else find_checkpoint(resume))
        return self.history

    def resume(self, path: str | Path, data: Any, **options: Any) -> History:
        """`fit(data, resume=path, **options)`: the options are those of the interrupted `fit`."""
        return self.fit(data, resume=path, **options)

    def evaluate(
        self, data: Any, targets: Any = None, *, batch_size: int = 256
    ) -> dict[str, float]:
        """The loss and the metrics of data, without training; `data` and `targets` as in `fit`.

        Returns:
            `{"loss": ..., "accuracy": ..., ...}`: the mean loss over all samples, and each scalar
            metric.

        Raises:
            DataError: as in `fit`.
        """
        paired = _paired(data, targets)
        batches = batches_of(paired, "the data", model_dtype(self.model), batch_size)
        with modes_kept(self.model, self.loss):
            set_mode(self.model, False)
            set_mode(self.loss, False)
            return self._evaluator.evaluate(batches, copy.deepcopy(self.metrics))

    def predict(self, x: Any, *, batch_size: int = 256) -> Any:
        """What the model gives for inputs, in their order.

        Args:
            x: (N, ...) array or frame; a tuple of them for a model of several inputs.
            batch_size: samples at a time.

        Returns:
            (N, ...) raw outputs: logits for a classifier that was trained with a cross-entropy of
            logits. A tuple or dict of such arrays for a model that gives one.

        Raises:
            DataError: there are no rows, or values are NaN or infinite.
        """
        batches = inputs_of(x, model_dtype(self.model), batch_size)
        with modes_kept(self.model):
            set_mode(self.model, False)
            return self._evaluator.predict(batches)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint: everything that `load`, or `fit(resume=path)`, needs. Atomic: old or
        new, never neither.

        Raises:
            OSError: the system's reason; a file that was there is whole.
            NonFiniteError: a parameter is NaN or infinite: such a checkpoint would be of no use.
        """
        save_run(self, Path(path))

    def load(self, path: str | Path) -> None:
        """Take model, optimizer, callbacks, counters and history from a checkpoint or a run folder.

        Raises:
            CheckpointError: the file is damaged, hostile, or of another model; nothing is changed
            then.
        """
        load_run(self, find_checkpoint(path))

    def load_weights(self, path: str | Path) -> None:
        """Take only the model's arrays from a checkpoint or a run folder.

        Raises:
            CheckpointError: the file is damaged, hostile, or of another model; nothing is changed
                then.
        """
        load_model(self, find_checkpoint(path))

    # -- what callbacks use

    @property
    def epoch(self) -> int:
        """The epoch that is running, from 1; between fits the number of epochs done."""
        return self.state.epochs_done + (1 if self.state.in_epoch else 0)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.state.step

    @property
    def should_stop(self) -> bool:
        """Whether training ends after the running epoch."""
        return self.state.should_stop

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        self.state.should_stop = bool(value)

    @property
    def loop(self) -> FitLoop:
        """The running `fit`: its batches, its last epoch (`last_epoch`)."""
        if self._loop is None:
            raise ConfigError("no fit has been started on this trainer.")
        return self._loop

    @property
    def has_loop(self) -> bool:
        """Whether `fit` was ever called."""
        return self._loop is not None

    def note(self, message: str) -> None:
        """Put a message for the reader into the record of the running epoch (once each)."""
        if message not in self.state.messages:
            self.state.messages.append(message)

    def weights(self) -> dict[str, np.ndarray]:
        """A copy of the model's arrays by name: those that were just validated (the averaged ones
        under EMA).
        """
        return copy_weights(self.model, self.state.averaged)

    def way_to_resume(self) -> Sentence:
        """The end of a sentence that says how to go on after an error."""
        newest = [
            c.newest for c in self.callbacks.items if isinstance(c, ModelCheckpoint) and c.newest
        ]
        if newest:
            path = Setting("resume", Path(newest[0]))
            return Sentence(Clause("; go on with fit(..., ", path, ")"), ".")
        again = Clause("; call ", Setting("fit"), " again to go on from here in this process")
        return Sentence(again, ".")

    @property
    def training_step(self) -> TrainingStep:
        """The step, made when it is first used, and again when parameters were frozen or cast."""
        if self._training_step is None or (
            not self.state.in_epoch and not self._training_step.fits(self.model)
        ):
            self._training_step = TrainingStep(
                self.model,
                self.loss,
                self.optimizer,
                clip_norm=self._clip[0],
                clip_value=self._clip[1],
                accumulate=self.accumulate,
                flow=self.callbacks.needs_gradient_flow,
                jit=self.jit,
            )
        return self._training_step

    @property
    def evaluator(self) -> Evaluator:
        """The compiled forward passes without training."""
        return self._evaluator


def _all_callbacks(
    given: Sequence[Callback], scheduler: Any, interval: str, monitor: str | None, progress: Any
) -> Callbacks:
    """The user's callbacks, the scheduler as one, and the progress display."""
    items = list(given)
    for callback in items:
        if not isinstance(callback, Callback):
            raise ConfigError(
                "a callback is an object of a subclass of backpass.train.Callback, not "
                f"{callback!r}."
            )
    if isinstance(scheduler, Callback):
        items.append(scheduler)
    elif scheduler is not None:
        items.append(LearningRateSchedule(scheduler, interval=interval, monitor=monitor))
    shown = {True: "auto", False: "none"}.get(progress, progress)
    if shown not in ("auto", "bar", "lines", "none"):
        raise ConfigError(f"progress={progress!r}; use 'auto', 'bar', 'lines' or 'none'.")
    if shown != "none" and not any(isinstance(c, ProgressBar) for c in items):
        items.append(ProgressBar(shown))
    return Callbacks(items)


def _check_parts(model: Any, loss: Any, optimizer: Any) -> None:
    """Refuse names and classes, which Keras and others take, where objects are needed."""
    for name, given, example in (
        ("model", model, "nn.Sequential(...)"),
        ("loss", loss, "nn.CrossEntropyLoss()"),
        ("optimizer", optimizer, "optim.Adam(model.parameters(), lr=1e-3)"),
    ):
        if isinstance(given, str):
            raise ConfigError(f"{name}={given!r} is a text; give an object, such as {example}.")
        if isinstance(given, type):
            raise ConfigError(
                f"{name} is the class {given.__name__}; make an object of it, such as {example}."
            )
    if not callable(loss):
        raise ConfigError(
            f"the loss is a {type(loss).__name__}, which cannot be called with (predictions, "
            "targets); give a loss such as nn.CrossEntropyLoss()."
        )
    if optimizer is not None and not hasattr(optimizer, "step"):
        raise ConfigError(
            f"the optimizer is a {type(optimizer).__name__}, not one of backpass.optim; give "
            "optim.Adam(model.parameters(), lr=1e-3)."
        )


def _at_least_one(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name}={value!r}; give a whole number, at least 1.")
    return value


def _positive(name: str, value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise ConfigError(f"{name}={value!r}; give a number above 0, or None for no clipping.")
    return value


__all__ = ["Progress", "Trainer"]
