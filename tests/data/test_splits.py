"""Splits: disjoint, complete, of the right sizes, stratified within one row, seeded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass import data
from backpass.data import train_validation_test_split as split
from backpass.errors import DataError

SHARES = st.floats(0.01, 0.45)
KNOWN_TEST = [2, 4, 15]


def is_partition(parts: data.Split, n: int) -> bool:
    return np.array_equal(np.sort(np.concatenate(list(parts))), np.arange(n))


@settings(max_examples=80, deadline=None)
@given(st.integers(3, 400), SHARES, SHARES, st.integers(0, 2**64 - 1))
def test_a_plain_split_is_a_partition_of_the_right_sizes(
    n: int, validation: float, test: float, seed: int
) -> None:
    parts = split(n, validation, test, seed=seed)
    assert is_partition(parts, n)
    assert all(len(part) >= 1 for part in parts)
    assert abs(len(parts.validation) - n * validation) <= 1
    assert abs(len(parts.test) - n * test) <= 1
    again = split(n, validation, test, seed=seed)
    assert all(np.array_equal(one, two) for one, two in zip(parts, again, strict=True))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(lambda sizes: max(sizes) >= 3),
    SHARES,
    SHARES,
    st.integers(0, 1000),
)
def test_stratification_is_within_one(
    sizes: list[int], validation: float, test: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    try:
        parts = split(len(labels), validation, test, stratify=labels, seed=seed)
    except DataError as error:
        assert "leaves the" in str(error)
        assert len(labels) * min(validation, test) < len(sizes) + 3
        return
    assert is_partition(parts, len(labels))
    for label, size in enumerate(sizes):
        n_train, n_validation, n_test = (int((labels[part] == label).sum()) for part in parts)
        assert n_train >= 1
        crowded = size * (1 - validation - test) < 1
        for got, share in ((n_validation, validation), (n_test, test)):
            assert got - size * share < 1 + 1e-9
            if not crowded:
                assert size * share - got < 1 + 1e-9
        if size >= 3:
            assert min(n_validation, n_test) >= 1


def test_digits_and_iris() -> None:
    table = data.load("digits")
    parts = split(table, stratify=table.target)
    assert [len(part) for part in parts] == [1257, 270, 270]
    iris = data.load("iris")
    parts = split(iris, 0.2, 0.2, stratify=iris.target, seed=5)
    assert iris.target is not None
    for part, each in zip(parts, (30, 10, 10), strict=True):
        counts = np.unique(iris.target.values[part].astype(str), return_counts=True)[1]
        assert counts.tolist() == [each] * 3


def test_regression_is_not_stratified() -> None:
    parts = split(data.load("diabetes"))
    assert [len(part) for part in parts] == [310, 66, 66]


def test_seeds_differ_and_rows_are_ascending() -> None:
    one, two = split(100, seed=1), split(100, seed=2)
    assert not np.array_equal(one.test, two.test)
    assert all(np.all(np.diff(part) > 0) and part.dtype == np.int64 for part in one)


def test_known_answer() -> None:
    """The same rows on every platform and with every NumPy."""
    assert split(20, seed=0).test.tolist() == KNOWN_TEST


def test_a_part_may_be_left_out() -> None:
    parts = split(10, validation=0.3, test=0)
    assert [len(part) for part in parts] == [7, 3, 0]
    assert [len(part) for part in split(1, 0, 0)] == [1, 0, 0]
    assert [len(part) for part in split(6, 0, 0.34, stratify=list("aaabbb"))] == [4, 0, 2]


@pytest.mark.parametrize("labels", [list("aab" * 5), [True, False, True] * 5, [1.5, 2.0, 2.0] * 5])
def test_labels_of_any_kind(labels: list) -> None:
    assert is_partition(split(15, stratify=labels), 15)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"data": 2}, "2 rows cannot be divided into 3 parts of at least one row each."),
        ({"data": 0}, "0 rows cannot be divided"),
        ({"data": 10, "validation": 0.5, "test": 0.5}, "together leave no rows for training"),
        ({"data": 10, "test": 1.5}, "test is 1.5; it must be a share of the rows"),
        ({"data": 10, "validation": -0.1}, "validation is -0.1; it must be a share"),
        ({"data": 10, "test": float("nan")}, "test is nan; it must be a share"),
        ({"data": 10, "test": "a"}, "test is 'a'; it must be a share such as 0.15."),
        ({"data": 10, "seed": -1}, "seed is '-1'; it must be a whole number"),
        ({"data": 2.5}, "the number of rows is '2.5'"),
        ({"data": 10, "stratify": [1, 2]}, "stratify has 2 labels and the data has 10 rows"),
        (
            {"data": 10, "stratify": [str(i) for i in range(10)]},
            "A stratified split leaves the validation part empty: 10 classes in 10 rows, the "
            "largest with 1. A class needs three rows to be in every part. Are these classes, and "
            "not names, numbers or quantities? If so, give more rows of each;",
        ),
    ],
)
def test_what_cannot_be_split(arguments: dict, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        split(**arguments)
    assert sentence in str(caught.value)
