"""CSV, TSV and other delimited text files, as people's spreadsheets write them.

One parser (Python's csv, strict) gives the records with their physical line numbers, so that
`file:line` is right also after a quoted line break; polars types the columns. The file is read as a
stream, block by block. Decided on the way, and said in the table's notes: encoding, delimiter,
whether there is a header, decimal marks, names that had to change, rows and columns left out.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.cells import CellOptions, CellSource, typed_columns
from backpass.data.encoding import find_encoding
from backpass.data.table import Column, Table, table_of
from backpass.errors import DataError
from backpass.wording import count, optional_package, quote, quote_list

_CELLS_A_BLOCK = 500_000
_RECORDS_TO_SNIFF = 100
# In a tie the comma comes last: it also stands inside numbers.
DELIMITERS = ("\t", ";", "|", ",")


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How a delimited text file is read; None means: find out.

    Attributes:
        encoding: the name of a Python codec.
        delimiter: one character.
        header: whether the first record names the columns.
        cells: how cells become values.
    """

    encoding: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    cells: CellOptions = field(default_factory=CellOptions)


@dataclass(slots=True)
class _Records:
    """The records of an open file, each with the line on which it begins."""

    path: Path
    lines: Iterator[str]
    delimiter: str
    skipped: int = 0

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(self.lines, delimiter=self.delimiter, strict=True)
        line = self.skipped + 1
        while True:
            try:
                record = next(reader, None)
            except csv.Error as error:
                raise DataError(_parse_fault(self.path, line, str(error))) from None
            if record is None:
                return
            if record:  # an empty line is no record
                yield line, record
            line = self.skipped + reader.line_num + 1


def _parse_fault(path: Path, line: int, reason: str) -> str:
    where = f"{path.name}:{line}:"
    if "field limit" in reason:
        return (
            f"{where} a field has more than {csv.field_size_limit():,} characters. If the text is "
            "not that long, a quotation mark before it is never closed."
        )
    if "unexpected end" in reason:
        return f"{where} a quotation mark is opened in this record and never closed."
    if "expected after" in reason:
        return (
            f"{where} a quoted field goes on after its closing quotation mark. A quotation mark "
            'inside a quoted field is written twice: "5"" pipe".'
        )
    return f"{where} the record cannot be parsed: {reason}."


def read_text(path: Path, options: TextOptions, target: str | None = None) -> Table:
    """A delimited text file as a Table without target.

    `target` only helps to tell a header: a first record that holds this name is one.
    Raises DataError with `file:line` for ragged records, open quotes, undecodable bytes and NUL.
    """
    encoding, note = find_encoding(path, options.encoding)
    delimiter, skipped = _delimiter(path, encoding, options.delimiter)
    notes = [note] if note else []
    with path.open(encoding=encoding, newline="") as file:
        for _ in range(skipped):
            next(file)
        records = iter(_Records(path, file, delimiter, skipped))
        first = next(records, None)
        if first is None:
            raise DataError(f"{path.name} is empty: it has no header and no rows.")
        second = next(records, None)
        header = options.header
        if header is None:
            header = _is_header(first[1], None if second is None else second[1], target)
            if not header:
                notes.append("The first line is data: columns are called column_1, column_2, ...")
        rest = _chain(None if header else first, second, records)
        blocks, lines = _read_blocks(path, rest, len(first[1]))
    if not len(lines):
        raise DataError(f"{path.name} has a header ({count(len(first[1]), 'column')}) and no rows.")
    cells, lines, said = _without_empty_rows(_joined(blocks), lines)
    names, more = _column_names(path, first[1] if header else None, cells.width, target)
    origin = CellSource(path.name, delimiter != ",", lambda i: f"line {int(lines[i])}")
    columns, decided = typed_columns(names, cells, options.cells, origin)
    columns, dropped = _without_index(columns, first[1] if header else None)
    return table_of(
        columns, path.name, lines=lines, notes=[*notes, *said, *more, *decided, *dropped]
    )


def _chain(
    *parts: tuple[int, list[str]] | Iterator[tuple[int, list[str]]] | None,
) -> Iterator[tuple[int, list[str]]]:
    for part in parts:
        if isinstance(part, tuple):
            yield part
        elif part is not None:
            yield from part


# ------------------------------------------------------------------------------------ delimiter


def _delimiter(path: Path, encoding: str, given: str | None) -> tuple[str, int]:
    """The delimiter, and how many lines come before the table (Excel's `sep=;`)."""
    with path.open(encoding=encoding, newline="") as file:
        first = file.readline(4096).rstrip("\r\n")
    marked = first.strip('"')
    excel = marked[4:] if marked.lower().startswith("sep=") and len(marked) == 5 else None
    if given is not None:
        if len(given) != 1 or given in '"\r\n\0':
            raise DataError(f"The delimiter {quote(given)} is not one character such as , ; or |.")
        return given, int(excel is not None)
    if excel is not None:
        return excel, 1
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t", 0
    scores = [(_consistency(path, encoding, mark), mark) for mark in DELIMITERS]
    best, mark = max(scores, key=lambda pair: pair[0])
    return (mark, 0) if best > 0 else (",", 0)


