"""Ready-made batches: again and again, or once, with the cause named at the second epoch."""

from collections.abc import Iterator

import pytest

from backpass.data import BatchStream, DataLoader
from backpass.errors import DataError


def rows() -> Iterator[int]:
    yield from (1, 2, 3)


def test_a_one_shot_iterator_is_an_error_at_epoch_2() -> None:
    stream = BatchStream(rows())
    assert list(stream.batches(1)) == [1, 2, 3]
    with pytest.raises(DataError) as caught:
        stream.batches(2)
    assert str(caught.value) == (
        "The data is a generator 'rows', a one-shot iterator: epoch 1 used it up and nothing is "
        "left for epoch 2. Pass arrays, a list, or a function that makes a new iterator for each "
        "epoch."
    )


@pytest.mark.parametrize("source", [[1, 2, 3], rows, range(1, 4), {1: 0, 2: 0, 3: 0}])
def test_what_can_be_read_again(source: object) -> None:
    stream = BatchStream(source)  # pyright: ignore[reportArgumentType]
    for epoch in (1, 2, 3):
        assert list(stream.batches(epoch)) == [1, 2, 3]
    assert list(stream.batches(4, start=2)) == [3]
    assert list(stream.batches(4, start=3)) == []


def test_another_loader_is_a_stream_too() -> None:
    stream = BatchStream(DataLoader(list(range(5)), batch_size=2))
    assert [len(list(stream.batches(epoch))) for epoch in (1, 2)] == [3, 3]


def test_a_function_that_gives_a_used_up_iterator() -> None:
    once = rows()
    stream = BatchStream(lambda: once)
    assert list(stream.batches(1)) == [1, 2, 3]
    with pytest.raises(DataError, match="gave no batch in epoch 2: it is empty, or was already"):
        list(stream.batches(2))


def test_no_batches_and_no_source() -> None:
    with pytest.raises(DataError, match="gave no batch in epoch 1"):
        list(BatchStream([]).batches(1))
    with pytest.raises(DataError, match="A int is no source of batches"):
        BatchStream(5)  # pyright: ignore[reportArgumentType]
