"""From texts to typed columns: which cells are missing, which columns are numbers.

A text column is a column of numbers if every cell that is not missing is a number. Decimal commas
are read where they cannot mean anything else. What could be read in two ways is refused with a
sentence that says how to decide: nothing is guessed silently.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.data.table import Column
from backpass.data.wording import count, optional_package, quote
from backpass.errors import DataError

# What spreadsheets, databases, R and pandas write for "no value"; compared without case.
MISSING_VALUES = (
    "", "na", "n/a", "#n/a", "n.a.", "nan", "-nan", "null", "none", "nil", "<na>", "-", "--", "—",
    "?", ".", "#value!", "#div/0!", "#ref!", "#name?", "#num!", "#null!",
)  # fmt: skip
COMMA_NUMBER = r"^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?([eE][+-]?\d+)?$"
POINT_GROUPS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"
PLAIN_NUMBER = r"^[+-]?\d+(\.\d+)?$"
_WHOLE = r"^[+-]?\d+$"
# Above this many distinct numbers, a column that also holds texts is numbers with a few bad cells.
MOST_MIXED_NUMBERS = 20


@dataclass(frozen=True, slots=True)
class CellOptions:
    """How cells become values.

    Attributes:
        missing_values: what counts as missing, compared stripped and without case.
        decimal: "." or ",", or None: find out.
        categories: the columns to keep as texts even if all their cells are numbers.
    """

    missing_values: Sequence[str] = MISSING_VALUES
    decimal: str | None = None
    categories: Sequence[str] = ()


def typed_columns(
    names: Sequence[str],
    series: Sequence[Any],
    options: CellOptions,
    *,
    comma_allowed: bool,
    place: Callable[[int], str],
) -> tuple[list[Column], list[str]]:
    """Columns of texts (polars String Series) as typed Columns, and notes on what was decided.

    Args:
        names: one for each of `series`.
        series: the cells as read, None where there is none.
        options: see `CellOptions`.
        comma_allowed: the delimiter is not a comma, so an unquoted `1,5` can stand in a cell.
        place: gives the words for the row at an index, for errors.
    """
    cleaned = [_cleaned(cells, options.missing_values) for cells in series]
    decimal = options.decimal
    notes: list[str] = []
    if decimal is None and comma_allowed:
        witness = next((n for n, c in zip(names, cleaned, strict=True) if _is_comma(c)), None)
        if witness is not None:
            decimal = ","
            notes.append(f"Numbers have decimal commas (column {quote(witness)}).")
    columns = []
    for name, cells in zip(names, cleaned, strict=True):
        if name in options.categories:
            columns.append(Column.texts(name, cells.to_list()))
        else:
            columns.append(_typed(name, cells, decimal, place, notes))
    return columns, notes


def typed_column(name: str, values: Sequence[object]) -> Column:
    """A column of Python objects: numbers, bools, texts, None and NaN as missing.

    Mixed columns are read as their texts would be, by the rule for text files.
    """
    present = [value for value in values if not _is_nothing(value)]
    if all(isinstance(value, str) for value in present):
        return Column.texts(name, [None if _is_nothing(v) else str(v) for v in values])
    if all(isinstance(value, (bool, np.bool_)) for value in present):
        words = {True: "true", False: "false"}
        return Column.texts(name, [None if _is_nothing(v) else words[bool(v)] for v in values])
    whole = (int, np.integer)
    if all(isinstance(value, (*whole, float, np.floating)) for value in present):
        floats = [np.nan if _is_nothing(value) else float(value) for value in values]  # type: ignore[arg-type]
        is_whole = all(isinstance(value, whole) for value in present)
        return Column.numbers(name, np.array(floats, dtype=np.float64), whole=is_whole)
    for index, value in enumerate(values):
        if not (_is_nothing(value) or isinstance(value, (str, bool, *whole, float, np.floating))):
            raise DataError(
                f"column {quote(name)} holds a {type(value).__name__} in row {index + 1}. Turn "
                "its entries into numbers or texts, or leave the column out."
            )
    polars = optional_package("polars", "polars", "Reading a column of mixed types")
    texts = [None if _is_nothing(value) else str(value) for value in values]
    series = polars.Series(name, texts, dtype=polars.String)
    columns, _ = typed_columns(
        [name], [series], CellOptions(), comma_allowed=False, place=lambda i: f"row {i + 1}"
    )
    return columns[0]


def _is_nothing(value: object) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _cleaned(cells: Any, missing_values: Sequence[str]) -> Any:
    """The cells stripped of white space (also the no-break space), null where missing."""
    stripped = cells.str.strip_chars()
    words = list({value.strip().casefold() for value in missing_values} | {""})
    return stripped.set(stripped.str.to_lowercase().is_in(words), None)


def _is_comma(cells: Any) -> bool:
    present = cells.drop_nulls()
    return bool(
        len(present)
        and present.str.contains(",", literal=True).any()
        and present.str.contains(COMMA_NUMBER).all()
    )


def _floats(cells: Any, decimal: str | None) -> Any:
    """The cells as Float64, null where a cell is not a number in this notation."""
    polars = optional_package("polars", "polars", "Reading a text table")
    plain = cells.cast(polars.Float64, strict=False)
    if decimal is None:
        return plain
    pattern, group = (COMMA_NUMBER, ".") if decimal == "," else (POINT_GROUPS, ",")
    bare = cells.str.replace_all(group, "", literal=True)
    if decimal == ",":
        bare = bare.str.replace_all(",", ".", literal=True)
    grouped = bare.cast(polars.Float64, strict=False)
    fits = cells.str.contains(pattern)
    return grouped.zip_with(fits.fill_null(False), plain)


def _typed(
    name: str, cells: Any, decimal: str | None, place: Callable[[int], str], notes: list[str]
) -> Column:
    present = cells.is_not_null()
    floats = _floats(cells, decimal)
    other = present & floats.is_null()
    n_present, n_other = int(present.sum()), int(other.sum())
    if n_other == 0:
        whole = bool(cells.str.contains(_WHOLE).fill_null(True).all())
        return Column.numbers(name, floats.fill_null(float("nan")).to_numpy(), whole=whole)
    if decimal is None:
        _refuse_commas(name, cells)
    if n_present == n_other:
        return Column.texts(name, _booleans_alike(cells))
    distinct = int(floats.drop_nulls().n_unique())
    if distinct > MOST_MIXED_NUMBERS and n_other < n_present - n_other:
        index = int(other.arg_max())
        raise DataError(
            f"column {quote(name)} holds {n_present - n_other:,} numbers and "
            f"{count(n_other, 'other cell')}, the first {quote(cells[index])} in {place(index)}. "
            "If it stands for a missing value, add it to missing_values; if the column is a "
            "set of categories, add the column to categories."
        )
    notes.append(
        f"Column {quote(name)} mixes {count(n_present - n_other, 'number')} with "
        f"{count(n_other, 'other cell')}: it is read as categories."
    )
    return Column.texts(name, _booleans_alike(cells))


def _refuse_commas(name: str, cells: Any) -> None:
    """`1,234` may be 1234 or 1.234: where all cells are such numbers, the user has to say which."""
    present = cells.drop_nulls()
    comma = bool(present.str.contains(COMMA_NUMBER).all())
    grouped = bool(present.str.contains(f"{POINT_GROUPS}|{PLAIN_NUMBER}").all())
    if comma or grouped:
        example = present.filter(present.str.contains(",", literal=True))[0]
        raise DataError(
            f"column {quote(name)} holds numbers with commas, such as {quote(example)}. Set "
            'decimal to "," if the comma is the decimal mark, or to "." if it groups thousands; '
            "if they are no numbers, add the column to categories."
        )


def _booleans_alike(cells: Any) -> list[str | None]:
    """TRUE, True and true are one value, as in every spreadsheet, where nothing else is there."""
    words = cells.str.to_lowercase()
    only = set(words.drop_nulls().unique().to_list()) <= {"true", "false"}
    return (words if only else cells).to_list()
