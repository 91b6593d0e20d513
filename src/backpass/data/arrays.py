"""NumPy arrays, and .npy and .npz files, as Tables.

An array of samples becomes one column of numbers per entry of a sample; images are flattened and
their shape is kept as `sample_shape`. Files are never unpickled: an array of Python objects in a
file is refused, and so is a header whose size the file does not hold.
"""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from backpass.data.cells import typed_column
from backpass.data.table import Column, Table, table_of
from backpass.errors import DataError, DataTooLargeError
from backpass.wording import count, quote, quote_list, size

MOST_FILE_BYTES = 4 * 2**30
MOST_TABLE_BYTES = 8 * 2**30
# what zipfile raises for damage, unknown compression and encryption
_ARCHIVE_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
# what NumPy's parser of headers, which uses Python's, raises for damage
_HEADER_FAULTS = (
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)
PAIRS = (
    ("x", "y"),
    ("features", "target"),
    ("features", "targets"),
    ("features", "labels"),
    ("images", "labels"),
    ("data", "target"),
    ("data", "labels"),
    ("x_train", "y_train"),
)


def column_of_array(name: str, values: np.ndarray) -> Column:
    """A one-dimensional array of any plain dtype as a Column.

    Integers and floats are numbers, bools the categories `false` and `true`, texts categories;
    NaN, None and the empty text are missing. Dates, complex numbers and bytes are refused.
    """
    kind = values.dtype.kind
    if np.ma.isMaskedArray(values):
        masked = np.ma.getmaskarray(values)
        objects = np.ma.getdata(values).astype(object)
        objects[masked] = None
        return typed_column(name, objects.tolist())
    if kind in "iu":
        if values.size and max(abs(int(values.min())), abs(int(values.max()))) >= 2**53:
            return Column.texts(name, [str(value) for value in values.tolist()])
        return Column.numbers(name, values, whole=True)
    if kind == "f":
        return Column.numbers(name, values)
    if kind == "b":
        return Column.texts(name, ["true" if value else "false" for value in values])
    if kind in "UT":
        return Column.texts(name, [str(value) for value in values])
    if kind == "O":
        return typed_column(name, values.tolist())
    raise DataError(
        f"column {quote(name)} has dtype {values.dtype}, which is neither numbers nor texts. "
        "Turn it into one of them, or leave the column out."
    )


def table_of_arrays(
    x: np.ndarray,
    y: np.ndarray | None,
    source: str,
    *,
    names: Sequence[str] | None = None,
    target_name: str = "target",
    notes: Sequence[str] = (),
) -> Table:
    """Samples `x` (N, ...) and, if given, one target each, `y` (N,) or (N, 1), as a Table."""
    if x.ndim == 0:
        raise DataError(f"{source}: x is a single number; give an array of samples, (N, features).")
    if y is not None and y.ndim == 0:
        raise DataError(f"{source}: y is a single value; give one target per sample, (N,).")
    if y is not None and len(x) != len(y):
        raise DataError(
            f"{source}: x has {count(len(x), 'row')} and y has {count(len(y), 'row')}; "
            "they need one y for each row of x."
        )
    if x.dtype.names is not None:
        columns = [column_of_array(name, x[name]) for name in x.dtype.names]
        return table_of(columns, source, target=target_column(y, source, target_name), notes=notes)
    shape = x.shape[1:]
    width = math.prod(shape)
    if len(x) * width * 8 > MOST_TABLE_BYTES:
        raise DataTooLargeError(
            f"{source}: {len(x):,} rows x {width:,} columns take {size(len(x) * width * 8)} as a "
            f"table (float64); the cap is {size(MOST_TABLE_BYTES)}. Batches of a memory map need "
            'no table: DataLoader(np.load("x.npy", mmap_mode="r"), y).'
        )
    said = list(notes)
    if len(shape) > 1:
        said.append(f"Samples of shape {' x '.join(map(str, shape))} are {width:,} columns each.")
    columns = _columns(x.reshape(len(x), width), names)
    return table_of(
        columns,
        source,
        target=target_column(y, source, target_name),
        sample_shape=shape if len(shape) > 1 else None,
        notes=said,
    )


