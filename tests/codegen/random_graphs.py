"""Random programs written with NumPy: a seed gives inputs and statements, always the same.

A program is kept only if it is well conditioned: with every floating array changed by a relative
1e-9 of random sign, values and gradient may change by 50 times that at most. What a compiler rounds
otherwise than NumPy is such a change, so compiled and plain program must agree closely, and a
larger difference is a fault. The printed program names its seed: `generate(seed)` makes it again.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.codegen import graph_elementwise as elementwise
from tests.codegen import graph_products as products
from tests.codegen import graph_shapes as shapes
from tests.codegen.graph_statement import Maker, Statement, kind

import backpass as bp

MOST, LARGEST = 600, 50.0  # elements of an array, absolute value of an element
NOISE, AMPLIFICATION = 1e-9, 50.0
EXTENTS = (1, 2, 3, 4, 5, 7, 8, 16, 17, 33)
TRIES = 25
# How often each is proposed.
MAKERS: dict[Maker, int] = {
    elementwise.unary: 7,
    elementwise.binary: 7,
    elementwise.integer: 2,
    elementwise.logical: 1,
    elementwise.where: 2,
    elementwise.cast: 1,
    products.reduction: 4,
    products.scan: 3,
    products.einsum: 2,
    products.matmul: 3,
    shapes.reshape: 3,
    shapes.pad: 1,
    shapes.concatenate: 2,
    shapes.index: 3,
    shapes.gather: 2,
    shapes.write: 1,
}


@dataclass(frozen=True, eq=False)
class Program:
    """Inputs, statements, and which arrays are the outputs."""

    seed: int
    inputs: tuple[np.ndarray, ...]
    statements: tuple[Statement, ...]
    outputs: tuple[int, ...]

    def arrays(self, xs: Sequence[Any], noise: np.random.Generator | None = None) -> list[Any]:
        """The inputs and the result of each statement; with noise, floating ones are disturbed."""
        pool = [_disturbed(x, noise) for x in xs]
        for statement in self.statements:
            made = statement.run(*[pool[i] for i in statement.reads])
            pool.append(_disturbed(made, noise))
        return pool

    def __call__(self, *xs: Any) -> tuple[Any, ...]:
        pool = self.arrays(xs)
        return tuple([pool[i] for i in self.outputs])

    @property
    def differentiable(self) -> tuple[int, ...]:
        """The places of the floating inputs."""
        return tuple([i for i, x in enumerate(self.inputs) if kind(x) == "f"])

    def total(self, *xs: Any, noise: np.random.Generator | None = None) -> Any:
        """The floating outputs, each element weighted differently, summed."""
        pool = self.arrays(xs, noise)
        parts = [pool[i] for i in self.outputs if pool[i].dtype.kind == "f"]
        total: Any = 0.0
        for k, part in enumerate(parts):
            total = total + np.sum(part * _weights(part.shape, k).astype(part.dtype))
        return total

    def gradient(self, *xs: Any, noise: np.random.Generator | None = None) -> Any:
        """The gradient of the total in the floating inputs."""
        return bp.grad(lambda *a: self.total(*a, noise=noise), self.differentiable)(*xs)

    def __str__(self) -> str:
        lines = [f"seed {self.seed}"]
        for i, x in enumerate(self.inputs):
            lines.append(f"  t{i}: {x.dtype}{list(x.shape)}, strides {x.strides}")
        first = len(self.inputs)
        lines += [f"  t{first + k} = {statement}" for k, statement in enumerate(self.statements)]
        return "\n".join([*lines, f"  return {', '.join([f't{i}' for i in self.outputs])}"])


def _weights(shape: tuple[int, ...], k: int) -> np.ndarray:
    return np.cos(np.arange(int(np.prod(shape))) + k).reshape(shape)


def _disturbed(x: Any, noise: np.random.Generator | None) -> Any:
    if noise is None or x.dtype.kind != "f":
        return x
    signs = noise.choice([-1.0, 1.0], x.shape)
    return x * (1.0 + NOISE * signs)


def generate(seed: int) -> Program:
    """The program of a seed: the first of its tries that is well conditioned."""
    for attempt in range(TRIES):
        program = _proposed(seed, np.random.default_rng([seed, attempt]))
        if program is not None and _well_conditioned(program):
            return program
    raise AssertionError(f"no program of seed {seed} is well conditioned")


def _proposed(seed: int, rng: np.random.Generator) -> Program | None:
    inputs = _inputs(rng)
    pool: list[Any] = list(inputs)
    statements: list[Statement] = []
    makers = [m for m, weight in MAKERS.items() for _ in range(weight)]
    wanted = int(rng.integers(1, 13))
    for _ in range(6 * wanted):
        if len(statements) == wanted:
            break
        statement = makers[rng.integers(len(makers))](rng, pool)
        made = None if statement is None else _result(statement, pool)
        if made is not None and statement is not None:
            statements.append(statement)
            pool.append(made)
    read = {i for s in statements for i in s.reads}
    outputs = [i for i in range(len(inputs), len(pool)) if i not in read or rng.random() < 0.15]
    if not any([kind(pool[i]) == "f" and np.size(pool[i]) for i in outputs]):
        return None
    return Program(seed, inputs, tuple(statements), tuple(outputs))


def _inputs(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One to three floating arrays of one precision, sometimes an integer and a boolean one."""
    dtype = np.float64 if rng.random() < 0.6 else np.float32
    rank = int(rng.choice([0, 1, 1, 2, 2, 2, 3]))
    shape = tuple(int(n) for n in rng.choice(EXTENTS if rank < 3 else EXTENTS[:5], rank))
    if rank and rng.random() < 0.04:
        shape = (*shape[:-1], 0)
    arrays: list[np.ndarray] = []
    for k in range(int(rng.integers(1, 4))):
        own = shape if k == 0 else _related(rng, shape)
        low = 0.2 if rng.random() < 0.5 else -1.5
        arrays.append(_laid_out(rng, rng.uniform(low, 1.6, own).astype(dtype)))
    if rng.random() < 0.1:  # a second precision
        arrays[-1] = arrays[-1].astype(np.float32 if dtype is np.float64 else np.float64)
    if rng.random() < 0.4:
        kind_of = np.int64 if rng.random() < 0.6 else np.int32
        whole = rng.integers(-9, 9, _related(rng, shape)).astype(kind_of)
        arrays.append(_laid_out(rng, whole))
    if rng.random() < 0.25:
        arrays.append(_laid_out(rng, rng.random(_related(rng, shape)) < 0.5))
    return tuple(arrays)


