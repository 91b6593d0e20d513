"""From what a user passes as data to batches that can be read again for every epoch, from any batch
on.

Arrays and frames are checked (finite, one length), cast once to the model's floating dtype and put
into a `DataLoader`, whose order depends on (seed, epoch) alone. A batch is the model's inputs and
the targets: of a tuple the last entry is the targets, the others are the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backpass.data import BatchStream, DataLoader, check_finite
from backpass.data.array_checks import as_array, check_lengths
from backpass.data.frames import is_frame
from backpass.errors import DataError
from backpass.wording import count, quote


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The model's inputs, each (n, ...), and the targets (n, ...), None where there are none; n
    samples.
    """

    inputs: tuple[np.ndarray, ...]
    targets: Any
    samples: int


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The whole batches of an epoch as rows of tables, to be gathered where they are used.

    Attributes:
        tables: (N, ...) each: the inputs, and at last the targets if there are any; plain arrays as
            a model takes them.
        order: (batches, batch size) int64: the rows of each batch.
        labelled: whether the last table is the targets.
    """

    tables: tuple[np.ndarray, ...]
    order: np.ndarray
    labelled: bool

    @property
    def batch_size(self) -> int:
        """Samples in a batch."""
        return self.order.shape[1]

    def batch(self, number: int) -> Batch:
        """Batch `number`, counted from 0."""
        return self._batch([table[self.order[number]] for table in self.tables])

    def blank(self) -> Batch:
        """A batch of the right types, with anything in it."""
        size = self.batch_size
        return self._batch([np.empty((size, *t.shape[1:]), t.dtype) for t in self.tables])

    def _batch(self, arrays: list[np.ndarray]) -> Batch:
        targets = arrays.pop() if self.labelled else None
        return Batch(tuple(arrays), targets, self.batch_size)

    def targets(self, begin: int, count: int) -> Any:
        """(count * batch size, ...): the targets of batches from `begin` on; None without."""
        if not self.labelled:
            return None
        return self.tables[-1][self.order[begin : begin + count].ravel()]


@contextmanager
def labels_explained(batch: Batch) -> Iterator[None]:
    """Say the range of labels and indices where a compiled lookup, which knows no more than an
    axis, is out of bounds.
    """
    try:
        yield
    except IndexError as error:
        names = ["targets", *_input_names(len(batch.inputs))]
        ranges = [
            f"{name} hold {array.min()} to {array.max()}"
            for name, array in zip(names, (batch.targets, *batch.inputs), strict=True)
            if isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.size
        ]
        if not ranges:
            raise
        raise IndexError(
            f"{error}. In this batch {', '.join(ranges)}. Class labels must be 0 to classes - 1, "
            "with one output of the model for each class; indices of an Embedding 0 to "
            "num_embeddings - 1."
        ) from error


class Source(Protocol):
    """What gives the batches of an epoch: a DataLoader or a BatchStream."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch from number `start` on."""
        ...


