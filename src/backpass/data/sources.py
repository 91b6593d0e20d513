"""`load`: whatever the user has (a name, a file, a frame, arrays) as a Table.

One function that looks at the source and hands it to the reader of its kind. Nothing is downloaded:
the embedded sets are those that scikit-learn ships. Adding a kind of file is a row in `_READERS`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.arrays import (
    column_of_array,
    read_npy,
    read_npz,
    table_of_arrays,
    table_of_mapping,
    target_column,
)
from backpass.data.cells import MISSING_VALUES, CellOptions
from backpass.data.frames import column_of_series, is_frame, is_series, read_parquet, table_of_frame
from backpass.data.preprocessor import Preprocessor
from backpass.data.streams import one_shot_name
from backpass.data.table import Column, Table, table_of
from backpass.data.text import TextOptions, read_text
from backpass.errors import DataError
from backpass.sentence import Sentence, Setting
from backpass.wording import closest, count, optional_package, quote, quote_path

EMBEDDED = {
    "digits": "load_digits",
    "breast-cancer": "load_breast_cancer",
    "wine": "load_wine",
    "iris": "load_iris",
    "diabetes": "load_diabetes",
}
_MOST_USUAL_CATEGORIES = 20
_TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".data", ".dat")
_READERS: dict[str, Callable[[Path], Table]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".parquet": read_parquet,
    ".pq": read_parquet,
}


def load(
    source: Any,
    target: str | None = None,
    *,
    ignore: Sequence[str] = (),
    categories: Sequence[str] = (),
    missing_values: Sequence[str] = MISSING_VALUES,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    decimal: str | None = None,
    like: Preprocessor | None = None,
) -> Table:
    """Read a data set into a Table.

    Args:
        source: the name of an embedded set (digits, breast-cancer, wine, iris, diabetes); the path
            of a .csv, .tsv, .txt, .parquet, .npy or .npz file; a pandas or polars frame; an array
            (N, ...); a pair (X, y); or a mapping that holds x and y, or columns (N,) by name with
            the target among them.
        target: the name of the column to predict. Embedded sets, pairs and mappings have theirs.
        ignore: the names of columns to leave out.
        categories: text files only: columns to keep as texts though they look like numbers.
        missing_values: text files only: the cells that mean "no value".
        encoding, delimiter, header, decimal: text files only; found out when None.
        like: text files only: the Preprocessor that the data are for. What was texts in training is
            read as texts.

    Returns:
        a Table; `table.notes` says what reading had to decide.

    Raises:
        DataError: the source cannot be read, or a named column is absent.
        MissingDependencyError: the source needs polars or scikit-learn and it is not installed.

    >>> table = load("iris")
    >>> len(table), table.names[0], table.target.categories()
    (150, 'sepal length (cm)', ('setosa', 'versicolor', 'virginica'))
    """
    if decimal not in (None, ".", ","):
        raise DataError(f'decimal is {quote(decimal)}; it must be "." or ",", or None to find out.')
    for option, value in (("ignore", ignore), ("categories", categories)):
        if isinstance(value, str):
            raise DataError(f"{option} is the text {quote(value)}; give a list: [{quote(value)}].")
    texts = (*categories, *(() if like is None else like.category_columns))
    booleans = () if like is None else like.boolean_columns
    if target is not None:
        target = str(target)  # frames without names have numbers: columns 0, 1, 2
    cells = CellOptions(tuple(missing_values), decimal, texts, booleans)
    table = _read(source, TextOptions(encoding, delimiter, header, cells), target)
    for name in categories:
        table.column(name)
    if target is not None:
        table = table.with_target(target)
    table = table.without(ignore)
    if not table.columns:
        raise DataError(f"{table.source} has no column besides the target: give some features.")
    notes = (*_identifier_notes(table), *_case_notes(table))
    return replace(table, notes=(*table.notes, *notes))


def mostly_different(column: Column) -> bool:
    """Whether a column of texts says who, and not of what kind: names, dates, identifiers."""
    present, distinct = len(column) - int(column.missing.sum()), len(column.categories())
    return distinct > _MOST_USUAL_CATEGORIES and 2 * distinct > present


def _case_notes(table: Table) -> list[str]:
    """A sentence on each column where one word is written in two ways, as hands write it."""
    notes = []
    for column in table.every_column:
        if column.is_number or mostly_different(column):
            continue
        spellings: dict[str, str] = {}
        for text in column.categories():
            first = spellings.setdefault(text.casefold(), text)
            if first != text:
                notes.append(
                    f"Column {quote(column.name)} has texts that differ only in case, such as "
                    f"{quote(first)} and {quote(text)}: they are taken as different."
                )
                break
    return notes


def _identifier_notes(table: Table) -> list[str]:
    """A sentence on each column of texts that are mostly different: names, dates, identifiers."""
    notes = []
    for column in table.columns:
        if column.is_number:
            continue
        if mostly_different(column):
            present, distinct = len(column) - int(column.missing.sum()), len(column.categories())
            notes.append(
                Sentence(
                    f"Column {quote(column.name)} has {distinct:,} different texts in {present:,} "
                    "rows: nothing can be learnt from most of them. Consider leaving it out with ",
                    Setting("ignore", (column.name,)),
                    ".",
                )
            )
    return notes


def _read(source: Any, options: TextOptions, target: str | None) -> Table:
    if isinstance(source, (str, os.PathLike)):
        return _read_named(os.fspath(source), options, target)
    if isinstance(source, Table):
        return source
    if is_frame(source):
        return table_of_frame(source, f"the {type(source).__module__.split('.')[0]} frame")
    if isinstance(source, tuple) and len(source) == 2:
        return _read_pair(*source)
    if isinstance(source, Mapping):
        return _read_mapping(source, target)
    if is_series(source):
        return table_of([column_of_series(source, "x0")], "the series")
    return table_of_arrays(_array(source, "x"), None, "the array")


def _read_mapping(source: Mapping[Any, Any], target: str | None) -> Table:
    """x and y by their usual names; or, where `target` names one of them, columns by name."""
    named = {str(name): _array(values, str(name)) for name, values in source.items()}
    if target not in named:
        return table_of_mapping(named, "the mapping")
    for name, array in named.items():
        if array.ndim != 1:
            raise DataError(
                f"{quote(name)} of the mapping has shape {array.shape}; columns by name, with one "
                "of them the target, are (N,) each. Give several columns as a pair (X, y)."
            )
    lengths = {name: len(array) for name, array in named.items()}
    if len(set(lengths.values())) > 1:
        said = " and ".join(f"{quote(name)} has {count(n, 'row')}" for name, n in lengths.items())
        raise DataError(f"{said}; the columns need the same number of rows.")
    columns = [column_of_array(name, array) for name, array in named.items()]
    return table_of(columns, "the mapping")


def _read_pair(x: Any, y: Any) -> Table:
    if is_series(y):
        target = column_of_series(y, "target")
    elif is_frame(y):
        target = _only_column(table_of_frame(y, "y"))
    else:
        target = None
    y_array = None if target is not None else _array(y, "y")
    if not is_frame(x):
        table = table_of_arrays(_array(x, "x"), y_array, "the arrays")
    else:
        table = table_of_frame(x, "the frame")
        if y_array is not None:
            target = target_column(y_array, "the frame", "target")
    if target is None:
        return table
    if len(target) != len(table):
        raise DataError(
            f"x has {count(len(table), 'row')} and y has {count(len(target), 'row')}; they need "
            "one y for each row of x."
        )
    return Table(
        table.columns, target, table.source, table.rows, None, table.sample_shape, table.notes
    )


def _only_column(table: Table) -> Column:
    if len(table.columns) != 1:
        raise DataError(f"y has {len(table.columns)} columns; the target must be one.")
    return table.columns[0]


def _array(values: Any, name: str) -> np.ndarray:
    once = one_shot_name(values)
    if once is not None:
        raise DataError(f"{name} is a {once}, which can be read only once. Pass list({name}).")
    if type(values).__module__.startswith("scipy.sparse"):
        raise DataError(
            f"{name} is a sparse matrix, which is not read here. Pass {name}.toarray()."
        )
    try:
        array = np.asanyarray(values)
    except ValueError as error:
        raise DataError(
            f"{name} cannot be made an array, since its rows differ in length or kind: {error}"
        ) from error
    if array.ndim == 0:
        raise DataError(
            f"{name} is a {type(values).__name__}, not data. Give a name, a path, a frame, arrays, "
            "a pair (X, y) or a mapping."
        )
    return array


def _read_named(name: str, options: TextOptions, target: str | None) -> Table:
    if name in EMBEDDED:
        return _read_embedded(name)
    path = Path(name)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise DataError(_absent(name, error)) from error
    if path.is_dir():
        raise DataError(f"{quote_path(name)} is a folder; give the path of one file in it.")
    suffix = path.suffix.lower()
    reader = _READERS.get(suffix)
    try:
        if reader is not None:
            return reader(path)
        if suffix in _TEXT_SUFFIXES or suffix == "":
            return read_text(path, options, target)
    except OSError as error:
        raise DataError(f"{quote_path(name)} cannot be read: {error.strerror or error}.") from error
    known = ", ".join((*_TEXT_SUFFIXES, *_READERS))
    raise DataError(
        f"{quote_path(path.name)} is of no kind that is read here. Kinds: {known}. A workbook can "
        "be saved as CSV."
    )


def _absent(name: str, error: Exception) -> str:
    if not isinstance(error, FileNotFoundError):
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return f"{quote_path(name)} cannot be read: {reason}."
    sets = ", ".join(EMBEDDED)
    near = closest(name, list(EMBEDDED))
    if near is not None and os.sep not in name and not Path(name).suffix:
        unknown = f"There is no file and no embedded set {quote_path(name)}."
        return f"{unknown} Did you mean {near}? ({sets})"
    parent = Path(name).parent
    if not parent.is_dir():
        return f"There is no folder {quote_path(parent)} and so no file {quote_path(name)}."
    near_file = closest(Path(name).name, sorted(os.listdir(parent))[:1000])
    hint = f" Did you mean {quote_path(parent / near_file)}?" if near_file is not None else ""
    return f"There is no file {quote_path(name)}.{hint} Embedded sets are: {sets}."


def _read_embedded(name: str) -> Table:
    datasets = optional_package("sklearn.datasets", "scikit-learn", f"The embedded set {name}")
    bunch = getattr(datasets, EMBEDDED[name])()
    if name == "digits":
        # the names that scikit-learn gives, pixel_0_0 to pixel_7_7; whole numbers from 0 to 16
        pixels = [str(feature) for feature in bunch.feature_names]
        table = table_of_arrays(bunch.data, bunch.target, name, names=pixels)
        return Table(table.columns, table.target, name, table.rows, None, (8, 8))
    y = bunch.target
    if name != "diabetes":
        y = np.asarray(bunch.target_names, dtype=str)[y]
    features = [str(feature) for feature in bunch.feature_names]
    return table_of_arrays(bunch.data, y, name, names=features)
