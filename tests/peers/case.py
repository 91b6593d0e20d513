"""One function of NumPy's namespace that is computed by several libraries.

`function(np, *xs)` is written once and run with NumPy under backpass, with `jax.numpy` under JAX,
and with `autograd.numpy` under HIPS autograd; `torch` is a function of tensors where the other two
lack something, or to have a second opinion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

Array = numpy.ndarray[Any, numpy.dtype[Any]]
Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Case:
    """A name, the function, its floating arguments and the peers that can run it."""

    name: str
    function: Function
    args: tuple[Array, ...]
    peers: tuple[str, ...] = ("jax", "autograd")
    torch: Function | None = None


def numbers(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Array:
    """Uniform numbers, the same in every run."""
    return numpy.asarray(numpy.random.default_rng(seed).uniform(low, high, shape))


A = numbers(3, 4, seed=1)
B = numbers(3, 4, seed=2)
P = numbers(3, 4, seed=3, low=0.5, high=2.0)
Q = numbers(3, 4, seed=4, low=0.5, high=2.0)
V = numbers(5, seed=5)
T = numbers(2, 3, 4, seed=6)
S = numbers(3, 3, seed=7) + 3 * numpy.eye(3)
JAX = ("jax",)
