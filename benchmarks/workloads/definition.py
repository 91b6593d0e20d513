"""What a workload is: one step, written for each library, from the same NumPy arrays.

A builder gives a `Built`: a call that runs one step and waits for its results, and the numbers by
which the libraries are compared. Builders import their library inside, so that a peer that is not
installed costs its own rows only. Workloads name what a step must at least do (FLOP, bytes): from
these and the measured limits of the machine comes the percentage in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IMPLEMENTATIONS = ("backpass", "torch", "torch.compile", "jax")
PEERS = IMPLEMENTATIONS[1:]
COMPILERS = ("backpass", "torch.compile", "jax")
# A transcendental function is counted as so many FLOP: a polynomial of degree 10.
TRANSCENDENTAL = 20


@dataclass(frozen=True, slots=True)
class Built:
    """One implementation, ready to run.

    Args:
        step: runs one step and returns its results, computed, in the library's own type.
        numbers: what `step` returned as one float64 vector: the loss, or value and gradient.
        jitted: the `bp.jit` function and its arguments, of which a memory plan may be asked.
    """

    step: Callable[[], Any]
    numbers: Callable[[Any], np.ndarray]
    jitted: tuple[Any, tuple[Any, ...]] | None = None


Builder = Callable[[bool], Built]


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the report.

    Args:
        name: of the file of results, and for `--only`.
        title: for the table.
        about: a sentence for the report.
        dtype: float32 or float64: which FMA peak is the limit.
        flops: the least floating-point operations of a step; None where no count is a fair limit.
        bytes: the least bytes that a step moves: every input read once, every output written once.
        builders: by implementation; each takes `exact`, which asks for a step without randomness.
        steps: how many steps are run before the numbers are compared (the next step's are).
        tolerance: how far the numbers may differ from PyTorch's, relative to the largest.
        random: the step draws random numbers, so it is compared with `exact=True` and timed with
            `exact=False`.
    """

    name: str
    title: str
    about: str
    dtype: str
    flops: float | None
    bytes: float
    builders: Mapping[str, Builder] = field(repr=False)
    steps: int = 10
    tolerance: float = 1e-4
    random: bool = False


def flat(parts: Any) -> np.ndarray:
    """Nested lists and tuples of arrays as one float64 vector."""
    if isinstance(parts, list | tuple):
        return np.concatenate([flat(p) for p in parts])
    if hasattr(parts, "detach"):
        parts = parts.detach().numpy()
    return np.asarray(parts, np.float64).reshape(-1)
