"""What is missing or not finite: found, named by column, row and count, or dropped.

Nothing here repairs data; filling in is the Preprocessor's work, since the values to fill in come
from the training part alone.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from backpass.data.table import Column, Table
from backpass.errors import DataError
from backpass.sentence import Change, Sentence, Setting
from backpass.wording import count, quote

Missing = Literal["error", "impute", "drop"]

_MOST_COLUMNS_NAMED = 5
_BLOCK_BYTES = 64 * 2**20
WAY_OUT = Sentence(
    "Mend the data, or ",
    Change("missing", "impute"),
    " (fill in) or ",
    Setting("missing", "drop"),
    " (leave such rows out).",
)


def check_complete(table: Table) -> None:
    """Raise DataError if a cell is missing, NaN or infinite.

    The sentence names the column, the first row and the count, for up to five columns::

        people.csv: column 'age' has 2 missing values, the first in row 3 (line 4). Mend ...
    """
    bad = [column for column in table.every_column if column.missing.any()]
    if not bad:
        return
    parts = [_column_sentence(table, column) for column in bad[:_MOST_COLUMNS_NAMED]]
    if len(bad) > _MOST_COLUMNS_NAMED:
        parts.append(f"{count(len(bad) - _MOST_COLUMNS_NAMED, 'more column')} likewise")
    raise DataError(Sentence(f"{table.source}: {'; '.join(parts)}. ", WAY_OUT))


def _column_sentence(table: Table, column: Column) -> str:
    first = table.place(int(np.argmax(column.missing)))
    total = int(column.missing.sum())
    infinite = int(np.isinf(column.values).sum()) if column.is_number else 0
    role = "target column" if column is table.target else "column"
    if infinite == 0:
        what = count(total, "missing value")
    elif infinite == total:
        what = count(total, "infinite value")
    else:
        what = f"{count(total, 'missing or infinite value')} ({infinite:,} infinite)"
    return f"{role} {quote(column.name)} has {what}, the first in {first}"


def complete_rows(table: Table) -> np.ndarray:
    """(N,) bool: true where no cell of the row, target included, is missing or not finite."""
    complete = np.ones(len(table), dtype=bool)
    for column in table.every_column:
        complete &= ~column.missing
    return complete


def drop_missing(table: Table) -> Table:
    """The rows that are complete; DataError if none is."""
    complete = complete_rows(table)
    if not complete.any():
        worst = max(table.every_column, key=lambda column: int(column.missing.sum()))
        raise DataError(
            Sentence(
                f"{table.source}: no row is complete, so dropping what has missing values leaves "
                f"nothing. Column {quote(worst.name)} misses the most "
                f"({int(worst.missing.sum()):,} of {len(table):,}). Leave such columns out with ",
                Setting("ignore", (worst.name,)),
                ", or ",
                Change("missing", "impute"),
                ".",
            )
        )
    return table if complete.all() else table.take(complete)


def ready(table: Table, missing: Missing) -> Table:
    """`table` after the policy on missing values, short of filling in.

    "error" refuses them, "drop" leaves such rows out, "impute" the rows without a target.
    """
    if missing == "error":
        check_complete(table)
        return table
    if missing == "drop":
        return drop_missing(table)
    target = table.target
    if target is None or not target.missing.any():
        return table
    if target.missing.all():
        raise DataError(f"{table.source}: target column {quote(target.name)} holds no value.")
    return table.take(~target.missing)


def check_finite(values: np.ndarray, name: str = "x", columns: Sequence[str] | None = None) -> None:
    """Raise DataError if a floating-point array holds NaN or infinity.

    Args:
        values: (N, ...) any dtype; integers, bools and texts pass. A memory map is read in blocks.
        name: how the sentence calls the array.
        columns: the names of the columns of a two-dimensional array, where they have some.

    >>> import numpy as np
    >>> check_finite(np.array([[1.0, 2.0], [3.0, np.nan]]))
    Traceback (most recent call last):
    backpass.errors.DataError: x holds 1 value that is NaN or infinite, the first nan in row 2, \
column 1 (x[1, 1]). Mend the data, or leave out such rows: x[np.isfinite(x).all(axis=1)].
    """
    if values.dtype.kind not in "fc":
        return
    total, first = 0, None
    for start, block in row_blocks(values):
        bad = ~np.isfinite(block)
        total += int(bad.sum())
        if first is None and total:
            where = np.unravel_index(int(np.argmax(bad)), bad.shape)
            first = (start + int(where[0]), *(int(i) for i in where[1:])) if where else ()
    if first is None:
        return
    index = ", ".join(str(i) for i in first) or "()"
    row = f" in row {first[0] + 1}" if first else ""
    column = _column_words(first, columns)
    axes = "" if values.ndim < 2 else f".all(axis={_axes(values.ndim)})"
    raise DataError(
        f"{name} holds {count(total, 'value that is', 'values that are')} NaN or infinite, the "
        f"first {values[first]}{row}{column} ({name}[{index}]). Mend the data, or leave out such "
        f"rows: {name}[np.isfinite({name}){axes}]."
    )


def _axes(ndim: int) -> str:
    return "1" if ndim == 2 else str(tuple(range(1, ndim)))


def _column_words(first: tuple[int, ...], columns: Sequence[str] | None) -> str:
    if len(first) != 2:
        return ""
    return f", column {first[1] if columns is None else quote(columns[first[1]])}"


def row_blocks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces along axis 0 of at most 64 MiB as float64, each with the index of its first row."""
    if values.ndim == 0:
        yield 0, values
        return
    step = max(1, _BLOCK_BYTES // max(1, 8 * math.prod(values.shape[1:])))
    for start in range(0, len(values), step):
        yield start, values[start : start + step]
