"""Random orders that are a function of numbers alone: the same on every platform and NumPy version.

`np.random.Generator.permutation` may change between NumPy versions (NEP 19), the raw output of the
counter-based bit generator Philox 4x64-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", 2011) may not. So a permutation here is the order that sorts n raw 64-bit words; the sort
is stable, so that equal words (about n^2 / 2^65 of a chance) leave no freedom either.
"""

from typing import Any

import numpy as np

from backpass.errors import DataError
from backpass.wording import quote

# Words of the counter's top quarter, so that no two uses ever share random words.
SPLIT_STREAM = 1
LOADER_STREAM = 2


def permutation(n: int, seed: int, index: int = 0, *, stream: int = LOADER_STREAM) -> np.ndarray:
    """A permutation of 0 ... n-1 that depends on the arguments alone.

    Args:
        n: how many.
        seed: 0 <= seed < 2**64, the first half of Philox' key.
        index: 0 <= index < 2**64, the second half: the epoch, or the class in a stratified split.
        stream: which use it is for; different uses of one seed are independent.

    Returns:
        (n,) int64.

    >>> permutation(5, seed=0, index=1).tolist() == permutation(5, seed=0, index=1).tolist()
    True
    """
    check_whole("seed", seed, 0, 2**64 - 1)
    check_whole("index", index, 0, 2**64 - 1)
    key = np.array([seed, index], dtype=np.uint64)
    counter = np.array([0, 0, 0, stream], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=counter).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64)


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """`value` as an int; DataError unless it is a whole number from `least` to `most`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise DataError(f"{name} is {quote(value)}; it must be a whole number, {span}.")
    return int(value)
