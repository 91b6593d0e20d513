"""`load` finds the right reader for every kind of source, and says what a wrong one is."""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from backpass import data
from backpass.errors import DataError, MissingDependencyError


@pytest.mark.parametrize(
    ("name", "rows", "columns", "task", "n_classes"),
    [
        ("digits", 1797, 64, "classification", 10),
        ("breast-cancer", 569, 30, "classification", 2),
        ("wine", 178, 13, "classification", 3),
        ("iris", 150, 4, "classification", 3),
        ("diabetes", 442, 10, "regression", 214),
    ],
)
def test_embedded_sets(name: str, rows: int, columns: int, task: str, n_classes: int) -> None:
    table = data.load(name)
    assert (len(table), len(table.columns), table.source) == (rows, columns, name)
    assert table.target is not None
    assert data.infer_task(table.target) == task
    assert len(table.target.categories()) == n_classes
    data.check_complete(table)


def test_digits_keep_the_shape_of_the_images() -> None:
    assert data.load("digits").sample_shape == (8, 8)


def test_another_target_makes_the_former_one_a_feature() -> None:
    table = data.load("wine", target="alcohol", ignore=["ash"])
    assert table.target is not None
    assert table.target.name == "alcohol"
    assert "target" in table.names
    assert "ash" not in table.names


X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    "names", [("x", "y"), ("X", "y"), ("features", "target"), ("images", "labels")]
)
def test_npz_and_mappings(tmp_path: Path, names: tuple[str, str]) -> None:
    arrays = {names[0]: X, names[1]: Y, "extra": np.zeros(2)}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    for source in (tmp_path / "plain.npz", str(tmp_path / "packed.npz"), arrays):
        table = data.load(source)
        assert np.array_equal(np.stack([c.values for c in table.columns], axis=1), X)
        assert table.target is not None
        assert table.target.values.tolist() == Y.tolist()
        assert table.notes == ("Not read: 'extra'.",)


def test_npy_has_columns_but_no_target(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(X))
    table = data.load(tmp_path / "a.npy", target="x2")
    assert table.names == ("x0", "x1")
    assert table.target is not None
    assert table.target.values.tolist() == X[:, 2].tolist()


def test_images_are_flattened_with_a_note() -> None:
    table = data.load((np.zeros((5, 4, 3), dtype=np.uint8), np.arange(5)))
    assert len(table.columns) == 12
    assert table.sample_shape == (4, 3)
    assert table.notes == ("Samples of shape 4 x 3 are 12 columns each.",)
    assert table.without(["x3"]).sample_shape is None


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("digit", "There is no file and no embedded set 'digit'. Did you mean digits?"),
        ("nothing-like-it.csv", "There is no file 'nothing-like-it.csv'."),
        ("/no/such/folder/x.csv", "There is no folder '/no/such/folder'"),
        ("/", "'/' is a folder; give the path of one file in it."),
        ("a\0b.csv", "cannot be read: "),
        ((X, Y[:3]), "x has 4 rows and y has 3 rows; they need one y for each row of x."),
        ((X, X), "y has shape (4, 3); the target must be one value per sample"),
        ((X[:0], Y[:0]), "the arrays has no rows"),
        (np.zeros((4, 0)), "the array has no columns"),
        (5, "x is a int, not data."),
        (({1, 2}, Y), "x is a set, not data."),
        ([[1, 2], [3]], "x cannot be made an array, since its rows differ in length"),
        ((row for row in X), "x is a generator '<genexpr>', which can be read only once."),
        ({"a": X, "b": Y}, "the mapping holds 'a', 'b', and none of the pairs x/y"),
        (np.zeros((2, 2), dtype=complex), "column 'x0' has dtype complex128, which is neither"),
        (np.zeros(2, dtype="M8[D]"), "column 'x0' has dtype datetime64[D]"),
        (np.array([[1, object()]], dtype=object), "column 'x1' holds a object in row 1."),
    ],
)
def test_wrong_sources_get_one_sentence(source: object, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        data.load(source)
    assert sentence in str(caught.value)


def test_a_near_file_name_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"Did you mean '.*people\.csv'\?"):
        data.load(tmp_path / "poeple.csv")


def test_unknown_kinds_of_file_name_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(
        DataError, match=r"'book\.xlsx' is of no kind that is read here\. Kinds: \.csv"
    ):
        data.load(tmp_path / "book.xlsx")


def test_a_sparse_matrix_is_refused() -> None:
    with pytest.raises(DataError, match=r"x is a sparse matrix.*x\.toarray\(\)"):
        data.load((csr_matrix(X), Y))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingDependencyError, match="Reading a text table needs polars"):
        data.load(tmp_path / "a.csv")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError, match="The embedded set iris needs scikit-learn"):
        data.load("iris")


def test_inputs_are_never_written_and_any_layout_reads_alike() -> None:
    x = X.copy()
    x.flags.writeable = False
    plain = data.load((x, Y))
    for other in (
        np.asfortranarray(X),
        X[::-1][::-1],
        X.astype(">f8"),
        X.astype(">i2"),
        X.tolist(),
    ):
        table = data.load((other, Y))
        for one, two in zip(plain.columns, table.columns, strict=True):
            assert np.array_equal(one.values, two.values)
    with pytest.raises(ValueError, match="read-only"):
        plain.columns[0].values[0] = 9


def test_mapping_of_any_kind() -> None:
    table = data.load(OrderedDict(y=["a", "b"], x=[[1, 2], [3, 4]]))
    assert table.target is not None
    assert table.target.values.tolist() == ["a", "b"]


def test_a_table_is_a_source_too() -> None:
    table = data.load((X, Y))
    assert data.load(table, target="x1").names == ("x0", "x2", "target")


def test_texts_that_are_mostly_different_get_a_note() -> None:
    names = np.array([[f"name {i}", "ab"[i % 2]] for i in range(30)])
    table = data.load((names, np.arange(30)))
    assert table.notes == (
        "Column 'x0' has 30 different texts in 30 rows: nothing can be learnt from most of them. "
        "Consider leaving it out with ignore=['x0'].",
    )


def test_a_mapping_of_columns_with_a_named_target() -> None:
    table = data.load({"size": [1.0, 2.0, 4.0], "kind": ["a", "b", "a"], "y": [0, 1, 0]}, "y")
    assert table.names == ("size", "kind")
    assert table.target is not None
    assert table.target.values.tolist() == [0.0, 1.0, 0.0]
    with pytest.raises(DataError, match="'size' has 2 rows and 'y' has 1 row"):
        data.load({"size": [1.0, 2.0], "y": [0]}, "y")
    with pytest.raises(DataError, match=r"'size' of the mapping has shape \(1, 2\)"):
        data.load({"size": [[1.0, 2.0]], "y": [0]}, "y")


def test_a_frame_whose_columns_are_numbers_has_a_target_by_number() -> None:
    table = data.load(pd.DataFrame(np.arange(6.0).reshape(2, 3)), target=2)  # pyright: ignore[reportArgumentType]
    assert table.names == ("0", "1")
    assert table.target is not None and table.target.values.tolist() == [2.0, 5.0]
