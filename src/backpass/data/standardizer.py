"""x' = (x - mean) / std, fitted in float64 and accurate for any finite data.

Mean and standard deviation are those of the whole population (divided by N). Two passes: the
deviations from a first mean correct it and give the variance (Chan, Golub and LeVeque, "Algorithms
for computing the sample variance", 1983), so data like 1e9 + small noise lose nothing. The data are
scaled by their largest deviation, so squares neither overflow nor vanish. A constant column gets
its own value as mean, and std 1: it becomes zero and nothing is divided by zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backpass.data.missing import check_finite, row_blocks
from backpass.data.table import read_only
from backpass.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Standardizer:
    """Mean and standard deviation of each entry of a sample.

    Attributes:
        mean: float64, the shape of one sample.
        std: float64, the shape of one sample; 1 where the data are constant, and never 0.

    >>> import numpy as np
    >>> x = np.array([[1.0, 7.0], [3.0, 7.0]])
    >>> standardizer = Standardizer.fit(x)
    >>> standardizer.transform(x)
    array([[-1.,  0.],
           [ 1.,  0.]])
    >>> standardizer.inverse_transform(standardizer.transform(x))
    array([[1., 7.],
           [3., 7.]])
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, *, name: str = "x") -> "Standardizer":
        """Measure `x` (N, ...) over axis 0; N at least 1, any real dtype, memory maps too.

        Raises:
            DataError: no rows, not numbers, or NaN or infinity in `x` (which `name` calls it).
        """
        x = _numbers(x, name)
        if x.ndim == 0 or len(x) == 0:
            raise DataError(f"{name} has shape {x.shape}: there are no rows to measure.")
        check_finite(x, name)
        mean, std = _mean_and_std(x)
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise DataError(f"{name} spans more than float64 holds (about 1.8e308). Rescale it.")
        return cls(read_only(np.asarray(mean)), read_only(np.asarray(std)))

    def transform(self, x: np.ndarray) -> np.ndarray:
        """(x - mean) / std, a new array: float32 for float32 and float16, else float64."""
        return self._fitting(x, lambda block: (block - self.mean) / self.std)

    def inverse_transform(self, x: np.ndarray) -> np.ndarray:
        """x * std + mean, a new array: float32 for float32 and float16, else float64."""
        return self._fitting(x, lambda block: block * self.std + self.mean)

    def _fitting(self, x: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        x = _numbers(x, "x")
        if x.shape[1:] != self.mean.shape or x.ndim == 0:
            raise DataError(
                f"x has shape {x.shape}; this Standardizer was fitted on samples of shape "
                f"{self.mean.shape}, so x must be (N, {', '.join(map(str, self.mean.shape))})."
            )
        single = x.dtype.kind == "f" and x.dtype.itemsize <= 4
        out = np.empty(x.shape, dtype=np.float32 if single else np.float64)
        for start, block in row_blocks(x):
            out[start : start + len(block)] = change(block.astype(np.float64))
        return out


def _numbers(x: np.ndarray, name: str) -> np.ndarray:
    if np.ma.isMaskedArray(x):
        raise DataError(f"{name} is a masked array. Fill it: {name}.filled(value).")
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} has dtype {array.dtype}; standardising needs real numbers.")
    return array


def _mean_and_std(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Population mean and standard deviation over axis 0, in float64, block by block."""
    n = len(x)
    low = np.full(x.shape[1:], np.inf)
    high = np.full(x.shape[1:], -np.inf)
    total = np.zeros(x.shape[1:])
    for _, block in row_blocks(x):
        floats = block.astype(np.float64)
        low = np.minimum(low, floats.min(axis=0))
        high = np.maximum(high, floats.max(axis=0))
        total = total + (floats / n).sum(axis=0)
    constant = low == high
    mean = np.clip(total, low, high)
    with np.errstate(over="ignore", invalid="ignore"):
        reach = np.maximum(high - mean, mean - low)
        scale = np.where(reach > 0, reach, 1.0)
        first, second = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
        for _, block in row_blocks(x):
            deviation = (block.astype(np.float64) - mean) / scale
            first = first + deviation.sum(axis=0)
            second = second + np.square(deviation).sum(axis=0)
        shift = first / n
        variance = np.maximum(second / n - np.square(shift), 0.0)
        std = np.where(constant, 1.0, scale * np.sqrt(variance))
        mean = np.where(constant, low, mean + scale * shift)
    # a spread below the least number is no spread
    return mean, np.where(std == 0, 1.0, std)
