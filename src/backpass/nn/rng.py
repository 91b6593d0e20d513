"""Where a network's randomness comes from: one seed, streams by number, counters in Cells.

`manual_seed` starts the process-wide sequence; each initialization and each random layer takes the
next stream of it, so a model is a function of the seed and the order of construction. A layer's
stream is an RngState: a Cell with key and counter, so that draws are the same bits eager or under
jit, and a checkpoint can save where the stream is.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from backpass.errors import ConfigError
from backpass.ops import random as draw
from backpass.trace import Cell, unwrap, wrap

ONE_DRAW = np.array([0, 1], np.uint64)


class _Seeds:
    """The process-wide sequence of streams. Unseeded, it starts from the system's entropy at its
    first use.

    It has no lock, which a child forked meanwhile would find taken: the sequence is one object,
    replaced as a whole, and a count's `next` is one step.
    """

    __slots__ = ("sequence",)

    def __init__(self) -> None:
        self.sequence: tuple[Any, Iterator[int]] | None = None

    def start(self, seed: Any) -> tuple[Any, Iterator[int]]:
        """Begin again, at stream 0 of a seed."""
        self.sequence = found = seed, itertools.count()
        return found

    def take(self) -> np.random.SeedSequence:
        """The next stream."""
        entropy, numbers = self.sequence or self.start(np.random.SeedSequence().entropy)
        return np.random.SeedSequence(entropy, spawn_key=(next(numbers),))


_seeds = _Seeds()


def manual_seed(seed: int) -> None:
    """Seed what is built from here on: initial weights and the random layers.

    Args:
        seed: a whole number, at least 0.

    Raises:
        ValueError: (ConfigError) the seed is negative.

    >>> manual_seed(0); a = default_generator().random()
    >>> manual_seed(0); a == default_generator().random()
    True
    """
    number = operator.index(seed)
    if number < 0:
        raise ConfigError(f"manual_seed: the seed must be at least 0, got {number}")
    _seeds.start(number)


def default_generator() -> np.random.Generator:
    """A generator on the next stream of the process-wide sequence (NumPy's counter-based
    Philox).
    """
    return np.random.Generator(np.random.Philox(_seeds.take()))


class RngState(Cell):
    """The stream of one random layer: a Cell of uint64 [key, counter]. Each draw advances the
    counter by one.

    Args:
        key: 64 bits that name the stream; the next of the process-wide sequence if None.
    """

    __slots__ = ()

    def __init__(self, key: int | None = None) -> None:
        own = _seeds.take().generate_state(1, np.uint64)[0] if key is None else key
        super().__init__(np.array([own, 0], np.uint64))

    def _next(self) -> tuple[Any, Any]:
        state = self.read()
        key, counter = unwrap(state[0]), unwrap(state[1])
        self.write(state + ONE_DRAW)
        return key, counter

    def bits(self, shape: tuple[int, ...]) -> Any:
        """uint32 random bits."""
        return wrap(draw.bits(*self._next(), shape))

    def uniform(self, shape: tuple[int, ...], dtype: Any = np.float64) -> Any:
        """Numbers in [0, 1)."""
        return wrap(draw.uniform(*self._next(), shape, dtype))

    def bernoulli(self, p: float, shape: tuple[int, ...]) -> Any:
        """Booleans that are True with probability p."""
        return wrap(draw.bernoulli(*self._next(), p, shape))
