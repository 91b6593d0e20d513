"""The shape of every metric: reset, update batch by batch, compute.

A metric is plain state: a dictionary of named NumPy arrays, and nothing else changes while it runs.
So a checkpoint can hold it (`state_dict`), and a resumed run goes on with the same bits. Metrics
that are sums over samples hold sums only, whatever the number of batches (`likelihood`,
`regression`, `counts`); ranking metrics keep the scores (`ranking`). What `update` accepts is
stated once, in `inputs`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from backpass.errors import MetricError

Result = TypeVar("Result", covariant=True)


class Metric(ABC, Generic[Result]):
    """A number (or an array) that says how good predictions are, streamed over batches.

    Attributes:
        name: the key in histories and metrics.json, for example `"f1"`.
        display_name: the name that a person reads, for example `"F1"`.
        higher_is_better: the direction of improvement; None where there is none (the confusion
            matrix).
        scalar: whether `compute` returns one float, so that it can stand in a history.
        note: after `compute`, why the result is nan or what was left out of it; None where all is
            well.

    >>> from backpass import metrics
    >>> accuracy = metrics.get("accuracy")
    >>> accuracy.update([[2.0, -1.0], [0.5, 1.5]], [0, 1])
    >>> accuracy.update([[2.0, -1.0]], [1])
    >>> round(accuracy.compute(), 3)
    0.667
    """

    name: str
    display_name: str
    higher_is_better: bool | None
    scalar: bool = True
    note: str | None

    def __init__(self) -> None:
        """Start without samples."""
        self._state: dict[str, np.ndarray] = {}
        self.note = None
        self.reset()

    @abstractmethod
    def initial_state(self) -> dict[str, np.ndarray]:
        """The arrays of a metric that has seen no sample."""

    @abstractmethod
    def update(
        self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        """Take one batch of n samples.

        Args:
            predictions: classification: logits of shape (n, classes), or (n,) or (n, 1) for two
                classes (probabilities with `from_logits=False`). Regression: values (n,) or (n,
                outputs).
            targets: classification: class numbers 0..classes-1, shape (n,) or (n, 1). Regression:
                values of the predictions' shape, where (n,) and (n, 1) are the same.
            weights: a weight for each sample, shape (n,) or (n, 1), at least 0; None weighs all
                alike.

        Raises:
            MetricError: shapes disagree, a prediction is NaN, or a class number is out of range.
        """

    @abstractmethod
    def compute(self) -> Result:
        """The metric of all samples since the last `reset`; nan, with a `note`,
        where it is undefined.
        """

    def reset(self) -> None:
        """Forget all samples."""
        self._state = self.initial_state()
        self.note = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of the state: a few named arrays, to be saved in a checkpoint."""
        return {key: value.copy() for key, value in self._state.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the state that `state_dict` gave, with the same bits.

        Raises:
            MetricError: the keys are not those of this metric, or an array has another number of
                axes.
        """
        expected = self.initial_state()
        if state.keys() != expected.keys():
            raise MetricError(
                f"{self.name}: the state has the keys {sorted(state)}, expected "
                f"{sorted(expected)}. "
                f"Was it saved by another metric?"
            )
        loaded = {key: np.array(value) for key, value in state.items()}
        for key, value in loaded.items():
            if value.ndim != expected[key].ndim:
                raise MetricError(
                    f"{self.name}: state {key!r} has shape {value.shape}, expected "
                    f"{expected[key].ndim} axes. Was it saved by another metric?"
                )
        self._state = loaded
        self.note = None

    def __repr__(self) -> str:
        """For example `<backpass metric f1>`."""
        return f"<backpass metric {self.name}>"

    def _empty(self) -> float:
        """The result without samples: nan, and the reason."""
        self.note = "no samples with weight"
        return float("nan")
