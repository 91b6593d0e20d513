"""The DataLoader: an order that is a function of (seed, epoch), and data that are never written."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.data import DataLoader, permutation
from backpass.errors import DataError

X = np.arange(22.0).reshape(11, 2)
Y = np.arange(11)
PAIRS = np.arange(5)[:, None].repeat(2, axis=1)


def rows(loader: DataLoader, epoch: int, start: int = 0) -> list[int]:
    return [int(i) for _, y in loader.batches(epoch, start) for i in y]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 45),
    st.booleans(),
    st.integers(0, 2**64 - 1),
    st.integers(0, 99),
)
def test_every_row_once_and_resume_anywhere(
    n: int, batch_size: int, shuffle: bool, seed: int, epoch: int
) -> None:
    x = np.arange(n * 3).reshape(n, 3)
    loader = DataLoader(x, np.arange(n), batch_size=batch_size, shuffle=shuffle, seed=seed)
    whole = list(loader.batches(epoch))
    assert len(whole) == len(loader)
    assert sorted(rows(loader, epoch)) == list(range(n))
    assert rows(loader, epoch) == loader.indices(epoch).tolist()
    for got_x, got_y in whole:
        assert np.array_equal(got_x, x[got_y])
    for start in range(len(loader) + 1):
        rest = list(
            DataLoader(x, np.arange(n), batch_size=batch_size, shuffle=shuffle, seed=seed).batches(
                epoch, start
            )
        )
        assert len(rest) == len(whole) - start
        for one, two in zip(rest, whole[start:], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))  # fmt: skip


def test_the_order_is_the_published_permutation() -> None:
    loader = DataLoader(X, Y, seed=9)
    assert np.array_equal(loader.indices(4), permutation(11, 9, 4))
    assert loader.indices(4).tolist() != loader.indices(5).tolist()
    assert DataLoader(X, Y, seed=8).indices(4).tolist() != loader.indices(4).tolist()


def test_iterating_counts_epochs_from_one() -> None:
    loader = DataLoader(X, Y, batch_size=4)
    seen = [[int(i) for _, y in loader for i in y] for _ in range(3)]
    assert seen == [rows(loader, epoch) for epoch in (1, 2, 3)]
    loader.set_epoch(2)
    assert [int(i) for _, y in loader for i in y] == seen[1]
    first, second = iter(loader), iter(loader)
    assert [int(i) for _, y in second for i in y] == rows(loader, 4)
    assert [int(i) for _, y in first for i in y] == rows(loader, 3)


def test_drop_last() -> None:
    assert [len(y) for _, y in DataLoader(X, Y, batch_size=4)] == [4, 4, 3]
    dropped = DataLoader(X, Y, batch_size=4, drop_last=True)
    assert ([len(y) for _, y in dropped], len(dropped)) == ([4, 4], 2)
    sentence = "11 rows make no full batch of 12, and drop_last leaves out what is not full"
    with pytest.raises(DataError, match=sentence):
        DataLoader(X, Y, batch_size=12, drop_last=True)


class Squares:
    """A data set of samples, as torch's users write them."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> Any:
        return self.make(i)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((X,), (X,)),
        (((X, Y),), (X, Y)),
        (({"x": X, "y": Y},), {"x": X, "y": Y}),
        ((X.tolist(), Y.tolist()), (X, Y)),
        ((pd.DataFrame(X), pd.Series(Y)), (X, Y)),
        (([(1.0, 2), (3.0, 4)],), (np.array([1.0, 3.0]), np.array([2, 4]))),
        ((Squares(lambda i: (np.full(2, i), i * i)),), (PAIRS, np.arange(5) ** 2)),
        ((Squares(lambda i: {"a": i}),), {"a": np.arange(5)}),
        ((Squares(lambda i: np.float32(i)),), (np.arange(5, dtype=np.float32),)),
    ],
)  # fmt: skip
def test_every_kind_of_data(data: tuple, expected: Any) -> None:
    (batch,) = DataLoader(*data, batch_size=100, shuffle=False).batches(1)
    assert type(batch) is type(expected)
    got = batch.values() if isinstance(batch, dict) else batch
    want = expected.values() if isinstance(expected, dict) else expected
    for one, two in zip(got, want, strict=True):
        assert one.dtype == two.dtype
        assert np.array_equal(one, two)


