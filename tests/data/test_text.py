"""Text tables as spreadsheets write them, and the sentence for each that cannot be read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backpass import data
from backpass.errors import DataError

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def cells(table: data.Table) -> dict[str, list]:
    return {column.name: column.values.tolist() for column in table.every_column}


PLAIN = {"name": ["José", "Zoë"], "size": [1.5, 2.75]}
PLAIN_TEXT = "name,size\nJosé,1.5\nZoë,2.75\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN_TEXT.encode(),
        PLAIN_TEXT.encode("utf-8-sig"),
        PLAIN_TEXT.encode("utf-16"),
        PLAIN_TEXT.encode("utf-16-le"),
        PLAIN_TEXT.encode("utf-16-be"),
        PLAIN_TEXT.encode("utf-32"),
        PLAIN_TEXT.encode("latin-1"),
        PLAIN_TEXT.encode("cp1252"),
        PLAIN_TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN_TEXT.replace("\n", "\r").encode(),
        PLAIN_TEXT.replace(",", ";").encode(),
        PLAIN_TEXT.replace(",", "\t").encode(),
        PLAIN_TEXT.replace(",", "|").encode(),
        PLAIN_TEXT.replace(",", ";").replace(".", ",").encode(),
        PLAIN_TEXT.replace(",", "\t").replace(".", ",").encode(),
        ("sep=;\r\n" + PLAIN_TEXT.replace(",", ";")).encode(),
        PLAIN_TEXT.rstrip("\n").encode(),
        (PLAIN_TEXT + "\n\n").encode(),
        (PLAIN_TEXT + ",\n , \n").encode(),
        b'"name" , size \n' + b'"Jos\xc3\xa9",\xc2\xa01.5 \n Zo\xc3\xab ,2.75\n',
        ",name,size\n0,José,1.5\n1,Zoë,2.75\n".encode(),
        "name,size,\nJosé,1.5,\nZoë,2.75,\n".encode(),
        b"\xef\xbb\xbf" + '"name","size"\n"José","1.5"\n"Zoë","2.75"\n'.encode(),
    ],
)
def test_one_table_in_many_dresses(save: Save, content: bytes) -> None:
    if b'"name" ,' in content:
        # a space after a closing quotation mark is a fault of the file, and said to be one
        with pytest.raises(DataError, match=r"t\.csv:1: a quoted field goes on"):
            data.load(save(content))
        content = content.replace(b'"name" ,', b"name ,")
    assert cells(data.load(save(content))) == PLAIN


def test_an_encoding_that_had_to_be_guessed_is_said_in_a_note(save: Save) -> None:
    table = data.load(save("a,b\n1,x\n2,é\n".encode("latin-1")))
    assert table.notes == (
        "Read as Windows-1252 (line 3 is not UTF-8); if letters look wrong, set encoding.",
    )


@pytest.mark.parametrize("encoding", ["shift_jis", "gb18030", "koi8_r", "utf-16-le"])
def test_a_named_encoding_is_used(save: Save, encoding: str) -> None:
    text = "имя,x\nда,1\nнет,2\n"
    table = data.load(save(text.encode(encoding)), encoding=encoding)
    assert cells(table) == {"имя": ["да", "нет"], "x": [1.0, 2.0]}


def test_a_byte_order_mark_is_no_part_of_a_name_when_the_encoding_is_named(save: Save) -> None:
    assert data.load(save("a,b\n1,2\n".encode("utf-8-sig")), encoding="utf8").names == ("a", "b")


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        (b"", {}, "t.csv is empty: it has no header and no rows."),
        (b"\n\r\n\n", {}, "t.csv is empty: it has no header and no rows."),
        (b"\xef\xbb\xbf", {}, "t.csv is empty: it has no header and no rows."),
        (b"a,b,c\n", {}, "t.csv has a header (3 columns) and no rows."),
        (b"a,b\n1,2\n3\n", {}, "t.csv:3: expected 2 fields, found 1. Fill the line up"),
        (b"a,b\n1,2\n3,4,5\n", {}, "t.csv:3: expected 2 fields, found 3. A text that holds"),
        (b'a,b\n"x\ny\nz",1\n\n2\n', {}, "t.csv:6: expected 2 fields, found 1."),
        (b'a,b\r\n"x\r\ny",1\r\n2\r\n', {}, "t.csv:4: expected 2 fields, found 1."),
        (b"a;b\n1;2;3\n", {}, "t.csv:2: expected 2 fields, found 3."),
        (b"sep=,\na,b\n1\n", {}, "t.csv:3: expected 2 fields, found 1."),
        (b'a,b\n1,"2\n3,4\n', {}, "t.csv:2: a quotation mark is opened in this record and never"),
        (b'a,b\n1,2\n"5" pipe,2\n', {}, "t.csv:3: a quoted field goes on after its closing"),
        (b"a,b\n1,2\n3,\0\n", {}, "t.csv:3: a NUL character: this is not a text table."),
        (bytes(range(256)), {}, "t.csv:1: a NUL character: this is not a text table."),
        (b"a,b\n1,\x81\n", {}, "t.csv:2: byte 0x81 is neither UTF-8 nor Windows-1252"),
        (b"a,b\n1,\xe9\n", {"encoding": "utf-8"}, "t.csv:2: byte 0xE9 is not utf-8."),
        (b"a\n1\n", {"encoding": "utf-9"}, "'utf-9' is not the name of an encoding"),
        (b"a\n1\n", {"encoding": "hex"}, "'hex' is not the name of an encoding"),
        (b"a\n1\n", {"delimiter": "::"}, "The delimiter '::' is not one character"),
        (b"a\n1\n", {"decimal": "x"}, "decimal is 'x'; it must be"),
        (b"a\n1\n", {"ignore": "a"}, "ignore is the text 'a'; give a list: ['a']."),
        pytest.param(
            b"a,b\n" + b"x" * 200_000 + b",1\n",
            {},
            "t.csv:2: a field has more than 131,072 characters.",
            id="huge field",
        ),
        (b"PK\x03\x04rest", {}, "t.csv is not a text table but a zip archive, as .xlsx"),
        (b"\x80\x04\x95rest", {}, "but a Python pickle, which is never loaded"),
        (b"a,b\n1,2\n", {"target": "c"}, "t.csv has no column 'c'."),
        (
            b"Age,Price\n1,2\n",
            {"target": "price"},
            "t.csv has no column 'price'. Did you mean 'Price'? There are: 'Age', 'Price'.",
        ),
        (b"a,b,a\n1,2,3\n", {"target": "a"}, "t.csv has 2 columns called 'a', so the target is"),
        (b"a\n1\n", {"target": "a"}, "t.csv has no column besides the target"),
        (
            b'a,b\n"1,234",x\n"5,678",y\n',
            {},
            "t.csv: column 'a' holds numbers with commas, such as '1,234'. If the comma",
        ),
        (
            b"age,b\n" + b"".join(b"%d,1\n" % i for i in range(40)) + b"old,1\n",
            {},
            "t.csv: column 'age' holds 40 numbers and 1 other cell, the first 'old' in line 42.",
        ),
    ],
)
def test_what_cannot_be_read_gets_one_sentence(
    save: Save, content: bytes, options: dict, sentence: str
) -> None:
    with pytest.raises(DataError) as caught:
        data.load(save(content), **options)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "word", ["", " ", "NA", "n/a", "N/A", "-", "nan", "NULL", "#N/A", "?", "None"]
)
def test_missing_values(save: Save, word: str) -> None:
    table = data.load(save(f"a,b,c\n1,x,1\n{word},{word},1\n3,y,1\n"))
    assert table.column("a").missing.tolist() == [False, True, False]
    assert table.column("b").missing.tolist() == [False, True, False]
    assert table.column("a").is_number
    assert table.column("b").values.tolist() == ["x", "", "y"]


def test_missing_values_can_be_named(save: Save) -> None:
    table = data.load(save("a,b\n1,NA\n-999,y\n"), missing_values=["-999"])
    assert table.column("a").missing.tolist() == [False, True]
    assert table.column("b").values.tolist() == ["NA", "y"]


def test_thousands_and_decimal_marks_as_told(save: Save) -> None:
    path = save('a,b\n"1,234.5",1\n"5,678",2\n12,3\n')
    assert data.load(path, decimal=".").column("a").values.tolist() == [1234.5, 5678, 12]
    path = save("a;b\n1.234,5;1\n5.678;2\n")
    assert data.load(path).column("a").values.tolist() == [1234.5, 5678]
    path = save("a;b\n1.234,5;1\n5.678;2\n3.25;3\n")
    with pytest.raises(
        DataError, match=r"holds numbers with commas, such as '1\.234,5'\. If the comma"
    ):
        data.load(path)
    assert data.load(path, decimal=",").column("a").values.tolist() == [1234.5, 5678, 3.25]
    path = save('a,b\n"1,234",1\n"5,6",2\n')
    assert data.load(path, decimal=",").column("a").values.tolist() == [1.234, 5.6]


def test_names_are_made_unique_and_unnamed_columns_get_one(save: Save) -> None:
    table = data.load(save("a,a,,a_2,a\n1,2,3,4,5\n6,7,8,9,1\n"))
    assert table.names == ("a", "a_3", "column_3", "a_2", "a_4")
    assert table.notes == ("Columns with a name that was taken are called 'a_3', 'a_4'.",)


@pytest.mark.parametrize(
    ("content", "options", "names"),
    [
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", {}, ("column_1", "column_2", "column_3")),
        ("x,y\n5.1,3.5\n", {}, ("x", "y")),
        ("x,2020\n5.1,3.5\n", {}, ("x", "2020")),
        ("cat,dog\nred,blue\n", {}, ("cat", "dog")),
        ("cat,dog\nred,blue\n", {"header": False}, ("column_1", "column_2")),
        ("1,2\n3,4\n", {"header": True}, ("1", "2")),
        ("1,2\n3,4\n5,6\n", {"target": "2"}, ("1",)),
        ("1,2\n", {"header": False}, ("column_1", "column_2")),
    ],
)
def test_header_or_not(save: Save, content: str, options: dict, names: tuple[str, ...]) -> None:
    table = data.load(save(content), **options)
    assert table.names == names
    assert len(table) == content.count("\n") - (names[0] != "column_1")


def test_lines_are_physical_and_survive_take(save: Save) -> None:
    table = data.load(save('a,b\n"x\ny",1\n\nz,2\n"u\n\nv",\nw,4\n'))
    assert table.lines is not None
    assert table.lines.tolist() == [2, 5, 6, 9]
    part = table.take(np.array([2, 3]))
    with pytest.raises(
        DataError, match=r"column 'b' has 1 missing value, the first in row 3 \(line 6\)"
    ):
        data.check_complete(part)


def test_quoted_fields_keep_delimiters_quotes_and_line_breaks(save: Save) -> None:
    table = data.load(save('a,b\n"x, ""y""\nz",1\nw,2\n'))
    assert table.column("a").values.tolist() == ['x, "y"\nz', "w"]


def test_a_column_of_few_numbers_and_texts_is_categories_with_a_note(save: Save) -> None:
    table = data.load(save("floor,b\n1,1\n2,1\nG,1\n2,1\n"))
    assert table.column("floor").values.tolist() == ["1", "2", "G", "2"]
    assert table.notes == (
        "Column 'floor' mixes 3 numbers with 1 other cell: it is read as categories.",
    )


def test_columns_can_be_kept_as_texts(save: Save) -> None:
    path = save("zip,b\n01234,1\n00500,1\n")
    assert data.load(path).column("zip").values.tolist() == [1234.0, 500.0]
    assert data.load(path, categories=["zip"]).column("zip").values.tolist() == ["01234", "00500"]


def test_booleans_are_the_same_in_every_case(save: Save) -> None:
    table = data.load(save("a,b\nTRUE,1\nFalse,2\ntrue,3\n"))
    assert table.column("a").values.tolist() == ["true", "false", "true"]


def test_thousands_of_columns(save: Save) -> None:
    header = ",".join(f"c{i}" for i in range(3000))
    line = ",".join("1.5" if i % 2 else "x" for i in range(3000))
    table = data.load(save(f"{header}\n{line}\n{line}\n"), target="c1")
    assert len(table.columns) == 2999
    assert table.column("c2999").values.tolist() == [1.5, 1.5]


def test_more_rows_than_one_block(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backpass.data.text._CELLS_A_BLOCK", 10)
    content = "a,b\n" + "".join(f"{i},t{i}\n" for i in range(103))
    table = data.load(save(content))
    assert table.column("a").values.tolist() == list(range(103))
    assert table.column("b").values[-1] == "t102"


@pytest.mark.parametrize("suffix", ["tsv", "tab"])
def test_tab_separated_by_name(save: Save, suffix: str) -> None:
    table = data.load(save("a,x\tb\n1\t2\n", f"t.{suffix}"))
    assert table.names == ("a,x", "b")


def test_an_infinite_cell_is_a_number_that_is_not_finite(save: Save) -> None:
    table = data.load(save("a,b\n1,2\ninf,3\n,4\n"))
    sentence = (
        r"t\.csv: column 'a' has 2 missing or infinite values \(1 infinite\), the first in row 2"
    )
    with pytest.raises(DataError, match=sentence):
        data.check_complete(table)


AMOUNTS = ("${}.50", "$1,{}.00", "{}%", "{},5 %", "-€{}", "(${})", "{} €", "1 {}", "1\u202f{},5")


@pytest.mark.parametrize("form", [*AMOUNTS, "({}.5)"])
def test_amounts_with_signs_are_refused_with_the_way_out(tmp_path: Path, form: str) -> None:
    lines = [f'"{form.format(200 + i)}",{i}' for i in range(30)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["price,y", *lines]), encoding="utf-8")
    with pytest.raises(DataError, match="'price' holds numbers with signs, such as"):
        data.load(path, target="y")
    assert not data.load(path, target="y", categories=["price"]).column("price").is_number


def test_a_few_percentages_are_categories(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("off,y\n" + "".join([f"{i % 3}0%,{i}\n" for i in range(30)]))
    assert data.load(path, target="y").column("off").categories() == ("00%", "10%", "20%")


def test_plain_numbers_and_debts_in_brackets_are_told_to_be_amounts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("due,y\n" + "".join(f"{f'({i}.5)' if i % 2 else i},{i}\n" for i in range(60)))
    with pytest.raises(DataError, match=r"'due' holds numbers with signs, such as '\(1\.5\)'"):
        data.load(path, target="y")


def test_spellings_that_differ_only_in_case_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("color,y\nred,Yes\nRED,yes\nRed,no\nblue,no\n")
    told = "differ only in case, such as {} and {}: they are taken as different."
    assert data.load(path, target="y").notes == (
        "Column 'color' has texts that " + told.format("'RED'", "'Red'"),
        "Column 'y' has texts that " + told.format("'Yes'", "'yes'"),
    )
