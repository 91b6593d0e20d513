"""One sample input of a primitive, and how the tests look at it. The tables are `samples_*.py`.

A sample says the primitive, arrays for its operands, its params and which operands to
differentiate. `prepare` maps the arrays to the operands where these must have a property (a
symmetric matrix); it is written with primitives. `peer(lib, *xs)` computes the same with
`jax.numpy` as `lib`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backpass.ir import Primitive
from backpass.ops.operand import operand
from backpass.trace import to_result, unwrap, wrap

Array = np.ndarray[Any, np.dtype[Any]]


def as_given(*xs: Any) -> tuple[Any, ...]:
    """The operands as they are."""
    return xs


@dataclass(frozen=True, eq=False)
class Sample:
    """See the module."""

    primitive: Primitive
    inputs: tuple[Array, ...]
    params: dict[str, Any] = field(default_factory=dict)
    peer: Callable[..., Any] | None = None
    wrt: tuple[int, ...] | None = None
    prepare: Callable[..., tuple[Any, ...]] = as_given
    label: str = ""
    tolerance: float = 1e-6

    @property
    def name(self) -> str:
        """What pytest calls it."""
        shapes = "-".join("x".join(map(str, x.shape)) or "0d" for x in self.inputs)
        return f"{self.primitive.name}-{self.label or shapes}"

    @property
    def floats(self) -> tuple[int, ...]:
        """The positions to differentiate."""
        found = tuple(i for i, x in enumerate(self.inputs) if x.dtype.kind == "f")
        return found if self.wrt is None else self.wrt

    def apply(self, *xs: Any) -> list[Any]:
        """The outputs, as a list, of the primitive on arrays or traced arrays."""
        made = self.prepare(*[operand(unwrap(x)) for x in xs])
        found = self.primitive(*made, **self.params)
        outputs = (found,) if self.primitive.single else found
        return [wrap(y) if not isinstance(y, np.ndarray) else to_result(y) for y in outputs]

    def of_floats(self, *xs: Any) -> list[Any]:
        """The floating outputs as a function of the inputs to differentiate alone."""
        given: list[Any] = list(self.inputs)
        for i, x in zip(self.floats, xs, strict=True):
            given[i] = x
        return [y for y in self.apply(*given) if y.dtype.kind == "f"]

    def start(self) -> list[Array]:
        """The inputs to differentiate."""
        return [self.inputs[i] for i in self.floats]

    def weights(self, seed: int = 0) -> list[Array]:
        """Cotangents for the floating outputs."""
        rng = np.random.default_rng(seed)
        return [rng.uniform(0.5, 1.5, np.shape(y)) for y in self.of_floats(*self.start())]

    def scalar(self, *xs: Any) -> Any:
        """The outputs weighted into one number."""
        total: Any = 0.0
        for w, y in zip(self.weights(), self.of_floats(*xs), strict=True):
            total = total + np.sum(w * y)
        return total


def uniform(shape: Sequence[int], low: float = -1.0, high: float = 1.0, seed: int = 1) -> Array:
    """Random numbers that are the same in every run."""
    return np.asarray(np.random.default_rng(seed).uniform(low, high, tuple(shape)))


def differences(function: Callable[..., Any], start: Sequence[Array], step: float) -> list[Array]:
    """The gradient of a scalar function by central differences of fourth order."""
    found = []
    for i, x in enumerate(start):
        slope = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            values = []
            for k in (-2.0, -1.0, 1.0, 2.0):
                point = np.array(x)
                point[index] += k * step
                values.append(float(function(*start[:i], point, *start[i + 1 :])))
            slope[index] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        found.append(slope)
    return found