def test_data_are_never_written_and_batches_are_fresh() -> None:
    x, y = X.copy(), Y.copy()
    for shuffle in (True, False):
        for batch_x, batch_y in DataLoader(x, y, batch_size=4, shuffle=shuffle):
            batch_x += 1
            batch_y += 1
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)


def test_a_memory_map_is_read_batch_by_batch(tmp_path: Path) -> None:
    path = tmp_path / "x"
    np.zeros((100, 3), dtype=">f4").tofile(path)
    mapped = np.memmap(path, mode="r", dtype=">f4", shape=(100, 3))
    loader = DataLoader(mapped, batch_size=10, shuffle=False)
    batches = loader.batches(1)
    (first,) = next(batches)
    with path.open("r+b") as file:
        file.write(np.full((100, 3), 7, dtype=">f4").tobytes())
    (second,) = next(batches)
    assert (first.max(), second.min()) == (0, 7)
    assert type(second) is np.ndarray
    assert second.dtype.isnative
    assert loader.arrays[0] is mapped  # pyright: ignore[reportArgumentType, reportOptionalSubscript]


@pytest.mark.parametrize(
    "view", [X[::-1], np.asfortranarray(X), X.astype(">f8"), X[:, ::-1][:, ::-1]]
)
def test_any_layout(view: np.ndarray) -> None:
    (batch,) = DataLoader(view, batch_size=20, shuffle=False).batches(1)
    assert np.array_equal(batch[0], view)


def generator() -> Any:
    yield X


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ((), "A DataLoader needs data"),
        (((),), "A DataLoader needs data"),
        ((X, Y[:5]), "x has 11 rows and y has 5 rows; they need the same number of rows."),
        (({"a": X, "b": Y[:5]},), "a has 11 rows and b has 5 rows"),
        ((X, Y, Y[:1]), "array 1 has 11 rows and array 2 has 11 rows and array 3 has 1 row;"),
        ((X[:0], Y[:0]), "x, y: there are no rows."),
        (([],), "x: there are no rows."),
        (({},), "The mapping holds no arrays."),
        ((np.array(1.0),), "x is a single value; give an array of samples"),
        ((5,), "x is a single value"),
        ((X, Y, 32), "array 3 is a single value; give an array of samples, (N, ...). Options are"),
        ((generator(),), "The data is a generator 'generator', a one-shot iterator: it would be "
         "used up in epoch 1 and nothing would be left for epoch 2"),
        ((iter([1]), Y), "The data is a list_iterator, a one-shot iterator"),
        (({"x": map(str, [1])},), "The data is a map, a one-shot iterator"),
        (([X, Y],), "x cannot be made an array, since its rows differ in shape"),
        (({1, 2},), "x is a set that holds Python objects, not numbers."),
        ((np.ma.array([1.0], mask=[True]),), "x is a masked array"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded(data: tuple, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        DataLoader(*data)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda i: np.zeros(i), "differ in shape: (0,) in sample 0, (1,) in sample 1."),
        (lambda i: (1,) * (i + 1), "have not all 1 parts"),
        (lambda i: object(), "Sample 0 holds a 'object', which is no array of numbers."),
    ],
)
def test_samples_that_do_not_stack(make: Any, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        list(DataLoader(Squares(make), shuffle=False))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch_size is '0'; it must be a whole number, at least 1."),
        ({"batch_size": 2.0}, "batch_size is '2.0'"),
        ({"seed": -1}, "seed is '-1'"),
    ],
)
def test_options(options: dict, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        DataLoader(X, Y, **options)


def test_epoch_and_start_are_checked_at_once() -> None:
    loader = DataLoader(X, Y, batch_size=4)
    with pytest.raises(DataError, match="start is '4'; it must be a whole number, from 0 to 3"):
        loader.batches(1, start=4)
    with pytest.raises(DataError, match="epoch is '-1'"):
        loader.batches(-1)
    with pytest.raises(DataError, match="epoch is 'x'"):
        loader.set_epoch("x")  # pyright: ignore[reportArgumentType]