def _consistency(path: Path, encoding: str, delimiter: str) -> float:
    """The share of the first records that have as many fields as the first one; 0 for one field."""
    widths = []
    with path.open(encoding=encoding, newline="") as file:
        try:
            for _, record in _Records(path, file, delimiter):
                widths.append(len(record))
                if len(widths) == _RECORDS_TO_SNIFF:
                    break
        except DataError:
            # Another delimiter may parse; if none does, the reading proper gives the error.
            widths.append(-1)
    if not widths or widths[0] <= 1:
        return 0.0
    return sum(width == widths[0] for width in widths) / len(widths)


# --------------------------------------------------------------------------------------- header


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().replace(",", "."))
    except ValueError:
        return False
    return True


def _is_header(first: Sequence[str], second: Sequence[str] | None, target: str | None) -> bool:
    """A first record is data if it has a number wherever the second one has a number."""
    names = [cell.strip() for cell in first]
    if second is None or (target is not None and target in names):
        return True
    numeric = [i for i, cell in enumerate(second[: len(first)]) if _is_number(cell)]
    if not numeric:
        return not any(_is_number(cell) for cell in names)
    return not all(_is_number(names[i]) or not names[i] for i in numeric)


def _column_names(
    path: Path, header: Sequence[str] | None, width: int, target: str | None
) -> tuple[list[str], list[str]]:
    """Stripped, unique names for `width` columns, and notes on those that had to change."""
    if header is None:
        return [f"column_{i + 1}" for i in range(width)], []
    stripped = [cell.strip() for cell in header]
    if target is not None and stripped.count(target) > 1:
        raise DataError(
            f"{path.name} has {stripped.count(target)} columns called {quote(target)}, so the "
            "target is not clear. Rename all but one of them."
        )
    names: list[str] = []
    taken = set(stripped)
    used: set[str] = set()
    renamed: list[str] = []
    for i, name in enumerate(stripped):
        unique = name or f"column_{i + 1}"
        number = 2
        while unique in used or (unique != name and unique in taken):
            unique = f"{name or f'column_{i + 1}'}_{number}"
            number += 1
        if unique != name and name:
            renamed.append(unique)
        used.add(unique)
        names.append(unique)
    notes = [f"Columns with a name that was taken are called {quote_list(renamed)}."]
    return names, notes if renamed else []


# ---------------------------------------------------------------------------------------- cells


def _read_blocks(
    path: Path, records: Iterator[tuple[int, list[str]]], width: int
) -> tuple[list[Any], np.ndarray]:
    """The cells as polars frames, block by block of rows, and the line of each row."""
    rows_a_block = max(1, _CELLS_A_BLOCK // width)
    blocks: list[Any] = []
    block: list[list[str]] = []
    lines: list[int] = []
    for line, record in records:
        if len(record) != width:
            raise DataError(_ragged(path, line, width, record))
        block.append(record)
        lines.append(line)
        if len(block) == rows_a_block:
            blocks.append(_frame(block))
            block = []
    if block:
        blocks.append(_frame(block))
    return blocks, np.array(lines, dtype=np.int64)


def _frame(block: list[list[str]]) -> Any:
    polars = optional_package("polars", "polars", "Reading a text table")
    columns = enumerate(zip(*block, strict=True))
    return polars.DataFrame(
        [polars.Series(str(i), cells, dtype=polars.String) for i, cells in columns]
    )


def _ragged(path: Path, line: int, width: int, record: Sequence[str]) -> str:
    hint = (
        "A text that holds the delimiter needs quotation marks around it."
        if len(record) > width
        else "Fill the line up with empty fields."
    )
    return f"{path.name}:{line}: expected {count(width, 'field')}, found {len(record):,}. {hint}"


def _joined(blocks: list[Any]) -> Any:
    return optional_package("polars", "polars", "Reading a text table").concat(blocks)


def _without_empty_rows(cells: Any, lines: np.ndarray) -> tuple[Any, np.ndarray, list[str]]:
    """Leave out rows of nothing but empty cells, which spreadsheets write below a table."""
    if cells.width < 2:
        return cells, lines, []
    polars = optional_package("polars", "polars", "Reading a text table")
    filled = polars.any_horizontal(polars.all().str.strip_chars() != "")
    full = cells.select(filled).to_series().to_numpy()
    if full.all() or not full.any():
        return cells, lines, []
    note = f"Left out {count(int((~full).sum()), 'row')} with nothing but empty cells."
    return cells.filter(full), lines[full], [note]


def _without_index(
    columns: list[Column], header: Sequence[str] | None
) -> tuple[list[Column], list[str]]:
    """Leave out nameless columns that are empty, or that count the rows (pandas' index)."""
    if header is None:
        return columns, []
    kept, notes = [], []
    for i, (column, name) in enumerate(zip(columns, header, strict=True)):
        if name.strip() == "" and column.missing.all():
            notes.append(f"Left out column {i + 1}: it has no name and no values.")
        elif name.strip() == "" and i == 0 and _counts_rows(column):
            notes.append("Left out the first column: it has no name and counts the rows.")
        else:
            kept.append(column)
    return kept, notes


def _counts_rows(column: Column) -> bool:
    if not column.whole or not column.is_number or len(column) < 2:
        return False
    return bool(np.all(np.diff(column.values) == 1))
