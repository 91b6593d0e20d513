"""The Preprocessor: fitted on the training part alone, the same on all later data."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass import data
from backpass.data import Column, Preprocessor, Table
from backpass.errors import DataError, DataTooLargeError


def table(target: Column | None = None, source: str = "t", **columns: list) -> Table:
    made = tuple(
        Column.texts(name, values)
        if any(isinstance(value, str) for value in values)
        else Column.numbers(name, np.array(values, dtype=float))
        for name, values in columns.items()
    )
    n_rows = len(target) if target is not None else len(made[0])
    return Table(made, target, source, np.arange(1, n_rows + 1))


CLASSES = Column.texts("kind", ["u", "v", "u", "w"])
TRAIN = table(CLASSES, size=[1.0, 3.0, 5.0, 7.0], colour=["red", "blue", "red", "green"])


def test_standardised_numbers_and_one_hot_categories() -> None:
    fitted = Preprocessor.fit(TRAIN, dtype="float64")
    x, y = fitted.transform(TRAIN)
    size = np.array([-3, -1, 1, 3]) / np.sqrt(5)
    hot = [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0]]
    np.testing.assert_allclose(x, np.column_stack([size, hot]), rtol=1e-15)
    assert y is not None
    assert (y.tolist(), y.dtype) == ([0, 1, 0, 2], np.int64)
    assert fitted.input_names == ("size", "colour=blue", "colour=green", "colour=red")
    assert (fitted.n_inputs, fitted.task, fitted.classes) == (4, "classification", ("u", "v", "w"))
    assert fitted.labels(y).tolist() == ["u", "v", "u", "w"]
    assert fitted.labels(np.array([[0], [2]])).tolist() == [["u"], ["w"]]


def test_only_the_training_part_is_learnt_from() -> None:
    fitted = Preprocessor.fit(TRAIN)
    other = table(Column.texts("kind", ["v"]), size=[1e6], colour=["blue"])
    before = fitted.to_json()
    x, _ = fitted.transform(other)
    assert fitted.to_json() == before
    assert x[0, 0] == pytest.approx((1e6 - 4) / np.sqrt(5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted.features = ()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_regression(dtype: str) -> None:
    target = Column.numbers("price", np.array([10.0, 20.0, 30.0, 40.5]))
    numbers = table(target, a=[1, 2, 3, 4])
    plain = Preprocessor.fit(numbers, dtype=dtype)  # pyright: ignore[reportArgumentType]
    x, y = plain.transform(numbers)
    assert y is not None
    assert (x.dtype, y.dtype, y.tolist()) == (dtype, dtype, [10, 20, 30, 40.5])
    scaled = Preprocessor.fit(numbers, dtype=dtype, standardize_target=True)  # pyright: ignore[reportArgumentType]
    _, y = scaled.transform(numbers)
    assert y is not None
    assert abs(y.mean()) < 1e-6
    np.testing.assert_allclose(scaled.inverse_target(y), target.values, rtol=1e-6)
    with pytest.raises(DataError, match="there are no classes"):
        scaled.labels(np.array([0]))
    with pytest.raises(DataError, match="the task is no regression"):
        Preprocessor.fit(TRAIN).inverse_target(np.array([0.0]))


def test_without_standardisation() -> None:
    x, _ = Preprocessor.fit(TRAIN, standardize=False).transform(TRAIN)
    assert x[:, 0].tolist() == [1, 3, 5, 7]


def test_a_constant_column_is_no_division_by_zero() -> None:
    constant = table(CLASSES, a=[0.1] * 4, b=[1, 2, 3, 4])
    x, _ = Preprocessor.fit(constant).transform(constant)
    assert x[:, 0].tolist() == [0] * 4
    later, _ = Preprocessor.fit(constant).transform(table(a=[0.6], b=[1]))
    assert later[0, 0] == pytest.approx(0.5)


HOLED = table(
    Column.texts("kind", ["u", "v", "u", None, "v"]),
    size=[1.0, np.nan, 2.0, 6.0, 2.0],
    colour=["red", None, "red", "blue", None],
)


@pytest.mark.parametrize(("impute", "fill"), [("mean", 5 / 3), ("median", 2), ("most_frequent", 2)])
def test_imputation(impute: str, fill: float) -> None:
    fitted = Preprocessor.fit(HOLED, missing="impute", impute=impute, standardize=False)  # pyright: ignore[reportArgumentType]
    x, y = fitted.transform(HOLED)
    # the row without a target is left out, and teaches nothing
    assert y is not None
    assert y.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(x[:, 0], [1, fill, 2, 2], rtol=1e-6)
    assert x[:, 1:].tolist() == [[1], [1], [1], [1]]
    assert fitted.kept_rows(HOLED).tolist() == [True, True, True, False, True]
    x, y = fitted.transform(HOLED, target=False)
    assert (x.shape, y) == ((5, 2), None)
    gone, _ = fitted.transform(table(size=[np.nan], colour=[None]), target=False)
    np.testing.assert_allclose(gone, [[fill, 1]], rtol=1e-6)


def test_dropping() -> None:
    gaps = table(
        Column.texts("kind", ["u", "v", "v", None, "u"]),
        size=[1.0, np.nan, 2.0, 6.0, 4.0],
        colour=["red", "red", "blue", "red", None],
    )
    fitted = Preprocessor.fit(gaps, missing="drop", standardize=False)
    x, y = fitted.transform(gaps)
    assert x.tolist() == [[1, 0, 1], [2, 1, 0]]
    assert y is not None
    assert y.tolist() == [0, 1]
    assert fitted.kept_rows(gaps).tolist() == [True, False, True, False, False]
    assert fitted.kept_rows(gaps, target=False).tolist() == [True, False, True, True, False]


def test_dropping_may_leave_a_single_class() -> None:
    with pytest.raises(DataError, match="has a single class, 'u'"):
        Preprocessor.fit(HOLED, missing="drop")


def test_missing_values_are_refused_at_transform_too() -> None:
    fitted = Preprocessor.fit(TRAIN)
    bad = table(Column.texts("kind", ["u"]), source="new.csv", size=[np.nan], colour=["red"])
    with pytest.raises(
        DataError, match=r"new\.csv: column 'size' has 1 missing value, the first in"
    ):
        fitted.transform(bad)


def test_an_empty_column_is_named() -> None:
    for values in ([np.nan] * 4, [None, None, None, ""]):
        empty = table(CLASSES, a=[1, 2, 3, 4], gone=values)
        with pytest.raises(DataError, match=r"column 'gone' holds no value .* ignore=\['gone'\]"):
            Preprocessor.fit(empty, missing="impute")
    targetless = table(Column.texts("kind", [None] * 2), a=[1, 2])
    with pytest.raises(DataError, match="target column 'kind' holds no value"):
        Preprocessor.fit(targetless, missing="impute")


def test_an_unseen_label_is_named() -> None:
    unseen = Column.texts("kind", ["u", "x", "y", "x"])
    validation = table(unseen, source="v.csv", size=[1, 2, 3, 4], colour=["red"] * 4)
    with pytest.raises(DataError) as caught:
        Preprocessor.fit(TRAIN).transform(validation)
    assert str(caught.value) == (
        "v.csv: target column 'kind' has 2 labels that training did not have: 'x', 'y' (3 rows, "
        "the first row 2). Known labels: 'u', 'v', 'w'."
    )


def test_unknown_categories_are_zeros_or_an_error() -> None:
    new = table(source="n.csv", size=[4.0, 4.0], colour=["pink", "red"])
    fitted = Preprocessor.fit(TRAIN)
    x, y = fitted.transform(new)
    assert y is None
    assert x.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]
    assert fitted.unknown_categories(new) == {"colour": ("pink",)}
    assert fitted.unknown_categories(TRAIN) == {}
    strict = Preprocessor.fit(TRAIN, unknown="error")
    sentence = (
        r"n\.csv: column 'colour' has categories that training did not have: 'pink'\. Known: "
    )
    with pytest.raises(DataError, match=sentence):
        strict.transform(new)


def test_columns_are_found_by_name() -> None:
    fitted = Preprocessor.fit(TRAIN)
    shuffled = dataclasses.replace(
        TRAIN.with_target("size"),
        columns=(Column.numbers("id", np.arange(4.0)), *TRAIN.columns[::-1]),
    )
    x, y = fitted.transform(shuffled)
    assert y is None
    assert np.array_equal(x, fitted.transform(TRAIN)[0])
    with pytest.raises(DataError) as caught:
        fitted.transform(table(source="n.csv", Size=[1.0], a=[1.0]))
    assert str(caught.value).startswith(
        "n.csv lacks 2 of the 2 columns that the model was trained on: 'size', 'colour'. Did you "
        "mean 'Size'? There are: 'Size', 'a'."
    )


def test_texts_where_numbers_were() -> None:
    bad = table(source="n.csv", size=["1", "large"], colour=["red", "red"])
    with pytest.raises(
        DataError, match=r"column 'size' held numbers in training and holds texts here"
    ):
        Preprocessor.fit(TRAIN).transform(bad)
    price = table(Column.numbers("price", np.array([1.5, 2])), a=[1, 2])
    words = table(Column.texts("price", ["high"]), a=[1])
    with pytest.raises(DataError, match="column 'price' held numbers"):
        Preprocessor.fit(price, task="regression").transform(words)


def test_numbers_where_categories_were_are_read_as_their_labels() -> None:
    floors = table(CLASSES, floor=["1", "2", "G", "1"])
    x, _ = Preprocessor.fit(floors).transform(table(floor=[2.0, 1.0]))
    assert x.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_like_reads_a_new_file_as_in_training(tmp_path) -> None:  # noqa: ANN001
    (tmp_path / "train.csv").write_text("zip,kind\n012,01\nA13,02\n012,01\n")
    (tmp_path / "new.csv").write_text("zip,kind\n012,01\n012,02\n")
    train = data.load(tmp_path / "train.csv", target="kind", categories=["kind"])
    fitted = Preprocessor.fit(train)
    assert fitted.category_columns == ("zip", "kind")
    x, y = fitted.transform(data.load(tmp_path / "new.csv", target="kind", like=fitted))
    assert y is not None
    assert (x.tolist(), y.tolist()) == ([[1, 0], [1, 0]], [0, 1])
    assert Preprocessor.fit(data.load("digits")).category_columns == ()


def test_a_million_categories_are_refused_with_an_estimate() -> None:
    names = [f"u{i}" for i in range(1_000_000)]
    users = Table((Column.texts("user", names),), None, "users.csv", np.arange(1_000_000))
    with pytest.raises(DataTooLargeError) as caught:
        Preprocessor.fit(users)
    assert str(caught.value) == (
        "users.csv: 1,000,000 rows x 1,000,000 inputs take 3.6 TiB; the cap is 4 GiB. Column "
        "'user' has 1,000,000 categories, each of which becomes an input. Leave it out with "
        "ignore=['user'], or raise max_bytes."
    )
    assert isinstance(caught.value, MemoryError)
    user = users.columns[0].take(np.arange(200_000))
    constant = Column.numbers("a", np.zeros(200_000))
    as_target = Table((constant,), user, "t", np.arange(200_000))
    with pytest.raises(
        DataError, match=r"target column 'user' has 200,000 classes .* an identifier\?"
    ):
        Preprocessor.fit(as_target)


def test_the_cap_holds_for_numbers_and_at_transform() -> None:
    with pytest.raises(
        DataTooLargeError, match="4 rows x 4 inputs take 64 bytes; the cap is 63 bytes"
    ):
        Preprocessor.fit(TRAIN, max_bytes=63)
    fitted = Preprocessor.fit(table(a=[1.0, 2.0]), max_bytes=8)
    with pytest.raises(DataTooLargeError, match="Use fewer rows or columns, or raise max_bytes"):
        fitted.transform(table(a=[1.0, 2.0, 3.0]))


def test_what_does_not_fit_into_float32_is_an_error() -> None:
    fitted = Preprocessor.fit(TRAIN)
    with pytest.raises(DataError, match=r"column 'size' is too large for float32 in row 1\."):
        fitted.transform(table(size=[1e300], colour=["red"]))
    huge = table(Column.numbers("price", np.array([1.5, 1e300])), a=[1, 2])
    with pytest.raises(
        DataError, match=r"column 'price' is too large for float32 in row 2\..*float64"
    ):
        Preprocessor.fit(huge, task="regression").transform(huge)
    assert Preprocessor.fit(huge, task="regression", dtype="float64").transform(huge)[1] is not None


@pytest.mark.parametrize(
    "options",
    [{"missing": "skip"}, {"impute": "mode"}, {"unknown": "ignore"}, {"dtype": "float16"}],
)
def test_options(options: dict) -> None:
    ((name, value),) = options.items()
    with pytest.raises(DataError, match=rf"{name} is '{value}'; it must be one of '"):
        Preprocessor.fit(TRAIN, **options)


def test_an_empty_table_transforms_to_an_empty_array() -> None:
    x, y = Preprocessor.fit(TRAIN).transform(TRAIN.take(np.array([], dtype=int)))
    assert y is not None
    assert (x.shape, y.shape) == ((0, 4), (0,))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abcde"), min_size=2, max_size=30), st.integers(0, 2**32))
def test_one_hot_rows_sum_to_one_and_name_the_category(letters: list[str], seed: int) -> None:
    column = table(c=letters)
    fitted = Preprocessor.fit(column)
    order = np.random.default_rng(seed).permutation(len(letters))
    x, _ = fitted.transform(column.take(order))
    assert x.sum(axis=1).tolist() == [1] * len(letters)
    names = [fitted.input_names[i] for i in x.argmax(axis=1)]
    assert names == [f"c={letters[i]}" for i in order]


def test_a_spreadsheets_booleans_stay_booleans_in_new_files(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("car,age,sold\nTRUE,1,FALSE\nFALSE,2,TRUE\n")
    (tmp_path / "new.csv").write_text("car,age,sold\nTRUE,1,True\nTRUE,2,true\n")
    fitted = data.Preprocessor.fit(data.load(tmp_path / "old.csv", target="sold"))
    new = data.load(tmp_path / "new.csv", target="sold", like=fitted)
    x, y = fitted.transform(new)
    assert fitted.unknown_categories(new) == {}
    assert x[:, :2].tolist() == [[0.0, 1.0], [0.0, 1.0]] and y is not None and y.tolist() == [1, 1]


def test_texts_that_only_look_like_booleans_are_kept(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("car,sold\nTRUE,1\nmaybe,2\nmaybe,2\n")
    (tmp_path / "new.csv").write_text("car,sold\nTRUE,1\n")
    fitted = data.Preprocessor.fit(data.load(tmp_path / "old.csv", target="sold"))
    new = data.load(tmp_path / "new.csv", target="sold", like=fitted)
    assert fitted.unknown_categories(new) == {}
