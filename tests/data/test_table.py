"""Tables: parts remember their rows, names are found or the closest is proposed."""

import numpy as np
import pytest

import backpass.data
from backpass.data import Column, Table
from backpass.errors import DataError
from backpass.wording import closest, quote, size

A = Column.numbers("age", np.array([1.0, 2.0, np.nan]))
B = Column.texts("kind", ["x", None, "y"])
TABLE = Table((A, B), None, "t.csv", np.array([1, 2, 3]), np.array([2, 3, 7]))


def test_take_remembers_where_rows_stood() -> None:
    part = TABLE.take(np.array([2, 0])).take(np.array([0]))
    assert part.place(0) == "row 3 (line 7)"
    assert part.column("kind").values.tolist() == ["y"]
    assert part.column("age").missing.tolist() == [True]
    assert len(TABLE.take(np.array([True, False, True]))) == 2


def test_a_table_shows_itself_in_one_line() -> None:
    assert repr(TABLE) == "Table('t.csv', 3 rows, 2 features, no target)"
    assert repr(TABLE.with_target("age")) == "Table('t.csv', 3 rows, 1 feature, target 'age')"


def test_target_and_without() -> None:
    table = TABLE.with_target("age")
    assert (table.names, table.target) == (("kind",), A)
    assert table.with_target("kind").names == ("age",)
    assert table.without(["age"]).target is None
    assert [column.name for column in table.every_column] == ["kind", "age"]


def test_unknown_names() -> None:
    with pytest.raises(DataError, match=r"t\.csv has no column 'Kindd'\. Did you mean 'kind'\?"):
        TABLE.column("Kindd")
    with pytest.raises(DataError, match="has no column 'zzz'"):
        TABLE.without(["zzz"])


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="column 'kind' has 3 entries and the table has 2 rows"):
        Table((B,), None, "t", np.array([1, 2]))


def test_labels_and_categories() -> None:
    assert A.labels().tolist() == ["1", "2", ""]
    assert A.categories() == ("1", "2")
    assert B.labels().tolist() == ["x", "", "y"]
    assert B.categories() == ("x", "y")
    empty = Column.numbers("e", np.array([np.nan]))
    assert (empty.labels().tolist(), empty.categories()) == ([""], ())


def test_hostile_names_are_escaped_and_cut() -> None:
    assert quote("a\x1b[31m\nb") == r"'a\x1b[31m\nb'"
    assert quote("x" * 10**6) == repr("x" * 60) + "..."
    assert closest("x" * 10**6, ["y" * 10**6]) is None


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [(5, "5 bytes"), (2048, "2 KiB"), (4 * 2**30, "4 GiB"), (2**50, "1,024.0 TiB")],
)
def test_sizes(n_bytes: int, words: str) -> None:
    assert size(n_bytes) == words


def test_the_public_face() -> None:
    assert sorted(backpass.data.__all__) == sorted(set(backpass.data.__all__))
    for name in backpass.data.__all__:
        assert getattr(backpass.data, name).__class__ is not type(backpass)
