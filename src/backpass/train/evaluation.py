"""Forward passes without training: the loss and metrics of a data set, and predictions.

The mean loss is weighted by the samples of each batch, so it does not depend on the batch size but
by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.errors import DataError
from backpass.jit import jit
from backpass.metrics import Metric
from backpass.trace import Stateful
from backpass.train.batches import Batches, labels_explained
from backpass.train.loss_weight import aligned, batch_weight
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
        self._predict = made(lambda model, inputs: model(*inputs))

    def _run(self, model: Any, loss: Any, inputs: Any, targets: Any) -> tuple[Any, Any, Any]:
        of = self.loss if loss is None else loss
        predictions = model(*inputs)
        wanted = aligned(targets, predictions)
        return of(predictions, wanted), batch_weight(of, predictions, wanted), predictions

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
        loss = self.loss if isinstance(self.loss, Stateful) else None
        total = weights = 0.0
        for batch in batches.batches(epoch):
            with labels_explained(batch):
                value, weight, predictions = self._forward(
                    self.model, loss, batch.inputs, batch.targets
                )
            if float(weight) > 0:
                total += float(value) * float(weight)
                weights += float(weight)
            update_metrics(metrics, predictions, batch.targets)
            if after_batch is not None:
                after_batch()
        found = {"loss": total / weights if weights else math.nan}
        return {**found, **compute_metrics(metrics)}

    def predict(self, batches: Batches) -> Any:
        """What the model gives for all batches, put together."""
        parts = [self._predict(self.model, b.inputs) for b in batches.batches(1)]
        if not parts:
            raise DataError("there are no rows to predict.")
        return tree_map(lambda *arrays: np.concatenate(arrays), *parts)


def update_metrics(metrics: Sequence[Metric[Any]], predictions: Any, targets: Any) -> None:
    """One batch into each metric; nothing is updated by predictions that are not finite."""
    if metrics and np.all(np.isfinite(predictions)):
        for metric in metrics:
            metric.update(predictions, targets)


def compute_metrics(metrics: Sequence[Metric[Any]]) -> dict[str, float]:
    """The value of each metric that is one number."""
    return {metric.name: float(metric.compute()) for metric in metrics if metric.scalar}


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


__all__ = ["Evaluator", "compute_metrics", "update_metrics"]
