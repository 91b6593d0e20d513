"""Elementwise functions, where, clip and select, in several argument patterns."""

from __future__ import annotations

from tests.peers.case import JAX, A, B, Case, P, Q, V, numbers

SMALL = numbers(3, 4, seed=8, low=-0.9, high=0.9)
LARGE = P + 1.0
UNARY = {
    "negative": A, "positive": A, "exp": A, "exp2": A, "expm1": A, "log": P, "log2": P, "log10": P,
    "log1p": P, "sqrt": P, "square": A, "reciprocal": P, "sin": A, "cos": A,
    "tan": A, "arcsin": SMALL, "arccos": SMALL, "arctan": A, "sinh": A, "cosh": A, "tanh": A,
    "arcsinh": A, "arccosh": LARGE, "arctanh": SMALL, "abs": A, "absolute": A, "fabs": A,
    "sinc": A, "sign": A, "floor": A, "ceil": A, "rint": A, "trunc": A,
    "rad2deg": A, "deg2rad": A, "degrees": A, "radians": A, "real": A, "conjugate": A,
}  # fmt: skip
JAX_ONLY = ("cbrt", "positive", "rint", "trunc")
BINARY = {
    "add": (A, B), "subtract": (A, B), "multiply": (A, B), "divide": (A, P), "true_divide": (A, P),
    "power": (P, B), "arctan2": (A, P), "hypot": (P, Q), "logaddexp": (A, B),
    "logaddexp2": (A, B), "maximum": (A, B), "minimum": (A, B), "fmax": (A, B), "fmin": (A, B),
    "mod": (P, Q + 2.0), "remainder": (P + 2.5, Q), "fmod": (P + 2.5, Q),
    "float_power": (P, B),
}  # fmt: skip
BINARY_JAX = ("hypot", "fmod", "copysign", "float_power")

CASES = [
    *[
        Case(name, lambda np, x, name=name: getattr(np, name)(x), (x,),
             JAX if name in JAX_ONLY else ("jax", "autograd"))
        for name, x in UNARY.items()
    ],
    Case("cbrt", lambda np, x: np.cbrt(x), (P,), JAX),
    *[
        Case(name, lambda np, x, y, name=name: getattr(np, name)(x, y), xs,
             JAX if name in BINARY_JAX else ("jax", "autograd"))
        for name, xs in BINARY.items()
    ],
    Case("copysign", lambda np, x: np.copysign(x, -x), (A,), JAX),
    Case("heaviside", lambda np, x: x * np.heaviside(x, 0.5), (A,), JAX),
    Case("ldexp", lambda np, x: np.ldexp(x, 3), (A,), JAX),
    Case("modf", lambda np, x: np.modf(x)[0], (A,), JAX),
    Case("divmod", lambda np, x, y: np.divmod(x, y)[1], (P + 2.5, Q), JAX),
    Case("nan_to_num", lambda np, x: np.nan_to_num(x * 2), (A,)),
    Case("add broadcast row", lambda np, x, y: x + y[0], (A, B)),
    Case("subtract broadcast column", lambda np, x, y: x[:, :1] - y, (A, B)),
    Case("multiply outer by newaxis", lambda np, x, y: x[:, None] * y[None, :], (V, V * 2)),
    Case("divide by a scalar", lambda np, x, y: x / y[0, 0], (A, P)),
    Case("scalar on the left", lambda np, x: 2.0 - 3.0 / x, (P,)),
    Case("power 2", lambda np, x: x**2, (A,)),
    Case("power 3", lambda np, x: x**3, (A,)),
    Case("power -1", lambda np, x: x**-1, (P,)),
    Case("power 0.5", lambda np, x: x**0.5, (P,)),
    Case("power 0", lambda np, x: x * x**0, (P,)),
    Case("power of a base", lambda np, x: 2.0**x, (A,)),
    Case("modulo operator", lambda np, x: x % 0.7, (P,)),
    Case("floor division operator", lambda np, x: x * (x // 0.7), (P,), JAX),
    Case("where", lambda np, x, y: np.where(x > y, x * 2, y**2), (A, B)),
    Case("where of a scalar", lambda np, x: np.where(x > 0, x, 0.1 * x), (A,)),
    Case("where broadcast", lambda np, x, y: np.where(x > 0, x, y[0]), (A, B), JAX),
    Case("clip both", lambda np, x: np.clip(x, -0.5, 0.5) * x, (A,)),
    Case("clip below", lambda np, x: np.maximum(x, -0.2) ** 2, (A,)),
    Case("select", lambda np, x: np.select([x < -0.3, x < 0.3], [x**2, 2 * x], x**3), (A,)),
    Case("maximum of three", lambda np, x, y: np.maximum(np.maximum(x, y), 0.1), (A, B)),
    Case("minimum with a scalar", lambda np, x: np.minimum(x, 0.3) * x, (A,)),
    Case("abs of differences", lambda np, x, y: np.abs(x - y) ** 1.5, (A, B)),
    Case("iterated", lambda np, x: np.sin(np.exp(np.tanh(np.cos(x)))), (A,)),
    Case("real part and product", lambda np, x: np.real(x) * np.real(x), (A,)),
]  # fmt: skip
