"""Statements of random programs that work element by element, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sp
from tests.codegen.graph_statement import (
    Pool,
    Rng,
    Statement,
    any_array,
    between,
    far,
    far_from_whole,
    fits,
    is_float,
    is_integer,
    kind,
    pick,
)

# name: function, where it is harmless
UNARY: dict[str, tuple[Callable[[Any], Any], Callable[[Any], bool]]] = {
    "sin": (np.sin, between(-6, 6)),
    "cos": (np.cos, between(-6, 6)),
    "tan": (np.tan, between(-1.2, 1.2)),
    "tanh": (np.tanh, any_array),
    "sinh": (np.sinh, between(-3, 3)),
    "cosh": (np.cosh, between(-3, 3)),
    "arctan": (np.arctan, any_array),
    "arcsinh": (np.arcsinh, any_array),
    "arcsin": (np.arcsin, between(-0.9, 0.9)),
    "exp": (np.exp, between(-6, 3)),
    "exp2": (np.exp2, between(-6, 3)),
    "expm1": (np.expm1, between(-6, 3)),
    "log": (np.log, between(0.1, 1e3)),
    "log2": (np.log2, between(0.1, 1e3)),
    "log1p": (np.log1p, between(-0.8, 1e3)),
    "sqrt": (np.sqrt, between(0.05, 1e3)),
    "cbrt": (np.cbrt, between(0.05, 1e3)),
    "square": (np.square, any_array),
    "negative": (np.negative, any_array),
    "reciprocal": (np.reciprocal, between(0.2, 1e3)),
    "absolute": (np.absolute, far),
    "sign": (np.sign, far),
    "floor": (np.floor, far_from_whole),
    "ceil": (np.ceil, far_from_whole),
    "rint": (np.rint, lambda a: far_from_whole(np.asarray(a) + 0.5)),
    "erf": (sp.erf, any_array),
    "expit": (sp.expit, any_array),
    "cube": (lambda a: a**3, between(-8, 8)),
    "relu": (lambda a: np.maximum(a, 0), far),
    "softplus": (lambda a: np.logaddexp(0.0, a), any_array),
    "clip": (lambda a: np.clip(a, -0.5, 0.75), lambda a: far(a, -0.5) and far(a, 0.75)),
    "isfinite": (np.isfinite, any_array),
    "double": (lambda a: 2 * a + 1, any_array),
    "halve": (lambda a: a / 2.0 - 0.25, any_array),
}


def unary(rng: Rng, pool: Pool) -> Statement | None:
    """A function of one floating array."""
    name = str(rng.choice(list(UNARY)))
    function, safe = UNARY[name]
    i = pick(rng, pool, lambda a: is_float(a) and safe(a))
    return None if i is None else Statement(f"{name}({{}})", (i,), function)


def _divisor(a: Any, b: Any) -> bool:
    return bool(np.all(np.abs(np.asarray(b)) > 0.2))


def _remainder(a: Any, b: Any) -> bool:
    return _divisor(a, b) and far_from_whole(np.divide(a, b))


BINARY: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], bool]]] = {
    "add": (np.add, lambda a, b: True),
    "subtract": (np.subtract, lambda a, b: True),
    "multiply": (np.multiply, lambda a, b: True),
    "true_divide": (np.true_divide, _divisor),
    "maximum": (np.maximum, far),
    "minimum": (np.minimum, far),
    "hypot": (np.hypot, lambda a, b: far(a) and far(b)),
    "arctan2": (np.arctan2, lambda a, b: far(a) and far(b)),
    "logaddexp": (np.logaddexp, lambda a, b: True),
    "power": (np.power, lambda a, b: between(0.1, 5)(a) and between(-3, 3)(b)),
    "remainder": (np.remainder, _remainder),
    "copysign": (np.copysign, lambda a, b: far(a) and far(b)),
    "less": (np.less, far),
    "greater_equal": (np.greater_equal, far),
    "not_equal": (np.not_equal, far),
}
INTEGER: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "floor_divide": lambda a, b: np.floor_divide(a, np.abs(b) + 1),
    "remainder": lambda a, b: np.remainder(a, np.abs(b) + 1),
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "minimum": np.minimum,
    "less": np.less,
    "equal": np.equal,
}
LOGICAL = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}


def binary(rng: Rng, pool: Pool) -> Statement | None:
    """A function of two arrays that broadcast; the second may be an integer array."""
    name = str(rng.choice(list(BINARY)))
    function, safe = BINARY[name]
    i = pick(rng, pool, is_float)
    if i is None:
        return None
    j = pick(rng, pool, lambda b: kind(b) in "fi" and fits(pool[i], b) and safe(pool[i], b))
    return None if j is None else Statement(f"{name}({{}}, {{}})", (i, j), function)


def integer(rng: Rng, pool: Pool) -> Statement | None:
    """A function of two integer arrays."""
    name = str(rng.choice(list(INTEGER)))
    i = pick(rng, pool, is_integer)
    j = None if i is None else pick(rng, pool, lambda b: is_integer(b) and fits(pool[i], b))
    if i is None or j is None:
        return None
    return Statement(f"integer {name}({{}}, {{}})", (i, j), INTEGER[name])


def logical(rng: Rng, pool: Pool) -> Statement | None:
    """A function of two boolean arrays, or not."""
    i = pick(rng, pool, lambda a: kind(a) == "b")
    if i is None:
        return None
    if rng.random() < 0.3:
        return Statement("logical_not({})", (i,), np.logical_not)
    name = str(rng.choice(list(LOGICAL)))
    j = pick(rng, pool, lambda b: kind(b) == "b" and fits(pool[i], b))
    return None if j is None else Statement(f"{name}({{}}, {{}})", (i, j), LOGICAL[name])


def where(rng: Rng, pool: Pool) -> Statement | None:
    """np.where with a boolean array; half of the time the other branch is a number."""
    c = pick(rng, pool, lambda a: kind(a) == "b")
    i = None if c is None else pick(rng, pool, lambda a: is_float(a) and fits(pool[c], a))
    if c is None or i is None:
        return None
    if rng.random() < 0.4:
        return Statement("where({}, {}, 0.5)", (c, i), lambda p, a: np.where(p, a, 0.5))
    shape = np.broadcast_shapes(np.shape(pool[c]), np.shape(pool[i]))
    j = pick(rng, pool, lambda a: is_float(a) and fits(np.empty(shape), a))
    return None if j is None else Statement("where({}, {}, {})", (c, i, j), np.where)


def cast(rng: Rng, pool: Pool) -> Statement | None:
    """astype."""
    to = (np.float32, np.float64, np.int32, np.int64, np.bool_)[rng.integers(5)]
    whole = np.dtype(to).kind in "ib"
    i = pick(rng, pool, lambda a: not whole or not is_float(a) or (far_from_whole(a) and far(a)))
    if i is None:
        return None
    return Statement(f"{{}}.astype({np.dtype(to)})", (i,), lambda a: a.astype(to))
