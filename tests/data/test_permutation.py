"""Orders are functions of (n, seed, index, stream): the same on every machine, for ever."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.data import permutation
from backpass.data.permutation import LOADER_STREAM, SPLIT_STREAM
from backpass.errors import DataError

WORD = st.integers(0, 2**64 - 1)
KNOWN_0_1 = [3, 4, 8, 6, 2, 7, 0, 5, 1, 9]
KNOWN_42_7 = [1, 7, 9, 6, 5, 4, 2, 8, 3, 0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), WORD, WORD)
def test_a_permutation_that_depends_on_the_arguments_alone(n: int, seed: int, index: int) -> None:
    order = permutation(n, seed, index)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))
    assert np.array_equal(order, permutation(n, seed, index))


def test_every_argument_matters() -> None:
    orders = [
        permutation(50, seed, index, stream=stream)
        for seed in (0, 1, 2**64 - 1)
        for index in (0, 1, 2)
        for stream in (SPLIT_STREAM, LOADER_STREAM)
    ]
    assert len({tuple(order.tolist()) for order in orders}) == len(orders)


def test_known_answers() -> None:
    """A change of these numbers would change every split and every run that was ever made."""
    assert permutation(10, 0, 1).tolist() == KNOWN_0_1
    assert permutation(10, 42, 7, stream=SPLIT_STREAM).tolist() == KNOWN_42_7


def test_it_is_uniform() -> None:
    counts = np.zeros((4, 4))
    for index in range(2000):
        counts[np.arange(4), permutation(4, 3, index)] += 1
    # 500 expected in each of 16 cells; 5 standard deviations (19.4 each)
    assert np.abs(counts - 500).max() < 97


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "1"])
def test_seeds_out_of_range(seed: object) -> None:
    with pytest.raises(DataError, match=r"seed is .*; it must be a whole number, from 0 to"):
        permutation(3, seed)  # pyright: ignore[reportArgumentType]
