"""NaN, infinity and missing cells: the sentence names column, row and count."""

import numpy as np
import pytest

from backpass import data
from backpass.errors import DataError

X = np.arange(12.0).reshape(4, 3)


def table(x: np.ndarray, y: object = (0, 1, 0, 1)) -> data.Table:
    return data.load((x, list(y)))  # pyright: ignore[reportArgumentType]


def holed(*cells: tuple[int, int], value: float = np.nan) -> np.ndarray:
    x = X.copy()
    for cell in cells:
        x[cell] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (
            holed((1, 0), (3, 0)),
            (0, 1, 0, 1),
            "the arrays: column 'x0' has 2 missing values, the first in row 2. Mend the data, or "
            "set missing='impute' (fill in) or missing='drop' (leave such rows out).",
        ),
        (holed((2, 1), value=-np.inf), (0, 1, 0, 1), "column 'x1' has 1 infinite value, the first"),
        (
            holed((0, 1), (2, 2)),
            (0, 1, 0, 1),
            "row 1; column 'x2' has 1 missing value, the first in",
        ),
        (X, (0.5, np.nan, 1, 2), "target column 'target' has 1 missing value, the first in row 2."),
        (
            X,
            ("a", None, "b", "b"),
            "target column 'target' has 1 missing value, the first in row 2",
        ),
    ],
)
def test_the_sentence(x: np.ndarray, y: tuple, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        data.check_complete(table(x, y))
    assert sentence in str(caught.value)
    with pytest.raises(DataError) as by_fit:
        data.Preprocessor.fit(table(x, y))
    assert str(by_fit.value) == str(caught.value)


def test_many_bad_columns_are_counted() -> None:
    bad = table(np.full((4, 9), np.nan))
    with pytest.raises(DataError, match=r"column 'x4' has 4 .*; 4 more columns likewise"):
        data.check_complete(bad)


def test_complete_data_passes_and_is_dropped_from_nowhere() -> None:
    whole = table(X)
    data.check_complete(whole)
    assert data.drop_missing(whole) is whole


def test_drop() -> None:
    dropped = data.drop_missing(table(holed((1, 0), (3, 0)), (0.5, 1, np.inf, 2)))
    assert dropped.rows.tolist() == [1]
    sentence = r"no row is complete.*Column 'x2' misses the most \(4 of 4\)"
    with pytest.raises(DataError, match=sentence):
        data.drop_missing(table(holed(*((i, 2) for i in range(4)))))


@pytest.mark.parametrize(
    ("values", "options", "sentence"),
    [
        (holed((1, 2)), {}, "1 value that is NaN or infinite, the first nan in row 2, column 2"),
        (
            holed((1, 2), (0, 1), value=np.inf),
            {"columns": ("a", "b", "c")},
            "2 values that are NaN or infinite, the first inf in row 1, column 'b' (x[0, 1]).",
        ),
        (np.array([1, np.nan]), {"name": "y"}, "the first nan in row 2 (y[1])"),
        (
            np.full((2, 2, 2), np.nan),
            {},
            "(x[0, 0, 0]). Mend the data, or leave out such rows: "
            "x[np.isfinite(x).all(axis=(1, 2))].",
        ),
        (np.array(np.nan), {}, "x holds 1 value that is NaN or infinite, the first nan"),
        (np.array([1, 1j * np.inf]), {}, "x holds 1 value"),
    ],
)
def test_check_finite(values: np.ndarray, options: dict, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        data.check_finite(values, **options)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "values", [X, np.arange(3), np.array(["a"]), np.zeros((0, 3)), np.zeros(())]
)
def test_check_finite_lets_good_data_pass(values: np.ndarray) -> None:
    data.check_finite(values)


def test_check_finite_reads_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backpass.data.missing._BLOCK_BYTES", 100)
    x = np.zeros((1000, 3))
    x[[500, 999], [1, 2]] = np.nan
    with pytest.raises(
        DataError, match=r"x holds 2 values .* in row 501, column 1 \(x\[500, 1\]\)"
    ):
        data.check_finite(x)
