"""Averages of weights: SWA at the end of training, EMA along it.

SWA: W_avg = (1/K) * sum of K snapshots (Izmailov et al. 2018, "Averaging weights leads to wider
optima and better generalization"). EMA: s = d*s + (1-d)*W after every step (Polyak and Juditsky
1992). Both average the trainable parameters; the statistics of BatchNorm do not belong to averaged
weights, so SWA computes them again.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from backpass.errors import ConfigError
from backpass.jit import jit
from backpass.train.batches import Batches
from backpass.train.callback import Callback, Logs, State, TrainerView
from backpass.train.modules import modes_kept, parameters_of, set_mode, submodules, write_weights
from backpass.train.step_result import StepResult


class StochasticWeightAveraging(Callback):
    """The mean of the weights after several epochs, put into the model when training ends.

    Args:
        start: the first epoch with a snapshot: a number from 1, or a share of the epochs of this
            fit, such as 0.75.
        every: epochs from one snapshot to the next.

    Attributes:
        snapshots: K, how many were taken.

    The sums are float64. At the end of fit the statistics of all BatchNorm layers are those of the
    training data under the averaged weights: the mean over batches, each weighted by its samples.
    It comes after EarlyStopping's best weights and replaces them if a snapshot was taken.
    """

    order: ClassVar[int] = 30

    def __init__(self, start: int | float = 0.75, every: int = 1) -> None:
        share = isinstance(start, float)
        if not (0 <= start < 1 if share else start >= 1):
            raise ConfigError(
                f"StochasticWeightAveraging: start={start!r}; give an epoch from 1, or a share "
                "from 0.0 to below 1.0."
            )
        if every < 1:
            raise ConfigError(f"StochasticWeightAveraging: every={every!r}; give a number from 1.")
        self.start, self.every = start, every
        self.snapshots = 0
        self.sums: dict[str, np.ndarray] = {}

    def on_fit_start(self, trainer: TrainerView) -> None:
        """No snapshot yet."""
        self.snapshots, self.sums = 0, {}

    def on_epoch_end(self, trainer: TrainerView, logs: Logs) -> None:
        """Take a snapshot if it is time."""
        epoch = trainer.epoch - trainer.state.first_epoch
        first = self.start
        if isinstance(first, float):
            first = int(first * (trainer.loop.last_epoch - trainer.state.first_epoch)) + 1
        if epoch < first or (epoch - first) % self.every:
            return
        self.snapshots += 1
        for name, cell in parameters_of(trainer.model).items():
            array = np.asarray(cell.read(), np.float64)
            self.sums[name] = self.sums[name] + array if name in self.sums else array.copy()

    def on_fit_end(self, trainer: TrainerView) -> None:
        """Put the mean in, and compute BatchNorm's statistics again."""
        if self.snapshots:
            mean = {name: total / self.snapshots for name, total in self.sums.items()}
            write_weights(trainer.model, mean)
            recompute_batch_norm(trainer.model, trainer.loop.train, trainer.jit)

    def state_dict(self) -> dict[str, Any]:
        """The number of snapshots and their sums."""
        return {"snapshots": self.snapshots, "sums": self.sums}

    def load_state_dict(self, state: State) -> None:
        """Go on adding."""
        self.snapshots, self.sums = state["snapshots"], dict(state["sums"])


class ExponentialMovingAverage(Callback):
    """A moving average of the weights, used for validation and put into the model when training
    ends.

    Args:
        decay: how much of the average a step keeps, from 0 to below 1.
        warmup: use min(decay, (1 + t) / (10 + t)) at step t, so that the start is soon forgotten.
        validate: validate with the averaged weights.

    Attributes:
        average: the averaged parameters by name, in their own dtypes.
    """

    order: ClassVar[int] = 10

    def __init__(self, decay: float = 0.999, *, warmup: bool = True, validate: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(
                f"ExponentialMovingAverage: decay={decay!r}; give a number from 0 to below 1."
            )
        self.decay, self.warmup, self.validate = decay, warmup, validate
        self.steps = 0
        self.average: dict[str, np.ndarray] = {}
        self._own: dict[str, np.ndarray] | None = None

    def on_fit_start(self, trainer: TrainerView) -> None:
        """The average starts at the weights."""
        self.steps = 0
        self.average = {n: np.array(c.read()) for n, c in parameters_of(trainer.model).items()}

    def on_batch_end(self, trainer: TrainerView, result: StepResult) -> None:
        """Move towards the new weights."""
        t = self.steps
        decay = min(self.decay, (1 + t) / (10 + t)) if self.warmup else self.decay
        self.steps += 1
        for name, cell in parameters_of(trainer.model).items():
            average = self.average[name]
            average += (cell.read() - average) * average.dtype.type(1 - decay)

    def on_validation_start(self, trainer: TrainerView) -> None:
        """Exchange the weights."""
        if self.validate:
            own = {n: np.array(c.read()) for n, c in parameters_of(trainer.model).items()}
            write_weights(trainer.model, self.average)
            self._own = own
            trainer.state.averaged = {n: a.copy() for n, a in self.average.items()}

    def on_validation_end(self, trainer: TrainerView) -> None:
        """Exchange them back."""
        if self._own is not None:
            write_weights(trainer.model, self._own)
            self._own = None

    def on_fit_end(self, trainer: TrainerView) -> None:
        """Put the average in."""
        write_weights(trainer.model, self.average)

    def on_close(self, trainer: TrainerView) -> None:
        """After an exception in validation the model gets its own weights back."""
        self.on_validation_end(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The average and its number of steps."""
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: State) -> None:
        """Go on averaging."""
        self.steps = state["steps"]
        self.average = {name: np.array(array) for name, array in state["average"].items()}


def recompute_batch_norm(model: Any, batches: Batches, compiled: bool = True) -> None:
    """Set every BatchNorm's running statistics to those of these data under the present weights.

    Each is the mean over batches of the batch's mean, or unbiased variance, weighted by its
    samples. Only BatchNorm layers are in training mode meanwhile, so dropout neither disturbs them
    nor moves its counter. Does nothing for a model without such layers.
    """
    layers = [m for m in submodules(model) if getattr(m, "running_mean", None) is not None]
    if not layers:
        return
    statistics = [cell for m in layers for cell in (m.running_mean, m.running_var)]
    sums = [np.zeros(cell.shape, np.float64) for cell in statistics]
    momenta = [m.momentum for m in layers]
    forward = jit(_forward) if compiled else _forward
    total = 0
    with modes_kept(model):
        set_mode(model, False)
        try:
            for layer in layers:
                layer.training, layer.momentum = True, 1.0  # running statistics become the batch's
            for batch in batches.batches(1):
                if batch.samples < 2:
                    continue  # one sample has no variance
                forward(model, batch.inputs)
                total += batch.samples
                for running, cell in zip(sums, statistics, strict=True):
                    running += batch.samples * np.asarray(cell.read(), np.float64)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
    for running, cell in zip(sums, statistics, strict=True):
        if total:
            cell.write((running / total).astype(cell.dtype))


def _forward(model: Any, inputs: Any) -> Any:
    return model(*inputs)


__all__ = ["ExponentialMovingAverage", "StochasticWeightAveraging", "recompute_batch_norm"]
