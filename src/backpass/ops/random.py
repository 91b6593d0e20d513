"""Random numbers over operands, from the bits of `prims/random.py`: uniform and Bernoulli.

Each function is pure: key and counter (uint64 scalars) in, numbers out, the same bits eager or
compiled. Whoever owns the counter must give each draw a new one; `nn/rng.py` keeps it in a Cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.errors import ConfigError
from backpass.ir import Operand
from backpass.ops.indexing import getitem
from backpass.ops.operand import cast_to, operand
from backpass.prims import elementwise as el
from backpass.prims.random import random_bits
from backpass.prims.rules import full_like

Ints = tuple[int, ...]


def bits(key: Any, counter: Any, shape: Ints) -> Operand:
    """uint32 random bits of `shape`."""
    return random_bits(operand(key), operand(counter), shape=tuple(shape))


def _top(words: Operand, digits: int) -> Operand:
    """The first `digits` bits of each word, as an integer."""
    return el.right_shift(words, full_like(words, 32 - digits))


def uniform(key: Any, counter: Any, shape: Ints, dtype: Any = np.float64) -> Operand:
    """Uniform numbers in [0, 1), on the grid of the dtype's precision just below 1, so 1 is never
    drawn.
    """
    kind = np.dtype(dtype)
    digits = np.finfo(kind).nmant + 1
    if digits <= 32:
        whole = cast_to(_top(bits(key, counter, shape), digits), kind)
        return el.times(whole, 2.0**-digits)
    words = bits(key, counter, (2, *shape))
    high = cast_to(_top(getitem(words, 0), digits - 26), kind)
    low = cast_to(_top(getitem(words, 1), 26), kind)
    return el.times(el.add(el.times(high, 2.0**26), low), 2.0**-digits)


def bernoulli(key: Any, counter: Any, p: float, shape: Ints) -> Operand:
    """Booleans that are True with probability p, exact to 2**-32.

    Raises:
        ValueError: (ConfigError) p lies outside of [0, 1].
    """
    if not 0.0 <= p <= 1.0:
        raise ConfigError(f"bernoulli: p={p!r} is no probability; it must lie in [0, 1]")
    words = bits(key, counter, shape)
    if p == 1.0:
        return el.greater_equal(words, full_like(words, 0))
    return el.less(words, full_like(words, min(round(p * 2.0**32), 2**32 - 1)))
