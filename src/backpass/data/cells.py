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
from backpass.errors import DataError
from backpass.sentence import Change, Sentence
from backpass.wording import count, optional_package, quote

# What spreadsheets, databases, R and pandas write for "no value"; compared without case.
MISSING_VALUES = (
    "", "na", "n/a", "#n/a", "n.a.", "nan", "-nan", "null", "none", "nil", "<na>", "-", "--", "—",
    "?", ".", "#value!", "#div/0!", "#ref!", "#name?", "#num!", "#null!",
)  # fmt: skip
COMMA_NUMBER = r"^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?([eE][+-]?\d+)?$"
POINT_GROUPS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"
PLAIN_NUMBER = r"^[+-]?\d+(\.\d+)?$"
SIGNED_NUMBER = r"^[+-]?\(?[$€£¥₹]\s?[+-]?\d[\d.,]*\)?$|^[+-]?\d[\d.,]*\s?[%$€£¥₹]$"
# 12 345,6 with any space, and (12.50) for a debt, as accounts are written
ACCOUNT_NUMBER = r"^[+-]?\d{1,3}([ \u00a0\u2009\u202f]\d{3})+([.,]\d+)?$|^\(\d[\d.,]*\)$"
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
        booleans: those among them that were true and false in training: TRUE and True are true.
    """

    missing_values: Sequence[str] = MISSING_VALUES
    decimal: str | None = None
    categories: Sequence[str] = ()
    booleans: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CellSource:
    """What the cells came from, for decisions and errors.

    Attributes:
        name: the name of the file.
        comma_allowed: the delimiter is not a comma, so an unquoted `1,5` can stand in a cell.
        place: gives the words for the row at an index.
    """

    name: str
    comma_allowed: bool
    place: Callable[[int], str]


def typed_columns(
    names: Sequence[str], cells: Any, options: CellOptions, source: CellSource
) -> tuple[list[Column], list[str]]:
    """Columns of texts as typed Columns, and notes on what was decided.

    Args:
        names: one for each column of `cells`.
        cells: a polars frame of String columns, as read.
        options: see `CellOptions`.
        source: see `CellSource`.

    Raises:
        DataError: a column can be read in two ways; it says how to decide.
    """
    polars = optional_package("polars", "polars", "Reading a text table")
    cells = _cleaned(cells, options.missing_values)
    plain = cells.select(polars.all().cast(polars.Float64, strict=False))
    whole = cells.select(polars.all().str.contains(_WHOLE).fill_null(True).all()).row(0)
    decimal = options.decimal
    notes: list[str] = []
    if decimal is None and source.comma_allowed:
        commas = cells.select(
            polars.all().str.contains(COMMA_NUMBER).all()
            & polars.all().str.contains(",", literal=True).any()
        ).row(0)
        if any(commas):
            decimal = ","
            notes.append(
                f"Numbers have decimal commas (column {quote(names[commas.index(True)])})."
            )
    columns = []
    for i, name in enumerate(names):
        if name in options.categories:
            words = _booleans_alike(cells[:, i]) if name in options.booleans else cells[:, i]
            columns.append(Column.texts(name, list(words)))
            continue
        texts = cells[:, i]
        floats = plain[:, i] if decimal is None else _in_notation(texts, plain[:, i], decimal)
        if floats.null_count() == texts.null_count():
            values = floats.fill_null(float("nan")).to_numpy()
            columns.append(Column.numbers(name, values, whole=whole[i]))
        else:
            columns.append(_categories(name, texts, floats, decimal, source, notes))
    return columns, notes


def typed_column(name: str, values: Sequence[Any]) -> Column:
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
        floats = [np.nan if _is_nothing(value) else float(value) for value in values]
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
    cells = polars.DataFrame([polars.Series("", texts, dtype=polars.String)])
    source = CellSource("the data", False, lambda i: f"row {i + 1}")
    columns, _ = typed_columns([name], cells, CellOptions(), source)
    return columns[0]


def _is_nothing(value: object) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _cleaned(cells: Any, missing_values: Sequence[str]) -> Any:
    """The cells stripped of white space (also the no-break space), null where missing."""
    polars = optional_package("polars", "polars", "Reading a text table")
    words = list({value.strip().casefold() for value in missing_values} | {""})
    stripped = cells.select(polars.all().str.strip_chars())
    present = ~polars.all().str.to_lowercase().is_in(words)
    return stripped.select(polars.when(present).then(polars.all()))


def _in_notation(cells: Any, plain: Any, decimal: str) -> Any:
    """The cells as Float64 with this decimal mark and groups of thousands by the other one.

    A cell that does not have this form keeps what `plain`, the ordinary notation, gives.
    """
    polars = optional_package("polars", "polars", "Reading a text table")
    pattern, group = (COMMA_NUMBER, ".") if decimal == "," else (POINT_GROUPS, ",")
    bare = cells.str.replace_all(group, "", literal=True)
    if decimal == ",":
        bare = bare.str.replace_all(",", ".", literal=True)
    fits = cells.str.contains(pattern).fill_null(False)
    return bare.cast(polars.Float64, strict=False).zip_with(fits, plain)


def _categories(
    name: str,
    cells: Any,
    floats: Any,
    decimal: str | None,
    source: CellSource,
    notes: list[str],
) -> Column:
    """A column with cells that are no numbers, as texts; an error if it is mostly numbers."""
    if decimal is None:
        _refuse_commas(name, cells, source)
    _refuse_signs(name, cells, source)
    other = cells.is_not_null() & floats.is_null()
    n_other = int(other.sum())
    n_numbers = len(cells) - cells.null_count() - n_other
    if n_numbers and floats.n_unique() > MOST_MIXED_NUMBERS and n_other < n_numbers:
        index = int(other.arg_max())
        raise DataError(
            Sentence(
                f"{source.name}: column {quote(name)} holds {n_numbers:,} numbers and "
                f"{count(n_other, 'other cell')}, the first {quote(cells[index])} in "
                f"{source.place(index)}. If it stands for a missing value, ",
                Change("missing_values", (cells[index],)),
                "; if the column is a set of categories, ",
                Change("categories", (name,)),
                ".",
            )
        )
    if n_numbers:
        notes.append(
            f"Column {quote(name)} mixes {count(n_numbers, 'number')} with "
            f"{count(n_other, 'other cell')}: it is read as categories."
        )
    return Column.texts(name, _booleans_alike(cells))


def _refuse_commas(name: str, cells: Any, source: CellSource) -> None:
    """`1,234` may be 1234 or 1.234: where all cells are numbers, the user has to say which."""
    present = cells.drop_nulls()
    number = f"{COMMA_NUMBER}|{POINT_GROUPS}|{PLAIN_NUMBER}"
    if len(present) and present.str.contains(number).all():
        example = present.filter(present.str.contains(",", literal=True))[0]
        raise DataError(
            Sentence(
                f"{source.name}: column {quote(name)} holds numbers with commas, such as "
                f"{quote(example)}. If the comma is the decimal mark, ",
                Change("decimal", ","),
                "; if it groups thousands, ",
                Change("decimal", "."),
                "; if they are no numbers, ",
                Change("categories", (name,)),
                ".",
            )
        )


def _refuse_signs(name: str, cells: Any, source: CellSource) -> None:
    """`$1,200.50`, `12 %`, `1 200` and `(12.50)` in many values: categories would say nothing."""
    present = cells.drop_nulls()
    if present.n_unique() <= MOST_MIXED_NUMBERS:
        return
    marked = present.str.contains(f"{SIGNED_NUMBER}|{ACCOUNT_NUMBER}")
    plain = present.str.contains(f"{PLAIN_NUMBER}|{COMMA_NUMBER}|{POINT_GROUPS}")
    if marked.any() and (marked | plain).all():
        raise DataError(
            Sentence(
                f"{source.name}: column {quote(name)} holds numbers with signs, such as "
                f"{quote(present[int(marked.arg_max())])}. Write them as plain numbers, such as "
                "-1234.5, without currency or percent signs, spaces and brackets (in a "
                "spreadsheet: give the cells the number format without them, and save again); if "
                "they are categories, ",
                Change("categories", (name,)),
                ".",
            )
        )


def _booleans_alike(cells: Any) -> list[str | None]:
    """TRUE, True and true are one value, as in every spreadsheet, where nothing else is there."""
    words = cells.str.to_lowercase()
    only = set(words.drop_nulls().unique().to_list()) <= {"true", "false"}
    return (words if only else cells).to_list()
