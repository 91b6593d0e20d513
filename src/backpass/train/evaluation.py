"""Forward passes without training: the loss and metrics of a data set, and predictions.

The mean loss is weighted by the samples of each batch, so it does not depend on the batch size but
by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from backpass.errors import DataError
from backpass.jit import jit
from backpass.metrics import Metric
from backpass.trace import Stateful
from backpass.train.batches import Batch, Batches, labels_explained
from backpass.train.loss_weight import aligned, batch_weight
from backpass.train.series import Ran, SeriesOf, until_boundary
from backpass.tree import tree_map


class Evaluator:
    """The compiled forward passes of one model and loss. The caller sets the model's mode.

    Args:
        model, loss: as in `Trainer`.
        compiled: whether to jit.
    """

    def __init__(self, model: Any, loss: Any, compiled: bool) -> None:
        self.model, self.loss = model, loss
        made: Callable[..., Any] = jit if compiled else _as_it_is
        self._forward = made(self._run)
        self._predict = made(self._predictions)
        self._series = SeriesOf(self._forward, self._arguments)
        self._predictions_series = SeriesOf(self._predict, lambda b: (self.model, b.inputs))

    def _run(self, model: Any, loss: Any, inputs: Any, targets: Any) -> tuple[Any, Any, Any]:
        of = self.loss if loss is None else loss
        predictions = model(*inputs)
        wanted = aligned(targets, predictions)
        return of(predictions, wanted), batch_weight(of, predictions, wanted), predictions

    @staticmethod
    def _predictions(model: Any, inputs: Any) -> Any:
        return model(*inputs)

    def _arguments(self, batch: Batch) -> tuple[Any, ...]:
        loss = self.loss if isinstance(self.loss, Stateful) else None
        return self.model, loss, batch.inputs, batch.targets

    def evaluate(
        self,
        batches: Batches,
        metrics: Sequence[Metric[Any]],
        epoch: int = 1,
        after_batch: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Loss and metrics over all batches of an epoch; the metrics are reset first."""
        for metric in metrics:
            metric.reset()
        total = weights = 0.0
        for values in self._batches(batches, metrics, epoch):
            for value, weight in values:
                if weight > 0:
                    total += value * weight
                    weights += weight
            if after_batch is not None:
                after_batch()
        found = {"loss": total / weights if weights else math.nan}
        return {**found, **compute_metrics(metrics)}

    def _batches(
        self, batches: Batches, metrics: Sequence[Metric[Any]], epoch: int
    ) -> Iterator[list[tuple[float, float]]]:
        """Run all batches, whole ones many at a time if they are small; loss and weight of each."""
        done = 0
        for ran in _whole_batches(self._series, batches, epoch):
            done += ran.count
            values, counts, predictions = ran.outputs
            update_metrics_of_series(metrics, ran, predictions)
            yield list(zip(values.tolist(), counts.tolist(), strict=True))[: ran.count]
        forward = _eager(self._run) if done else self._forward
        for batch in batches.batches(epoch, done):
            with labels_explained(batch):
                value, weight, predictions = forward(*self._arguments(batch))
            update_metrics(metrics, predictions, batch.targets)
            yield [(float(value), float(weight))]

    def predict(self, batches: Batches) -> Any:
        """What the model gives for all batches, put together."""
        parts: list[Any] = []
        done = 0
        for ran in _whole_batches(self._predictions_series, batches, 1):
            done += ran.count
            parts.append(
                tree_map(lambda x, n=ran.count: x[:n].reshape(-1, *x.shape[2:]), ran.outputs)
            )
        predict = _eager(self._predictions) if done else self._predict
        parts += [predict(self.model, batch.inputs) for batch in batches.batches(1, done)]
        if not parts:
            raise DataError("there are no rows to predict.")
        return tree_map(lambda *arrays: np.concatenate(arrays), *parts)


def _whole_batches(series: SeriesOf, batches: Batches, epoch: int) -> Iterator[Ran]:
    """The whole batches of an epoch in native calls of many, if they are small, up to one that
    fails.
    """
    rows = batches.rows(epoch)
    at_most = series.at_most(rows)
    done = 0
    while rows is not None and at_most > 1 and done < len(rows.order):
        ran = series.run(rows, done, until_boundary(done, len(rows.order), at_most))
        if not ran.count:
            return
        done += ran.count
        yield ran


def _eager(function: Callable[..., Any]) -> Callable[..., Any]:
    """For the last batch, which is smaller, of a model whose steps are so small that compiling for
    its size would take longer than all of them.
    """

    def run(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arguments)

    return run


def update_metrics(metrics: Sequence[Metric[Any]], predictions: Any, targets: Any) -> None:
    """One batch into each metric; nothing is updated by predictions that are not finite."""
    if metrics and np.all(np.isfinite(predictions)):
        for metric in metrics:
            metric.update(predictions, targets)


def update_metrics_of_series(metrics: Sequence[Metric[Any]], ran: Ran, predictions: Any) -> None:
    """The batches of a series into each metric, at once if all is finite."""
    if not metrics or not ran.count:
        return
    found = predictions[: ran.count]
    if np.all(np.isfinite(found)):
        update_metrics(metrics, found.reshape(-1, *found.shape[2:]), ran.targets)
        return
    for one, targets in zip(found, np.split(ran.targets, ran.count), strict=True):
        update_metrics(metrics, one, targets)


def compute_metrics(metrics: Sequence[Metric[Any]]) -> dict[str, float]:
    """The value of each metric that is one number."""
    return {metric.name: float(metric.compute()) for metric in metrics if metric.scalar}


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


__all__ = ["Evaluator", "compute_metrics", "update_metrics", "update_metrics_of_series"]
