"""The training step: forward, loss, backward, clipping and the optimizer's update as one jitted
function.

With accumulation there are two: one that adds a batch's gradients, weighted by its samples, to a
sum, and one that does the same and then updates with the sum over all samples. A step whose loss or
gradient is not finite changes nothing: every Cell it wrote keeps its old value, chosen inside the
step, so the state is still the last good one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from backpass import optim
from backpass.errors import ConfigError
from backpass.ir import Graph
from backpass.jit import Jitted, jit
from backpass.trace import Cell, Stateful
from backpass.trace.cells import Gradients
from backpass.train.batches import Batch, Rows, labels_explained
from backpass.train.loss_weight import aligned, batch_weight, divides_by_weights
from backpass.train.series import Ran, SeriesOf
from backpass.train.step_result import FlowSample, Outcome, StepResult
from backpass.transforms import value_and_grad
from backpass.tree import tree_map


class Accumulator:
    """The sums of weighted gradients and weights over the batches of one optimizer step.

    Args:
        parameters: the trainable Cells of the model by name.
    """

    def __init__(self, parameters: Mapping[str, Cell]) -> None:
        self.sums = {name: Cell(np.zeros(c.shape, c.dtype)) for name, c in parameters.items()}
        self.weight = Cell(np.zeros((), np.float64))
        self.loss = Cell(np.zeros((), np.float64))

    def __backpass_cells__(self) -> Mapping[str, Cell]:
        return {**self.sums, "total weight": self.weight, "total loss": self.loss}

    def __backpass_static__(self) -> Hashable:
        return None

    def __backpass_version__(self) -> object:
        return self.sums

    def reset(self) -> None:
        """Forget what was added."""
        for cell in self.__backpass_cells__().values():
            cell.write(np.zeros(cell.shape, cell.dtype))


class TrainingStep:
    """The compiled step of one model, loss and optimizer.

    Args:
        model, loss, optimizer: as in `Trainer`.
        clip_norm, clip_value: bounds of the gradient, or None.
        accumulate: batches in one optimizer step.
        flow: whether to return a `FlowSample`.
        jit: compile, or run eagerly.
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        *,
        clip_norm: float | None,
        clip_value: float | None,
        accumulate: int,
        flow: bool,
        jit: bool,
    ) -> None:
        if accumulate > 1 and getattr(loss, "reduction", "mean") == "sum":
            raise ConfigError(
                f"accumulate={accumulate} takes the mean over all accumulated samples, but the "
                'loss has reduction="sum"; use reduction="mean".'
            )
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.clip_norm, self.clip_value, self.flow = clip_norm, clip_value, flow
        self.parameters = {n: c for n, c in model.__backpass_cells__().items() if c.trainable}
        self._kinds = {n: (id(c), c.dtype) for n, c in self.parameters.items()}
        self.sums = Accumulator(self.parameters) if accumulate > 1 else None
        self.jitted = jit
        self._full = self._made(_guarded(self._run_full))
        self._add = self._made(_guarded(self._run_add))
        self._last = self._made(_guarded(self._run_last))
        self._series = SeriesOf(
            self._full, lambda batch: self._call_of(batch, True)[1], lambda found: found["finite"]
        )
        self._samples = 0

    def _made(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return jit(function) if self.jitted else _restoring(function)

    def __call__(self, batch: Batch, *, last: bool) -> Outcome:
        """Run one batch; `last` says that it completes an optimizer step."""
        function, arguments = self._call_of(batch, last)
        with labels_explained(batch):
            found = function(*arguments)
        self._samples += batch.samples
        loss, finite = float(found["loss"]), bool(found["finite"])
        step = None
        if last:
            norm = float(found["gradient_norm"])
            mean = float(found["mean_loss"])
            step = StepResult(mean, norm, self._samples, _flow_sample(found.get("flow")))
            self._samples = 0
        return Outcome(loss, float(found["weight"]), found["predictions"], step, finite)

    def at_most(self, rows: Rows | None) -> int:
        """How many batches `run` takes at once; 1 if they must be called singly."""
        return 1 if self.sums is not None else self._series.at_most(rows)

    def run(self, rows: Rows, begin: int, count: int) -> Ran:
        """Optimizer steps on batches `begin` to `begin + count`, one native call; those after one
        that fails or is not finite are not run.
        """
        return self._series.run(rows, begin, count)

    def outcomes(self, ran: Ran, samples: int) -> list[Outcome]:
        """What each batch of a series gave, of `samples` samples each, but for its predictions."""
        found = ran.outputs
        names = ("loss", "mean_loss", "gradient_norm", "weight")
        numbers = zip(*[found[name][: ran.count].tolist() for name in names], strict=True)
        outcomes: list[Outcome] = []
        for i, (loss, mean, norm, weight) in enumerate(numbers):
            flow = tree_map(lambda x, i=i: x[i], found["flow"]) if self.flow else None
            step = StepResult(mean, norm, samples, _flow_sample(flow))
            outcomes.append(Outcome(loss, weight, None, step, True))
        return outcomes

    def fits(self, model: Any) -> bool:
        """Whether the model has the parameters, in the dtypes, that this step was made for."""
        now = {n: c for n, c in model.__backpass_cells__().items() if c.trainable}
        kinds = {n: (id(c), c.dtype) for n, c in now.items()}
        return kinds == self._kinds

    def reset(self) -> None:
        """Forget a step that was begun and not finished."""
        self._samples = 0
        if self.sums is not None:
            self.sums.reset()

    def graph(self, batch: Batch, *, last: bool) -> tuple[Graph, list[tuple[Any, Cell | None]]]:
        """The graph that this batch runs, and what its inputs are fed, for a diagnosis.

        Its first output is the loss and its second the gradient norm.
        """
        function, arguments = self._call_of(batch, last)
        compiled = function if isinstance(function, Jitted) else jit(function.__wrapped__)
        return compiled.graph(*arguments), compiled.operands(*arguments)

    def _call_of(self, batch: Batch, last: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        models = (self.model, self.loss if isinstance(self.loss, Stateful) else None)
        if self.sums is None:
            return self._full, (*models, self.optimizer, batch.inputs, batch.targets)
        if last:
            return self._last, (*models, self.sums, self.optimizer, batch.inputs, batch.targets)
        return self._add, (*models, self.sums, batch.inputs, batch.targets)

    # -- the functions that are compiled

    def _gradients(
        self, model: Any, loss: Any, inputs: Any, targets: Any
    ) -> tuple[Any, Any, Any, Gradients]:
        """Loss, weight and predictions of a batch, and the gradients of its mean loss."""
        of = self.loss if loss is None else loss

        def objective(model: Any) -> tuple[Any, Any]:
            predictions = model(*inputs)
            wanted = aligned(targets, predictions)
            value = of(predictions, wanted)
            return value, (predictions, batch_weight(of, predictions, wanted))

        (value, (predictions, weight)), gradients = value_and_grad(objective, has_aux=True)(model)
        if divides_by_weights(of):  # 0 / 0 where all targets are ignored
            value = np.where(weight > 0, value, np.zeros((), value.dtype))
            gradients = Gradients(
                {n: np.where(weight > 0, g, np.zeros((), g.dtype)) for n, g in gradients.items()},
                gradients.cells,
            )
        return value, weight, predictions, gradients

    def _run_full(self, model: Any, loss: Any, optimizer: Any, inputs: Any, targets: Any) -> Any:
        value, weight, predictions, gradients = self._gradients(model, loss, inputs, targets)
        found = {"loss": value, "mean_loss": value, "weight": weight, "predictions": predictions}
        return {**found, **self._update(optimizer, gradients)}

    def _run_add(self, model: Any, loss: Any, sums: Any, inputs: Any, targets: Any) -> Any:
        value, weight, predictions, gradients = self._gradients(model, loss, inputs, targets)
        _add_weighted(sums, gradients, value, weight)
        norm = optim.global_norm(gradients)
        found = {"loss": value, "weight": weight, "predictions": predictions}
        return {**found, "gradient_norm": norm}

    def _run_last(
        self, model: Any, loss: Any, sums: Any, optimizer: Any, inputs: Any, targets: Any
    ) -> Any:
        value, weight, predictions, gradients = self._gradients(model, loss, inputs, targets)
        _add_weighted(sums, gradients, value, weight)
        total = sums.weight.read()
        total = np.where(total > 0, total, 1.0)
        mean = Gradients(
            {n: (c.read() / total.astype(c.dtype)) for n, c in sums.sums.items()}, gradients.cells
        )
        found = {"loss": value, "weight": weight, "predictions": predictions}
        found["mean_loss"] = sums.loss.read() / total
        found.update(self._update(optimizer, mean))
        for cell in sums.__backpass_cells__().values():
            cell.write(np.zeros(cell.shape, cell.dtype))
        return found

    def _update(self, optimizer: Any, gradients: Gradients) -> dict[str, Any]:
        """Clip, update, and say what happened."""
        norm = optim.global_norm(gradients)
        clipped: Any = gradients
        if self.clip_value is not None:
            clipped = optim.clip_grad_value(clipped, self.clip_value)
        if self.clip_norm is not None:
            clipped, _ = optim.clip_grad_norm(clipped, self.clip_norm)
        before = {n: c.read() for n, c in self.parameters.items()} if self.flow else {}
        if self.flow and not self.jitted:
            before = {n: np.array(x) for n, x in before.items()}
        optimizer.step(clipped)
        found: dict[str, Any] = {"gradient_norm": norm}
        if self.flow:
            found["flow"] = self._flow(gradients, before)
        return found

    def _flow(self, gradients: Gradients, before: Mapping[str, Any]) -> dict[str, Any]:
        added = [c.read() - before[n] for n, c in self.parameters.items()]
        return {
            "gradient_norms": [_norm(gradients[n]) for n in self.parameters],
            "update_norms": [_norm(x) for x in added],
            "weight_norms": [_norm(before[n]) for n in self.parameters],
            "alive": [_alive_rows(gradients[n]) for n in self.parameters],
        }


def _add_weighted(sums: Accumulator, gradients: Gradients, value: Any, weight: Any) -> None:
    for name, cell in sums.sums.items():
        cell.write(cell.read() + gradients[name] * weight.astype(cell.dtype))
    sums.weight.write(sums.weight.read() + weight)
    sums.loss.write(sums.loss.read() + value.astype(np.float64) * weight)


def _norm(x: Any) -> Any:
    return np.sqrt(np.sum(x * x))


def _alive_rows(g: Any) -> Any:
    """(rows,) bool: whether a row along axis 0 holds anything but zeros."""
    nonzero = g != 0
    return nonzero.reshape(nonzero.shape[0], -1).any(axis=1) if nonzero.ndim else nonzero.reshape(1)


def _cells_of(arguments: tuple[Any, ...]) -> list[Cell]:
    found: dict[Cell, None] = {}
    for x in arguments:
        if isinstance(x, Stateful):
            found.update(dict.fromkeys(x.__backpass_cells__().values()))
    return list(found)


def _guarded(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Keep every Cell as it was unless loss and gradient are finite; adds `finite` to what the step
    gives.
    """

    def guarded(*arguments: Any) -> dict[str, Any]:
        cells = _cells_of(arguments)
        before = [cell.read() for cell in cells]
        found = function(*arguments)
        finite = np.isfinite(found["loss"]) & np.isfinite(found["gradient_norm"])
        for cell, old in zip(cells, before, strict=True):
            new = cell.read()
            if new is not old:
                cell.write(np.where(finite, new, old))
        # loss and gradient norm first: the diagnosis of a bad step finds them by their place
        first = {"loss": found["loss"], "gradient_norm": found["gradient_norm"], "finite": finite}
        return {**first, **{name: x for name, x in found.items() if name not in first}}

    return guarded


def _restoring(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The same for an eager step, which writes in place: a copy is put back if need be."""

    def restoring(*arguments: Any) -> dict[str, Any]:
        cells = _cells_of(arguments)
        before = [np.array(cell.read()) for cell in cells]
        with np.errstate(all="ignore"):  # a bad step is reported as an error, not as a warning
            found = function(*arguments)
        if not found["finite"]:
            for cell, old in zip(cells, before, strict=True):
                cell.write(old)
        return found

    restoring.__wrapped__ = function
    return restoring


def _flow_sample(found: Any) -> FlowSample | None:
    if found is None:
        return None
    numbers = [
        np.array(found[k], dtype=np.float64)
        for k in ("gradient_norms", "update_norms", "weight_norms")
    ]
    alive = tuple([np.asarray(a) for a in found["alive"]])
    return FlowSample(numbers[0], numbers[1], numbers[2], alive)


__all__ = ["Accumulator", "TrainingStep"]
