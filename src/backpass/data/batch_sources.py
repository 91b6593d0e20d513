"""What a DataLoader can gather batches from: arrays in a tuple or mapping, or a data set.

Each kind checks what it is given once and then gathers the rows at given indices into new, native,
C-ordered arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backpass.data.streams import one_shot_name
from backpass.errors import DataError
from backpass.wording import count, quote


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
        _refuse_one_shot(item)
    if not data:
        raise DataError("A DataLoader needs data: arrays of one length, or a data set.")
    only, *others = data
    if others:
        return _of_arrays(data)
    if isinstance(only, Mapping):
        named = {str(name): _as_array(values, str(name)) for name, values in only.items()}
        _check_lengths(named)
        return NamedSource(named)
    if isinstance(only, tuple):
        return batch_source(only) if len(only) != 1 else _of_arrays(only)
    if _is_samples(only):
        return _of_samples(only)
    return _of_arrays(data)


def _refuse_one_shot(item: Any) -> None:
    once = one_shot_name(item)
    if once is not None:
        raise DataError(
            f"The data is a {once}, a one-shot iterator: it would be used up in epoch 1 and "
            "nothing would be left for epoch 2, and it cannot be shuffled. Pass arrays or a list "
            "(list(...)), or wrap ready-made batches in BatchStream."
        )


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
    named = {name: _as_array(value, name) for name, value in zip(names, values, strict=True)}
    _check_lengths(named)
    return ArraySource(tuple(named.values()))


def _as_array(values: Any, name: str) -> np.ndarray:
    _refuse_one_shot(values)
    if np.ma.isMaskedArray(values):
        raise DataError(f"{name} is a masked array. Fill it: {name}.filled(value).")
    if type(values).__module__.startswith("scipy.sparse"):
        raise DataError(f"{name} is a sparse matrix. Pass {name}.toarray().")
    if isinstance(values, np.ndarray):
        return values
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"{name} cannot be made an array, since its rows differ in shape: {error} For several "
            "arrays, pass DataLoader(x, y) or a tuple."
        ) from error
    if array.dtype == object:
        raise DataError(
            f"{name} is a {type(values).__name__} that holds Python objects, not numbers."
        )
    return array


def _check_lengths(named: Mapping[str, np.ndarray]) -> None:
    if not named:
        raise DataError("The mapping holds no arrays.")
    for name, array in named.items():
        if array.ndim == 0:
            raise DataError(
                f"{name} is a single value; give an array of samples, (N, ...). Options are given "
                "by name: batch_size=32."
            )
    lengths = {name: len(array) for name, array in named.items()}
    if len(set(lengths.values())) > 1:
        said = " and ".join(f"{name} has {count(n, 'row')}" for name, n in lengths.items())
        raise DataError(f"{said}; they need the same number of rows.")
    if next(iter(lengths.values())) == 0:
        raise DataError(f"{', '.join(named)}: there are no rows.")


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