class Batches:
    """Batches of one data set.

    Args:
        source: a DataLoader or BatchStream.
        name: what errors call the data.
        dtype: the floating dtype of the model.
        labelled: whether the last entry of a batch is the targets.
    """

    def __init__(
        self, source: Source, name: str, dtype: np.dtype[Any], labelled: bool = True
    ) -> None:
        self.source, self.name, self.dtype, self.labelled = source, name, dtype, labelled

    @property
    def count(self) -> int | None:
        """The number of batches in an epoch; None where it is not known before."""
        return len(self.source) if isinstance(self.source, DataLoader) else None

    def identity(self) -> dict[str, Any]:
        """What must be equal for a resumed run to see the same batches."""
        loader = self.source
        if not isinstance(loader, DataLoader):
            return {"kind": "stream"}
        return {
            "kind": "loader",
            "samples": loader.n_samples,
            "batch_size": loader.batch_size,
            "shuffle": loader.shuffle,
            "seed": loader.seed,
            "drop_last": loader.drop_last,
        }

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on."""
        for number, found in enumerate(self.source.batches(epoch, start), start + 1):
            yield self._batch(found, number)

    def rows(self, epoch: int) -> Rows | None:
        """The whole batches of an epoch as rows; None where they come in another way: from a
        stream, from a data set of samples, or through a cast.
        """
        loader = self.source
        if not isinstance(loader, DataLoader) or type(loader) is not DataLoader:
            return None  # who made a class below it may gather in another way
        arrays = loader.arrays
        if not isinstance(arrays, tuple) or len(arrays) < 1 + self.labelled:
            return None
        tables = tuple([np.asarray(a) for a in arrays])
        if not all([_is_ready(table, self.dtype) for table in tables]):
            return None
        size = loader.batch_size
        whole = loader.n_samples // size
        order = loader.indices(epoch)[: whole * size].reshape(whole, size)
        return Rows(tables, order, self.labelled)

    def marked(self, epoch: int, start: int, group: int) -> Iterator[tuple[Batch, bool]]:
        """Batches, and whether each completes a group of `group` or is the last of the epoch."""
        number = start
        waiting: Batch | None = None
        for batch in self.batches(epoch, start):
            if waiting is not None:
                number += 1
                yield waiting, number % group == 0
            waiting = batch
        if waiting is not None:
            yield waiting, True

    def _batch(self, found: Any, number: int) -> Batch:
        if isinstance(found, np.ndarray):
            found = (found,)
        if isinstance(found, Mapping) or not isinstance(found, Sequence):
            raise DataError(
                f"batch {number} of {self.name} is a {type(found).__name__}; a batch is a tuple of "
                "arrays, (x, y) or (x1, x2, ..., y)."
            )
        if len(found) < 1 + self.labelled:
            raise DataError(
                f"batch {number} of {self.name} has {count(len(found), 'part')}; it needs inputs "
                "and targets, (x, y)."
            )
        arrays = [to_dtype(as_numbers(a, f"batch {number}"), self.dtype) for a in found]
        lengths = {len(a) if a.ndim else -1 for a in arrays}
        if len(lengths) > 1 or min(lengths) < 1:
            shapes = " and ".join(str(a.shape) for a in arrays)
            raise DataError(
                f"batch {number} of {self.name} has parts of shapes {shapes}; each needs the same "
                "number of samples, at least one."
            )
        targets = arrays.pop() if self.labelled else None
        return Batch(tuple(arrays), targets, lengths.pop())


def batches_of(
    data: Any,
    name: str,
    dtype: np.dtype[Any],
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    drop_last: bool = False,
) -> Batches:
    """Labelled batches of what `Trainer.fit` takes as data.

    Raises:
        DataError: no samples, lengths that differ, NaN or infinity, a dtype that is no number.
    """
    if isinstance(data, DataLoader):
        _check_loader(data)
        return Batches(data, name, dtype)
    if isinstance(data, BatchStream):
        return Batches(data, name, dtype)
    if isinstance(data, Mapping):
        raise DataError(
            f"{name}: a mapping with {', '.join(map(quote, data))} was given; pass a tuple, (x, y)."
        )
    if _is_pair(data):
        arrays = _checked(data, [*_input_names(len(data) - 1), "y"], dtype)
        options = {"batch_size": batch_size, "shuffle": shuffle, "seed": seed}
        return Batches(DataLoader(*arrays, **options, drop_last=drop_last), name, dtype)
    if isinstance(data, np.ndarray) or is_frame(data):
        raise DataError(f"{name} has inputs but no targets: pass (x, y).")
    return Batches(BatchStream(data), name, dtype)


def inputs_of(data: Any, dtype: np.dtype[Any], batch_size: int) -> Batches:
    """Batches of inputs alone, in their order, for `Trainer.predict`.

    Raises:
        DataError: as `batches_of`.
    """
    if isinstance(data, (DataLoader, BatchStream)):
        return Batches(data, "the data", dtype, labelled=False)
    parts = data if isinstance(data, tuple) else (data,)
    arrays = _checked(parts, _input_names(len(parts)), dtype)
    return Batches(
        DataLoader(*arrays, batch_size=batch_size, shuffle=False), "the data", dtype, labelled=False
    )


def as_numbers(values: Any, name: str) -> np.ndarray:
    """A plain array of numbers from an array, a list, a frame or a series.

    Raises:
        DataError: it holds texts, objects, complex numbers, or is no array.
    """
    array = as_array(values, name)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} has dtype {array.dtype}, which is no plain number. Texts and categories "
            "become numbers with backpass.data.Preprocessor; lists of arrays of one shape with "
            "np.stack."
        )
    return array


def to_dtype(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Floats in the model's dtype, bools as int64, other integers as they are. What is cast is laid
    out by rows, as batches are gathered.
    """
    kind = array.dtype.kind
    if kind == "f" and array.dtype != dtype:
        return array.astype(dtype, order="C")
    if kind == "b":
        return array.astype(np.int64)
    return array


def _is_ready(table: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Whether rows of a table are what a batch holds, without a cast."""
    plain = table.flags.c_contiguous and table.flags.aligned and table.dtype.isnative
    return plain and table.dtype.kind in "iuf" and to_dtype(table, dtype) is table


def _is_pair(data: Any) -> bool:
    """A tuple or list of at least two arrays or frames, as opposed to a list of batches."""
    if not isinstance(data, (tuple, list)) or len(data) < 2:
        return False
    return isinstance(data, tuple) or not any(isinstance(entry, (tuple, list)) for entry in data)


def _input_names(number: int) -> list[str]:
    return ["x"] if number == 1 else [f"x{i + 1}" for i in range(number)]


def _checked(parts: Sequence[Any], names: Sequence[str], dtype: np.dtype[Any]) -> list[np.ndarray]:
    """The parts as arrays of one length, finite, in the model's dtype; memory maps stay as they
    are.
    """
    arrays = [as_numbers(part, name) for part, name in zip(parts, names, strict=True)]
    check_lengths(dict(zip(names, arrays, strict=True)))
    for part, array, name in zip(parts, arrays, names, strict=True):
        check_finite(array, name, _columns(part, array))
    return [a if isinstance(a, np.memmap) else to_dtype(a, dtype) for a in arrays]


def _columns(part: Any, array: np.ndarray) -> list[str] | None:
    """The column names of a frame."""
    return [str(c) for c in part.columns] if is_frame(part) and array.ndim == 2 else None


def _check_loader(loader: DataLoader) -> None:
    """NaN or infinity in the arrays behind a loader."""
    arrays = loader.arrays
    if arrays is None or isinstance(arrays, Mapping):
        return
    names = [*_input_names(max(len(arrays) - 1, 1)), "y"]
    for array, name in zip(arrays, names, strict=False):  # inputs alone have no y
        check_finite(array, name)


__all__ = [
    "Batch",
    "Batches",
    "Rows",
    "as_numbers",
    "batches_of",
    "inputs_of",
    "labels_explained",
    "to_dtype",
]