def _related(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that often broadcasts with another, or can be multiplied by it."""
    choice = rng.random()
    if choice < 0.4 or not shape:
        return shape
    if choice < 0.6:
        return tuple([n if rng.random() < 0.5 else 1 for n in shape])
    if choice < 0.8:
        return shape[int(rng.integers(len(shape))) :]
    return shape[::-1]


def _laid_out(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The same numbers: contiguous, Fortran order, every other element, backwards, or read-only."""
    choice = rng.random()
    if choice < 0.5 or x.ndim == 0:
        return x
    if choice < 0.65:
        return np.asfortranarray(x)
    if choice < 0.8:
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    if choice < 0.9:
        return np.ascontiguousarray(x[::-1])[::-1]
    fixed = x.copy()
    fixed.flags.writeable = False
    return fixed


def _result(statement: Statement, pool: list[Any]) -> Any:
    """What NumPy gives, if it is small and finite; None if not, or if NumPy refuses."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = statement.run(*[pool[i] for i in statement.reads])
        except (ValueError, IndexError, TypeError):
            return None
    if np.asarray(made).dtype.kind not in "fib" or np.ndim(made) > 4 or np.size(made) > MOST:
        return None
    if kind(made) == "f" and made.dtype not in (np.float32, np.float64):
        return None
    numbers = np.asarray(made, np.float64)
    small = bool(np.all(np.isfinite(numbers)) and np.all(np.abs(numbers) <= LARGEST))
    return made if small else None


def _well_conditioned(program: Program) -> bool:
    """Whether noise is not amplified, in the values and in the gradient, computed in float64."""
    xs = [x.astype(np.float64) if kind(x) == "f" else x for x in program.inputs]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, gradient = program(*xs), program.gradient(*xs)
        for attempt in range(2):
            noise = np.random.default_rng([program.seed, attempt])
            pool = program.arrays(xs, noise)
            found = [pool[i] for i in program.outputs]
            noisy = program.gradient(*xs, noise=np.random.default_rng([program.seed, attempt]))
            pairs = zip((*plain, *gradient), (*found, *noisy), strict=True)
            if not all([_close(a, b) for a, b in pairs]):
                return False
    return True


def _close(a: Any, b: Any) -> bool:
    if kind(a) != "f":
        return bool(np.array_equal(a, b))
    bound = AMPLIFICATION * NOISE * scale(a)
    return bool(np.all(np.isfinite(a)) and np.all(np.abs(np.asarray(a) - b) <= bound))


def scale(a: Any) -> float:
    """The largest element, at least 0.1: what errors are measured by."""
    return max(0.1, float(np.max(np.abs(np.asarray(a, np.float64)), initial=0.0)))
