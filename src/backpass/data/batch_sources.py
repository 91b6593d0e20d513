"""What a DataLoader can gather batches from: arrays in a tuple or mapping, or a data set.

Each kind checks what it is given once and then gathers the rows at given indices into new, native,
C-ordered arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backpass.data.array_checks import as_array, check_lengths, refuse_one_shot
from backpass.errors import DataError
from backpass.wording import quote


class BatchSource(Protocol):
    """Rows that can be gathered by index."""

    @property
    def n_samples(self) -> int:
        """The number of rows."""
        ...

    @property
    def arrays(self) -> tuple[np.ndarray, ...] | Mapping[str, np.ndarray] | None:
        """The arrays themselves, if the source is made of arrays."""
        ...

    def gather(self, rows: np.ndarray) -> Any:
        """The batch of `rows` (k,) int64."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ArraySource:
    """A tuple of arrays of one length; its batches are tuples."""

    arrays: tuple[np.ndarray, ...]

    @property
    def n_samples(self) -> int:
        """The number of rows."""
        return len(self.arrays[0])

    def gather(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """One array per array."""
        return tuple(_gathered(array, rows) for array in self.arrays)


@dataclass(frozen=True, slots=True, eq=False)
class NamedSource:
    """A mapping of arrays of one length; its batches are dicts."""

    arrays: Mapping[str, np.ndarray]

    @property
    def n_samples(self) -> int:
        """The number of rows."""
        return len(next(iter(self.arrays.values())))

    def gather(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """One array per name."""
        return {name: _gathered(array, rows) for name, array in self.arrays.items()}


@dataclass(frozen=True, slots=True, eq=False)
class SampleSource:
    """A data set of samples (`__len__`, `__getitem__`), stacked into batches."""

    samples: Any
    arrays: None = None

    @property
    def n_samples(self) -> int:
        """The number of samples."""
        return len(self.samples)

    def gather(self, rows: np.ndarray) -> Any:
        """A dict for samples that are mappings, else a tuple."""
        samples = [self.samples[int(row)] for row in rows]
        first = samples[0]
        if isinstance(first, Mapping):
            return {name: _stacked([s[name] for s in samples], rows) for name in first}
        if isinstance(first, (tuple, list)):
            if any(len(sample) != len(first) for sample in samples):
                raise DataError(f"The samples of the data set have not all {len(first)} parts.")
            return tuple(_stacked([s[i] for s in samples], rows) for i in range(len(first)))
        return (_stacked(samples, rows),)


def batch_source(data: tuple[Any, ...]) -> BatchSource:
    """The source for what was passed to a DataLoader; DataError for what cannot be one."""
    for item in data:
        refuse_one_shot(item)
    if not data:
        raise DataError("A DataLoader needs data: arrays of one length, or a data set.")
    only, *others = data
    if others:
        return _of_arrays(data)
    if isinstance(only, Mapping):
        if not only:
            raise DataError("The mapping holds no arrays.")
        named = {str(name): as_array(values, str(name)) for name, values in only.items()}
        check_lengths(named)
        return NamedSource(named)
    if isinstance(only, tuple):
        return batch_source(only) if len(only) != 1 else _of_arrays(only)
    if _is_samples(only):
        return _of_samples(only)
    return _of_arrays(data)


def _is_samples(item: Any) -> bool:
    """A data set of samples, as opposed to an array or what NumPy turns into one."""
    if isinstance(item, list):
        return len(item) > 0 and isinstance(item[0], (tuple, Mapping))
    if isinstance(item, np.ndarray) or hasattr(item, "__array__"):
        return False
    return hasattr(item, "__len__") and hasattr(item, "__getitem__") and not isinstance(item, str)


def _of_samples(samples: Any) -> SampleSource:
    if len(samples) == 0:
        raise DataError("The data set has no samples.")
    return SampleSource(samples)


def _of_arrays(values: Sequence[Any]) -> ArraySource:
    usual = ("x", "y") if len(values) == 2 else tuple(f"array {i + 1}" for i in range(len(values)))
    names = ("x",) if len(values) == 1 else usual
    named = {name: as_array(value, name) for name, value in zip(names, values, strict=True)}
    check_lengths(named)
    return ArraySource(tuple(named.values()))


def _gathered(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows as a new array of the machine's byte order (never a view of the data)."""
    batch = np.asarray(array[rows])
    return batch if batch.dtype.isnative else batch.astype(batch.dtype.newbyteorder("="))


def _stacked(parts: list[Any], rows: np.ndarray) -> np.ndarray:
    arrays = [np.asarray(part) for part in parts]
    shape = arrays[0].shape
    for row, array in zip(rows, arrays, strict=True):
        if array.shape != shape:
            raise DataError(
                f"Samples of one batch differ in shape: {shape} in sample {int(rows[0])}, "
                f"{array.shape} in sample {int(row)}. Pad or crop them to one shape."
            )
        if array.dtype == object:
            raise DataError(
                f"Sample {int(row)} holds a {quote(type(parts[0]).__name__)}, which is no array of "
                "numbers."
            )
    return np.stack(arrays)
