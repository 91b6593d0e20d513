"""pandas and polars frames, and Parquet files, as Tables.

A frame says the type of each column, so nothing is guessed: numbers stay numbers, texts,
categories and bools become categories, nulls become missing. Dates, lists and nested columns are
refused by name. Neither library is imported unless the user already did, or asks for Parquet.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.cells import typed_column
from backpass.data.table import Column, Table, table_of
from backpass.errors import DataError
from backpass.sentence import Sentence, Setting
from backpass.wording import optional_package, quote, quote_list


def is_frame(source: object) -> bool:
    """Whether `source` is a DataFrame (or LazyFrame) of pandas or polars."""
    return _of(source, "pandas", "DataFrame") or _of(source, "polars", "DataFrame", "LazyFrame")


def is_series(source: object) -> bool:
    """Whether `source` is a Series of pandas or polars."""
    return _of(source, "pandas", "Series") or _of(source, "polars", "Series")


def _of(source: object, package: str, *names: str) -> bool:
    module = sys.modules.get(package)
    types = tuple(getattr(module, name) for name in names if hasattr(module, name))
    return module is not None and isinstance(source, types)


def table_of_frame(frame: Any, source: str) -> Table:
    """Every column of a pandas or polars frame as a feature."""
    if type(frame).__module__.startswith("polars"):
        eager = frame.collect() if hasattr(frame, "collect") else frame
        columns = [_polars_column(series) for series in eager.get_columns()]
        return table_of(columns, source)
    names, notes = _unique([str(name) for name in frame.columns])
    columns = [_pandas_column(name, frame.iloc[:, i]) for i, name in enumerate(names)]
    return table_of(columns, source, notes=notes)


def column_of_series(series: Any, name: str) -> Column:
    """A pandas or polars Series as a Column, under its own name or else `name`."""
    own = name if series.name is None or series.name == "" else str(series.name)
    if type(series).__module__.startswith("polars"):
        return _polars_column(series.rename(own))
    return _pandas_column(own, series)


def read_parquet(path: Path) -> Table:
    """The Table of a Parquet file, through polars.

    Cut and most damaged files give a DataError. One that is damaged on purpose can stop the process
    inside polars, which this reader cannot prevent: take data from strangers as text.
    """
    polars = optional_package("polars", "polars", "Reading a Parquet file")
    try:
        # read from bytes: polars then never expands characters such as * and [ in the path
        frame = polars.read_parquet(path.read_bytes())
    except (
        polars.exceptions.PolarsError,
        # how polars meets some damaged files; it is no subclass of Exception
        polars.exceptions.PanicException,
        OSError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path.name} cannot be read as Parquet: {reason}.") from error
    return table_of_frame(frame, path.name)


def _unique(names: Sequence[str]) -> tuple[list[str], list[str]]:
    unique: list[str] = []
    for name in names:
        fresh, number = name, 2
        while fresh in unique or (fresh != name and fresh in names):
            fresh, number = f"{name}_{number}", number + 1
        unique.append(fresh)
    renamed = [new for new, old in zip(unique, names, strict=True) if new != old]
    notes = [f"Columns with a name that was taken are called {quote_list(renamed)}."]
    return unique, notes if renamed else []


def _refused(name: str, dtype: object) -> DataError:
    return DataError(
        Sentence(
            f"column {quote(name)} has type {dtype}, which is neither numbers nor texts. Turn it "
            "into one of them, or leave it out with ",
            Setting("ignore", (name,)),
            ".",
        )
    )


def _polars_column(series: Any) -> Column:
    polars = optional_package("polars", "polars", "Reading a polars frame")
    dtype, name = series.dtype, series.name
    if dtype.is_numeric():
        floats = series.cast(polars.Float64).fill_null(float("nan")).to_numpy()
        return Column.numbers(name, floats, whole=dtype.is_integer())
    if dtype == polars.Null:
        return Column.numbers(name, np.full(len(series), np.nan))
    if dtype == polars.Boolean:
        return typed_column(name, series.to_list())
    if dtype in (polars.String, polars.Categorical, polars.Enum):
        return Column.texts(name, series.cast(polars.String).to_list())
    raise _refused(name, dtype)


def _pandas_column(name: str, series: Any) -> Column:
    missing = series.isna().to_numpy()
    kind = getattr(series.dtype, "kind", "O")
    if str(series.dtype) == "category":
        values = series.astype(object).to_numpy()
        return typed_column(
            name, [None if m else str(v) for v, m in zip(values, missing, strict=True)]
        )
    if kind in "iuf":
        floats = series.to_numpy(dtype=np.float64, na_value=np.nan)
        # pandas stores integers with gaps as floats
        gaps = bool(missing.any()) and _all_whole(floats[~missing])
        return Column.numbers(name, floats, whole=kind in "iu" or gaps)
    if kind not in "bOU":
        raise _refused(name, series.dtype)
    values = series.to_numpy(dtype=object)
    return typed_column(name, [None if m else v for v, m in zip(values, missing, strict=True)])


def _all_whole(values: np.ndarray) -> bool:
    return bool(len(values) and np.all(np.isfinite(values)) and np.all(values == np.trunc(values)))
