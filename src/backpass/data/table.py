"""A table: named columns of numbers or of texts, each with a mask of what is missing.

Every source (file, frame, arrays) becomes a `Table`, and everything after it (checks, task
inference, preprocessing) reads only Tables. Invariants: all columns have one length; the arrays are
read-only; `rows` remembers where each row stood in the source, also after `take`, so that an error
about a part of a split still names the right row and line.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from backpass.errors import DataError
from backpass.wording import count, did_you_mean, quote


def read_only(values: np.ndarray) -> np.ndarray:
    """A view of `values` that refuses to be written."""
    view = values.view()
    view.flags.writeable = False
    return view


def number_label(value: float) -> str:
    """A number as a class label: `3` for 3.0, the shortest exact text for anything else."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One named column of N entries.

    Attributes:
        name: the name, as the source gives it (stripped, unique within its table).
        values: (N,) float64, or (N,) object array of `str` for categories; "" where missing.
        missing: (N,) bool. For numbers it is true at NaN and at plus or minus infinity.
        whole: the source wrote whole numbers (integers, or texts with no decimal point).
    """

    name: str
    values: np.ndarray
    missing: np.ndarray
    whole: bool = False

    @classmethod
    def numbers(cls, name: str, values: np.ndarray, *, whole: bool = False) -> "Column":
        """A column of numbers; what is not finite counts as missing."""
        floats = np.asarray(values, dtype=np.float64)
        return cls(name, read_only(floats), read_only(~np.isfinite(floats)), whole)

    @classmethod
    def texts(cls, name: str, values: Sequence[str | None]) -> "Column":
        """A column of categories; None and the empty text count as missing."""
        array = np.empty(len(values), dtype=object)
        array[:] = [value or "" for value in values]
        missing = np.fromiter((not value for value in values), dtype=bool, count=len(values))
        return cls(name, read_only(array), read_only(missing))

    @property
    def is_number(self) -> bool:
        """True for numbers, False for categories."""
        return self.values.dtype != object

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: np.ndarray) -> "Column":
        """The entries at `indices` (integers or a bool mask), in that order."""
        values, missing = self.values[indices], self.missing[indices]
        return replace(self, values=read_only(values), missing=read_only(missing))

    def labels(self) -> np.ndarray:
        """(N,) object array of `str`: the entries as class labels; "" where missing."""
        if not self.is_number:
            return self.values
        labels = np.full(len(self), "", dtype=object)
        present = ~self.missing
        distinct, codes = np.unique(self.values[present], return_inverse=True)
        names = np.array([number_label(float(value)) for value in distinct], dtype=object)
        labels[present] = names[codes] if len(names) else ""
        return labels

    def categories(self) -> tuple[str, ...]:
        """The distinct labels that are not missing: numbers by value, texts by code point."""
        if self.is_number:
            distinct = np.unique(self.values[~self.missing])
            return tuple(number_label(float(value)) for value in distinct)
        return tuple(sorted(set(self.values[~self.missing].tolist())))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Table:
    """Named columns, with one of them set apart as the target.

    Attributes:
        columns: the features, in the order of the source.
        target: the column to be predicted, or None.
        source: the name of the source, for messages.
        rows: (N,) int64, the number of each row in the source, counted from 1.
        lines: (N,) int64, the line of a text file on which each row begins; None for others.
        sample_shape: the shape of one sample before it was flattened, such as (28, 28), or None.
        notes: what reading had to decide (encoding, delimiter, renamed columns), in sentences.
    """

    columns: tuple[Column, ...]
    target: Column | None
    source: str
    rows: np.ndarray
    lines: np.ndarray | None = None
    sample_shape: tuple[int, ...] | None = None
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for column in self.every_column:
            if len(column) != len(self.rows):
                raise DataError(
                    f"{self.source}: column {quote(column.name)} has {len(column):,} entries "
                    f"and the table has {len(self.rows):,} rows."
                )

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        target = "no target" if self.target is None else f"target {quote(self.target.name)}"
        return (
            f"Table({quote(self.source)}, {count(len(self), 'row')}, "
            f"{count(len(self.columns), 'feature')}, {target})"
        )

    @property
    def every_column(self) -> tuple[Column, ...]:
        """The features, and the target after them where there is one."""
        return self.columns if self.target is None else (*self.columns, self.target)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The feature or target called `name`; DataError with the closest name if there is none."""
        for column in self.every_column:
            if column.name == name:
                return column
        known = [column.name for column in self.every_column]
        raise DataError(
            f"{self.source} has no column {quote(name)}.{did_you_mean(str(name), known)}"
        )

    def with_target(self, name: str) -> "Table":
        """The same table with the column `name` as its target (a former target is a feature)."""
        target = self.column(name)
        features = tuple(column for column in self.every_column if column is not target)
        return replace(self, columns=features, target=target)

    def without(self, names: Iterable[str]) -> "Table":
        """The same table with the columns `names` left out."""
        gone = {id(self.column(name)) for name in names}
        features = tuple(column for column in self.columns if id(column) not in gone)
        target = None if self.target is None or id(self.target) in gone else self.target
        changed = len(features) != len(self.columns)
        shape = None if changed else self.sample_shape
        return replace(self, columns=features, target=target, sample_shape=shape)

    def take(self, indices: np.ndarray) -> "Table":
        """The rows at `indices` (integers or a bool mask), in that order."""
        return replace(
            self,
            columns=tuple(column.take(indices) for column in self.columns),
            target=None if self.target is None else self.target.take(indices),
            rows=self.rows[indices],
            lines=None if self.lines is None else self.lines[indices],
        )

    def place(self, index: int) -> str:
        """Where the row at `index` stood in the source: `row 3 (line 4)`."""
        row = f"row {int(self.rows[index])}"
        return row if self.lines is None else f"{row} (line {int(self.lines[index])})"


def table_of(
    columns: Sequence[Column],
    source: str,
    *,
    target: Column | None = None,
    lines: np.ndarray | None = None,
    sample_shape: tuple[int, ...] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """A whole source as a Table: rows counted from 1, and an error if there are none."""
    every = [*columns, *([] if target is None else [target])]
    if not every:
        raise DataError(f"{source} has no columns. Give at least one feature.")
    if len(every[0]) == 0:
        raise DataError(f"{source} has no rows: there is nothing to learn from or to predict.")
    rows = np.arange(1, len(every[0]) + 1, dtype=np.int64)
    return Table(tuple(columns), target, source, rows, lines, sample_shape, tuple(notes))
