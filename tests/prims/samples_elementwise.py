"""Samples of the elementwise primitives: points away from kinks, and inside each domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.prims.sample import Sample, uniform

from backpass.prims import elementwise as el
from backpass.prims.rules import gate, scale

# name: (lowest, highest) of a domain where the function is smooth
UNARY: dict[str, tuple[float, float]] = {
    "neg": (-2, 2), "reciprocal": (0.5, 2), "exp": (-1, 1), "exp2": (-1, 1), "expm1": (-1, 1),
    "log": (0.5, 3), "log2": (0.5, 3), "log10": (0.5, 3), "log1p": (-0.5, 2), "sqrt": (0.5, 3),
    "cbrt": (0.5, 3), "square": (-2, 2), "sin": (-2, 2), "cos": (-2, 2), "tan": (-1, 1),
    "arcsin": (-0.8, 0.8), "arccos": (-0.8, 0.8), "arctan": (-2, 2), "sinh": (-1, 1),
    "cosh": (-1, 1), "tanh": (-1, 1), "arcsinh": (-2, 2), "arccosh": (1.5, 3),
    "arctanh": (-0.8, 0.8), "logistic": (-3, 3), "absolute": (0.2, 2), "identity": (-2, 2),
}  # fmt: skip
FLAT = ("sign", "floor", "ceil", "rint", "trunc", "spacing", "stop")
BINARY: dict[str, tuple[float, float]] = {
    "add": (-2, 2), "sub": (-2, 2), "mul": (-2, 2), "div": (0.5, 2), "maximum": (-2, 2),
    "minimum": (-2, 2), "hypot": (0.5, 2), "power": (0.5, 2), "arctan2": (0.5, 2),
    "logaddexp": (-2, 2), "logaddexp2": (-2, 2), "remainder": (1.1, 5), "fmod": (1.1, 5),
    "copysign": (0.3, 2),
}  # fmt: skip
INTEGER = ("bit_and", "bit_or", "bit_xor", "left_shift", "right_shift", "gcd", "lcm")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
LOGICAL = ("logical_and", "logical_or", "logical_xor")
TESTS = ("isfinite", "isnan", "isinf", "signbit", "logical_not")
JAX_NAMES = {
    "neg": "negative", "sub": "subtract", "mul": "multiply", "div": "divide", "stop": "stop",
    "absolute": "abs", "bit_and": "bitwise_and", "bit_or": "bitwise_or", "bit_xor": "bitwise_xor",
}  # fmt: skip
OWN: dict[str, Callable[..., Any]] = {
    "logistic": lambda np, x: 1 / (1 + np.exp(-x)),
    "identity": lambda np, x: x,
    "stop": lambda np, x: 0 * x,
    "spacing": lambda np, x: 0 * x,
}
FLOATS = ("f8",)


def peer_of(name: str) -> Callable[..., Any]:
    """The function of the same name in a peer's NumPy namespace."""
    if name in OWN:
        return OWN[name]
    return lambda np, *xs: getattr(np, JAX_NAMES.get(name, name))(*xs)


def _unary() -> list[Sample]:
    found = []
    for name, (low, high) in {**UNARY, **dict.fromkeys(FLAT, (0.1, 0.4))}.items():
        primitive = getattr(el, name)
        for shape in ((), (2, 3), (0, 2)):
            x = uniform(shape, low, high)
            found.append(Sample(primitive, (x,), peer=peer_of(name)))
    return found


def _binary() -> list[Sample]:
    found = []
    for name, (low, high) in BINARY.items():
        primitive = getattr(el, name)
        for shape in ((), (2, 3), (0,)):
            xs = uniform(shape, low, high, 2), uniform(shape, low, high, 3)
            found.append(Sample(primitive, xs, peer=peer_of(name)))
    x, y = uniform((3,), 1, 2), uniform((3,), 2, 3)
    found.append(Sample(el.floor_divide, (x, y), peer=peer_of("floor_divide")))
    found.append(Sample(el.nextafter, (x, y), wrt=(0,), peer=lambda np, x, y: x + 0 * y))
    found.append(Sample(scale, (x, y), peer=lambda np, x, y: x * y))
    found.append(Sample(gate, (x, y), peer=lambda np, x, y: x * y))
    n = np.array([1, -2, 3])
    found.append(Sample(el.ldexp, (x, n), peer=lambda np, x, n: x * 2.0**n))
    return found


def _integer() -> list[Sample]:
    m, n = np.array([[5, 6, 7], [0, 1, 2]]), np.array([[3, 2, 1], [4, 1, 3]])
    found = [Sample(getattr(el, name), (m, n)) for name in INTEGER]
    found.append(Sample(el.invert, (m,)))
    found.append(Sample(el.bit_count, (m,)))
    found.append(Sample(el.exponent, (uniform((3,), 1, 4),), wrt=()))
    found.append(Sample(el.floor_divide, (m, n), label="integers"))
    return found


def _boolean() -> list[Sample]:
    x, y = uniform((2, 3), seed=4), uniform((2, 3), seed=5)
    y[0, 0] = x[0, 0]
    found = [Sample(getattr(el, name), (x, y)) for name in COMPARISONS]
    found += [Sample(getattr(el, name), (x > 0, y > 0)) for name in LOGICAL]
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0])
    return found + [Sample(getattr(el, name), (odd,)) for name in TESTS]


def _special() -> list[Sample]:
    x, y = uniform((2, 3), seed=6), uniform((2, 3), seed=7)
    c = np.array([[True, False, True], [False, False, True]])
    to32 = {"dtype": np.dtype(np.float32)}
    to_int = {"dtype": np.dtype(np.int64)}
    return [
        Sample(el.select, (c, x, y), peer=lambda np, c, x, y: np.where(c, x, y)),
        Sample(el.select, (np.array(True), x[0, 0].reshape(()), y[0, 0].reshape(())), label="0d"),
        Sample(el.cast, (x,), to_int, label="to-int"),
        Sample(
            el.cast, (x.astype(np.float32),), {"dtype": np.dtype(np.float64)}, wrt=(), label="widen"
        ),
        Sample(el.cast, (x,), to32, wrt=(), label="narrow"),
        Sample(el.cast, (x,), {"dtype": np.dtype(np.float64)}, peer=lambda np, x: x, label="same"),
    ]


SAMPLES = [*_unary(), *_binary(), *_integer(), *_boolean(), *_special()]
