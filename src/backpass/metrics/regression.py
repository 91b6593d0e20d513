"""Mean squared error, mean absolute error, root mean squared error and R2, from sums alone.

For several outputs a metric is computed output by output and then averaged, as scikit-learn's
`multioutput="uniform_average"` does. The sums are in `sums`.
"""

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from backpass.metrics import sums
from backpass.metrics.inputs import value_batch
from backpass.metrics.metric import Metric


class _MeanError(Metric[float]):
    """The weighted mean of an error of each value:
    state is one sum per output and the sum of the weights.
    """

    higher_is_better: bool | None = False

    def initial_state(self) -> dict[str, np.ndarray]:
        return {"error": sums.nothing(), "weight": sums.nothing(1)}

    @abstractmethod
    def _error(self, difference: np.ndarray) -> np.ndarray:
        """The error of each value, from predictions minus targets."""

    def update(
        self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        """Take one batch of values; see `Metric.update`."""
        batch = value_batch(self.name, predictions, targets, weights)
        if not batch.targets.size:
            return
        running = sums.fit_outputs(self.name, self._state["error"], batch.targets.shape[1])
        weight = batch.weights[:, None]
        with np.errstate(over="ignore"):
            error = self._error(batch.predictions - batch.targets) * weight
        self._state["error"] = sums.add_rows(running, error)
        self._state["weight"] = sums.add_rows(self._state["weight"], weight)

    def _means(self) -> np.ndarray | None:
        """The mean error of each output; None without samples."""
        weight = sums.value(self._state["weight"])[0]
        self.note = None
        return sums.value(self._state["error"]) / weight if weight > 0 else None

    def compute(self) -> float:
        """The mean error, averaged over outputs."""
        means = self._means()
        return self._empty() if means is None else float(np.mean(means))


class MSE(_MeanError):
    """Mean squared error: mean((prediction - target)^2), in squared units of the target.

    >>> mse = MSE()
    >>> mse.update([1.0, 2.0, 4.0], [1.0, 2.0, 2.0])
    >>> round(mse.compute(), 4)
    1.3333
    """

    name = "mse"
    display_name = "MSE"

    def _error(self, difference: np.ndarray) -> np.ndarray:
        return difference * difference


class MAE(_MeanError):
    """Mean absolute error: mean(|prediction - target|), in units of the target.

    >>> mae = MAE()
    >>> mae.update([1.0, 2.0, 5.0], [1.0, 2.0, 2.0])
    >>> mae.compute()
    1.0
    """

    name = "mae"
    display_name = "MAE"

    def _error(self, difference: np.ndarray) -> np.ndarray:
        return np.abs(difference)


class RMSE(MSE):
    """Root mean squared error: sqrt(mean((prediction - target)^2)), in units of the target.

    >>> rmse = RMSE()
    >>> rmse.update([1.0, 2.0], [4.0, 5.0])
    >>> rmse.compute()
    3.0
    """

    name = "rmse"
    display_name = "RMSE"

    def compute(self) -> float:
        """The root of each output's mean squared error, averaged over outputs."""
        means = self._means()
        return self._empty() if means is None else float(np.mean(np.sqrt(means)))


class R2(Metric[float]):
    """Coefficient of determination: 1 - sum((y - prediction)^2) / sum((y - mean(y))^2);
    1 is perfect.

    A constant target gives 1.0 where it is met exactly and 0.0 elsewhere, as in scikit-learn. The
    spread of y is merged batch by batch (Chan, Golub, LeVeque, "Updating formulae and a pairwise
    algorithm for computing sample variances", 1979), relative to the first target, so that a
    constant has a spread of exactly 0.

    >>> r2 = R2()
    >>> r2.update([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    >>> round(r2.compute(), 4)
    0.7857
    """

    name = "r2"
    display_name = "R²"
    higher_is_better: bool | None = True

    def initial_state(self) -> dict[str, np.ndarray]:
        return {
            "samples": np.zeros(1, np.int64),
            "weight": sums.nothing(1),
            "residual": sums.nothing(),
            "origin": np.zeros(0),
            "mean": np.zeros(0),
            "spread": sums.nothing(),
        }

    def update(
        self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        """Take one batch of values; see `Metric.update`."""
        batch = value_batch(self.name, predictions, targets, weights)
        if not batch.targets.size:
            return
        state, weight = self._state, batch.weights[:, None]
        running = sums.fit_outputs(self.name, state["residual"], batch.targets.shape[1])
        residual = weight * (batch.targets - batch.predictions) ** 2
        self._state = {
            **state,
            "samples": state["samples"] + len(batch.targets),
            "residual": sums.add_rows(running, residual),
        }
        if np.sum(weight) > 0:
            self._merge_spread(batch.targets, weight)

    def _merge_spread(self, targets: np.ndarray, weight: np.ndarray) -> None:
        """Merge the mean and the summed squared deviation of a batch into those so far."""
        state, outputs = self._state, targets.shape[1]
        origin = state["origin"] if state["origin"].size else targets[0].copy()
        mean = state["mean"] if state["mean"].size else np.zeros(outputs)
        spread = sums.fit_outputs(self.name, state["spread"], outputs)
        shifted = targets - origin
        before, new = sums.value(state["weight"])[0], float(np.sum(weight))
        batch_mean = np.sum(weight * shifted, axis=0) / new
        batch_spread = weight * (shifted - batch_mean) ** 2
        delta = batch_mean - mean
        between = delta**2 * (before * new / (before + new))
        self._state = {
            **state,
            "origin": origin,
            "mean": mean + delta * (new / (before + new)),
            "spread": sums.add_rows(sums.add_rows(spread, batch_spread), between[None]),
            "weight": sums.add_rows(state["weight"], weight),
        }

    def compute(self) -> float:
        """R2 of each output, averaged over outputs; nan for fewer than two samples."""
        self.note = None
        samples = int(self._state["samples"][0])
        if samples < 2 or not self._state["mean"].size:
            self.note = f"needs at least two samples with weight, but there are {samples}"
            return float("nan")
        residual, spread = sums.value(self._state["residual"]), sums.value(self._state["spread"])
        varies = spread > 0
        ratio = residual / np.where(varies, spread, 1.0)
        return float(np.mean(np.where(varies, 1.0 - ratio, np.where(residual == 0, 1.0, 0.0))))