def _columns(flat: np.ndarray, names: Sequence[str] | None) -> list[Column]:
    known = [f"x{i}" for i in range(flat.shape[1])] if names is None else list(names)
    if flat.dtype.kind not in "biuf" or np.ma.isMaskedArray(flat):
        return [column_of_array(name, flat[:, i]) for i, name in enumerate(known)]
    # Fortran order: each column is contiguous, and all of them are views of one array.
    floats = np.asfortranarray(flat, dtype=np.float64)
    whole = flat.dtype.kind in "biu"
    return [Column.numbers(name, floats[:, i], whole=whole) for i, name in enumerate(known)]


def target_column(y: np.ndarray | None, source: str, name: str) -> Column | None:
    """The column of targets `y`, (N,) or (N, 1); None for None."""
    if y is None:
        return None
    if y.ndim > 1 and math.prod(y.shape[1:]) != 1:
        raise DataError(
            f"{source}: y has shape {y.shape}; the target must be one value per sample, (N,). "
            "For one-hot rows, pass y.argmax(axis=1)."
        )
    return column_of_array(name, y.reshape(len(y)))


def table_of_mapping(arrays: Mapping[str, np.ndarray], source: str) -> Table:
    """The x and y among named arrays: one of the usual pairs of names, or a single array."""
    by_name = {name.casefold(): name for name in arrays}
    for x_name, y_name in PAIRS:
        if x_name in by_name and y_name in by_name:
            x, y = arrays[by_name[x_name]], arrays[by_name[y_name]]
            left_out = [name for name in arrays if name.casefold() not in (x_name, y_name)]
            notes = [f"Not read: {quote_list(left_out)}."] if left_out else []
            return table_of_arrays(x, y, source, notes=notes)
    if len(arrays) == 1:
        return table_of_arrays(next(iter(arrays.values())), None, source)
    pairs = ", ".join(f"{x}/{y}" for x, y in PAIRS)
    raise DataError(
        f"{source} holds {quote_list(arrays) or 'nothing'}, and none of the pairs {pairs}. "
        "Save it with np.savez(path, x=..., y=...)."
    )


class _LazyArchive(Mapping[str, np.ndarray]):
    """The arrays of an .npz file, read one at a time when they are asked for."""

    def __init__(self, archive: zipfile.ZipFile, source: str) -> None:
        self._archive, self._source = archive, source
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in self._members:
                raise DataError(f"{source} holds two arrays called {quote(name)}; it is damaged.")
            self._members[name] = info

    def __getitem__(self, name: str) -> np.ndarray:
        info = self._members[name]
        with self._archive.open(info) as file:
            return _read_array(file, info.file_size, f"{self._source}: array {quote(name)}")

    def __iter__(self):  # noqa: ANN204 - the type follows from Mapping
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def read_npz(path: Path) -> Table:
    """The Table of an .npz archive (see `table_of_mapping` for the names of its arrays)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return table_of_mapping(_LazyArchive(archive, path.name), path.name)
    except _ARCHIVE_FAULTS as error:
        raise DataError(f"{path.name} is not a whole .npz archive: {error}.") from error


def read_npy(path: Path) -> Table:
    """The Table of an .npy file: samples without a target, or a structured array's fields."""
    with path.open("rb") as file:
        array = _read_array(file, path.stat().st_size, path.name)
    return table_of_arrays(array, None, path.name)


def _read_array(file: IO[bytes], file_size: int, source: str) -> np.ndarray:
    """One array in NumPy's format, whose header may not promise more than the file holds."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except _HEADER_FAULTS as error:
        raise DataError(f"{source} is not in NumPy's format: {str(error)[:200]}") from error
    if dtype.hasobject:
        raise DataError(
            f"{source} holds Python objects, which only unpickling could read, and unpickling runs "
            "code. Save numbers or texts: array.astype(float), or array.astype(str)."
        )
    if any(length < 0 for length in shape):
        raise DataError(f"{source} is damaged: its header gives it the shape {shape}.")
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > MOST_FILE_BYTES:
        raise DataTooLargeError(
            f"{source} takes {size(n_bytes)}; the cap is {size(MOST_FILE_BYTES)}. Batches of a "
            'memory map need not fit: DataLoader(np.load("x.npy", mmap_mode="r"), y).'
        )
    if n_bytes > file_size:
        raise DataError(
            f"{source} is cut short or damaged: its header says {size(n_bytes)} of values and the "
            f"file has {size(file_size)}."
        )
    content = file.read(n_bytes)
    if len(content) != n_bytes:
        raise DataError(f"{source} is cut short: {len(content):,} of {n_bytes:,} bytes are there.")
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C")
