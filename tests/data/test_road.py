"""The whole road, as a person with a spreadsheet walks it: file, split, preprocessing, batches."""

from pathlib import Path

import numpy as np
import pytest

from backpass import data
from backpass.errors import DataError

SHEET = (
    '"Name";Alter;Größe;Ort;Raucher;Kauft',
    '"Meier, Ute";34;1,68;Köln;WAHR;ja',
    '"Özil ""Öz""";;1,81;Bonn;FALSCH;nein',
    "Kurz;51;1,75;;FALSCH;ja",
    "Lang;28;n/a;Köln;WAHR;nein",
)


def sheet(tmp_path: Path) -> Path:
    towns, answers = ("Bonn", "Köln", "Köln"), ("nein", "ja")
    body = [
        f"P{i};{20 + i};1,{60 + i % 30};{towns[i % 3]};WAHR;{answers[i % 2]}" for i in range(40)
    ]
    path = tmp_path / "kunden.csv"
    path.write_bytes("\r\n".join([*SHEET, *body, ";;;;;", ""]).encode("cp1252"))
    return path


def test_a_sheet_of_mixed_types_and_a_few_empty_cells(tmp_path: Path) -> None:
    path = sheet(tmp_path)
    table = data.load(path, target="Kauft", ignore=["Name"])
    assert len(table) == 44
    assert [column.is_number for column in table.columns] == [True, True, False, False]
    with pytest.raises(DataError) as caught:
        data.Preprocessor.fit(table)
    assert str(caught.value) == (
        "kunden.csv: column 'Alter' has 1 missing value, the first in row 2 (line 3); column "
        "'Größe' has 1 missing value, the first in row 4 (line 5); column 'Ort' has 1 missing "
        "value, the first in row 3 (line 4). Mend the data, or set missing='impute' (fill in) or "
        "missing='drop' (leave such rows out)."
    )
    split = data.train_validation_test_split(table, stratify=table.target, seed=3)
    train = table.take(split.train)
    fitted = data.Preprocessor.fit(train, missing="impute", impute="median")
    parts = [fitted.transform(table.take(part)) for part in split]
    assert sum(len(x) for x, _ in parts) == 44
    assert fitted.classes == ("ja", "nein")
    x, y = parts[0]
    assert y is not None
    numbers = x[:, [fitted.input_names.index("Alter"), fitted.input_names.index("Größe")]]
    assert np.abs(numbers.mean(axis=0)).max() < 0.2
    seen = np.concatenate([batch for _, batch in data.DataLoader(x, y, batch_size=8)])
    assert sorted(seen) == sorted(y)


def test_the_note_on_names_says_to_leave_them_out(tmp_path: Path) -> None:
    notes = data.load(sheet(tmp_path), target="Kauft").notes
    assert notes == (
        "Read as Windows-1252 (line 1 is not UTF-8); if letters look wrong, set encoding.",
        "Left out 1 row with nothing but empty cells.",
        "Numbers have decimal commas (column 'Größe').",
        "Column 'Name' has 44 different texts in 44 rows: nothing can be learnt from most of them. "
        "Consider leaving it out with ignore=['Name'].",
    )


@pytest.mark.parametrize("name", ["digits", "breast-cancer", "wine", "iris", "diabetes"])
def test_the_embedded_sets(name: str) -> None:
    table = data.load(name)
    assert table.target is not None
    classes = data.infer_task(table.target) == "classification"
    split = data.train_validation_test_split(table, stratify=table.target if classes else None)
    fitted = data.Preprocessor.fit(table.take(split.train), dtype="float64")
    x, y = fitted.transform(table.take(split.train))
    assert y is not None
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    spread = x.std(axis=0)
    np.testing.assert_allclose(spread[spread > 0], 1, rtol=1e-12)
    for part in (split.validation, split.test):
        later, labels = fitted.transform(table.take(part))
        assert np.isfinite(later).all()
        assert labels is not None
        assert len(later) == len(labels) == len(part)
