"""A statement of a random program, and how its makers choose what it reads.

A maker looks at the arrays so far and proposes a statement of them, or None; they are in
`graph_elementwise`, `graph_products` and `graph_shapes`.

A statement that would make rounding errors large is not proposed: no logarithm near 0, no
comparison of nearly equal numbers, no maximum with a near tie. So a compiled program that rounds
otherwise than NumPy still has to give NumPy's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Pool = Sequence[Any]
Rng = np.random.Generator
GAP = 1e-3  # how far a number must be from where a function jumps or has a kink
FLOATS = (np.float32, np.float64)


@dataclass(frozen=True, slots=True)
class Statement:
    """One line of a program: what it reads, and the function of that.

    Args:
        text: as it is printed, with {} for what it reads.
        reads: places in the pool.
        run: NumPy code, for arrays and traced arrays alike.
    """

    text: str
    reads: tuple[int, ...]
    run: Callable[..., Any]

    def __str__(self) -> str:
        return self.text.format(*[f"t{i}" for i in self.reads])


Maker = Callable[[Rng, Pool], Statement | None]


def kind(a: Any) -> str:
    """f, i or b."""
    return np.asarray(a).dtype.kind


def pick(rng: Rng, pool: Pool, wanted: Callable[[Any], bool]) -> int | None:
    """The place of an array that has a property, recent ones more often."""
    places = [i for i, a in enumerate(pool) if wanted(a)]
    if not places:
        return None
    return places[-1] if rng.random() < 0.35 else int(rng.choice(places))


def any_array(a: Any) -> bool:
    """Every array."""
    return True


def is_float(a: Any) -> bool:
    """A floating array."""
    return kind(a) == "f"


def is_integer(a: Any) -> bool:
    """An integer array."""
    return kind(a) == "i"


def far(a: Any, b: Any = 0.0) -> bool:
    """Whether a and b differ everywhere by more than the gap, or are exact."""
    with np.errstate(all="ignore"):
        difference = np.asarray(a) - b
    return difference.dtype.kind != "f" or bool(np.all(np.abs(difference) > GAP))


def far_from_whole(a: Any) -> bool:
    """Whether no element is near a whole number."""
    return far(a, np.rint(a))


def between(low: float, high: float) -> Callable[[Any], bool]:
    """Whether all elements lie within."""
    return lambda a: bool(np.all((np.asarray(a) >= low) & (np.asarray(a) <= high)))


def fits(a: Any, b: Any) -> bool:
    """Whether they broadcast to a small array."""
    try:
        shape = np.broadcast_shapes(np.shape(a), np.shape(b))
    except ValueError:
        return False
    return int(np.prod(shape)) <= 600
