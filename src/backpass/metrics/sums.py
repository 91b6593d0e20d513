"""Sums over a stream of batches: float64, bounded memory, rounding errors carried along.

A running sum is an array of shape (2, outputs): the sum, and what rounding took from it (Neumaier,
"Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", ZAMM 54, 1974). Its
error is a few units in the last place, whatever the number of batches, so that a stream agrees with
one pass over the whole data.
"""

import numpy as np

from backpass.errors import MetricError


def nothing(outputs: int = 0) -> np.ndarray:
    """A running sum of no samples, shape (2, outputs)."""
    return np.zeros((2, outputs))


def add_rows(running: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The running sum (2, outputs) with the rows (n, outputs) added to it, as a new array."""
    # NumPy sums pairwise along a contiguous axis only.
    batch = np.sum(np.ascontiguousarray(rows.T), axis=1)
    total, lost = running
    with np.errstate(over="ignore", invalid="ignore"):
        new = total + batch
        big = np.abs(total) >= np.abs(batch)
        error = np.where(big, (total - new) + batch, (batch - new) + total)
    return np.stack([new, np.where(np.isfinite(new), lost + error, 0.0)])


def value(running: np.ndarray) -> np.ndarray:
    """The sums, shape (outputs,)."""
    return running[0] + running[1]


def fit_outputs(name: str, running: np.ndarray, outputs: int) -> np.ndarray:
    """`running`, made wide enough by the first batch;
    an error when a later batch has another width.
    """
    if running.shape[1] == 0:
        return nothing(outputs)
    if running.shape[1] != outputs:
        raise MetricError(
            f"{name}: a batch has {outputs} outputs, but those before it had {running.shape[1]}."
        )
    return running
