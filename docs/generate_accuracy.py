"""Writes docs/accuracy.md: the largest errors measured of the compiler's elementary functions.

`python docs/generate_accuracy.py` measures and writes the page; a test measures again and checks
that no error is above the page. float32 is measured against float64 NumPy, float64 against NumPy's
long double (80 bits on x86), erf and its relations against series in long double.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.codegen.elementwise_loop import Loop

PAGE = Path(__file__).parent / "accuracy.md"
Array = np.ndarray[Any, Any]
LONG = np.longdouble
SAMPLES = 20_000
STEP = 0.25  # the page rounds errors up to multiples of this


def erf_series(x: Array) -> Array:
    """erf by its Taylor series times e^-x^2 (DLMF 7.6.2), for |x| <= 3."""
    term = x * LONG(1.0)
    total = term.copy()
    for k in range(1, 120):
        term = term * (2.0 * x * x / (2 * k + 1))
        total = total + term
    return 2 / np.sqrt(np.arctan(LONG(1.0)) * 4) * np.exp(-x * x) * total


def erfcx_fraction(x: Array) -> Array:
    """e^(x^2) erfc x by its continued fraction (DLMF 7.9.1), for x >= 2."""
    rest = x
    for k in range(300, 0, -1):
        rest = x + (k / LONG(2.0)) / rest
    return 1 / (rest * np.sqrt(np.arctan(LONG(1.0)) * 4))


def erfc_long(x: Array) -> Array:
    """erfc in long double."""
    x = x.astype(LONG)
    size = np.abs(x)
    far = np.exp(-size * size) * erfcx_fraction(np.maximum(size, 2))
    near = 1 - erf_series(np.minimum(size, 2))
    y = np.where(size < 2, near, far)
    return np.where(x < 0, 2 - y, y)


def erf_long(x: Array) -> Array:
    """erf in long double."""
    x = x.astype(LONG)
    size = np.abs(x)
    outside = np.copysign(1 - erfc_long(size), x)
    return np.where(size < 2, erf_series(np.clip(x, -2, 2)), outside)


def _ndtr(x: Array) -> Array:
    return erfc_long(-x.astype(LONG) / np.sqrt(LONG(2.0))) / 2


def _log_ndtr(x: Array) -> Array:
    return np.where(x > 0, np.log1p(-_ndtr(-x)), np.log(_ndtr(x)))


def _erfcx(x: Array) -> Array:
    x = x.astype(LONG)
    near = np.exp(x * x) * erfc_long(x)
    return np.where(x < 2, near, erfcx_fraction(np.maximum(x, 2)))


def _exp10(x: Array) -> Array:
    return np.power(x.dtype.type(10.0), x)


def _exprel(x: Array) -> Array:
    return np.expm1(x) / x


def _cosm1(x: Array) -> Array:
    return -2 * np.sin(x / 2) ** 2


def _logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _logit(x: Array) -> Array:
    return np.where(np.abs(x - 0.5) < 0.2, np.log1p((2 * x - 1) / (1 - x)), np.log(x / (1 - x)))


def _entr(x: Array) -> Array:
    return -x * np.log(x)


def _log_expit(x: Array) -> Array:
    return -np.logaddexp(x.dtype.type(0.0), -x)


def _xlogy(x: Array, y: Array) -> Array:
    return x * np.log(y)


def _xlog1py(x: Array, y: Array) -> Array:
    return x * np.log1p(y)


@dataclass(frozen=True, slots=True)
class Case:
    """A function, what it is in long double, and the intervals its arguments are drawn from.

    `whole`: finite arguments of all magnitudes too, both signs where the interval has both.
    """

    oracle: Callable[..., Array]
    low: float
    high: float
    whole: bool = True
    arity: int = 1


# fmt: off
CASES: dict[str, Case] = {
    "exp":      Case(np.exp, -87.0, 88.0),
    "exp2":     Case(np.exp2, -126.0, 127.0),
    "exp10":    Case(_exp10, -37.0, 38.0, whole=False),
    "expm1":    Case(np.expm1, -10.0, 88.0),
    "exprel":   Case(_exprel, -10.0, 88.0, whole=False),
    "sinh":     Case(np.sinh, -88.0, 88.0),
    "cosh":     Case(np.cosh, -88.0, 88.0),
    "tanh":     Case(np.tanh, -10.0, 10.0),
    "logistic": Case(_logistic, -80.0, 30.0, whole=False),
    "log":      Case(np.log, 0.0, 4.0),
    "log2":     Case(np.log2, 0.0, 4.0),
    "log10":    Case(np.log10, 0.0, 4.0),
    "log1p":    Case(np.log1p, -1.0, 4.0),
    "log_expit": Case(_log_expit, -30.0, 30.0, whole=False),
    "logit":    Case(_logit, 1e-6, 1.0, whole=False),
    "entr":     Case(_entr, 1e-6, 4.0, whole=False),
    "sin":      Case(np.sin, -100.0, 100.0),
    "cos":      Case(np.cos, -100.0, 100.0),
    "cosm1":    Case(_cosm1, -100.0, 100.0, whole=False),
    "tan":      Case(np.tan, -100.0, 100.0),
    "arcsin":   Case(np.arcsin, -1.0, 1.0),
    "arccos":   Case(np.arccos, -1.0, 1.0),
    "arctan":   Case(np.arctan, -10.0, 10.0),
    "arcsinh":  Case(np.arcsinh, -10.0, 10.0),
    "arccosh":  Case(np.arccosh, 1.0, 10.0),
    "arctanh":  Case(np.arctanh, -1.0, 1.0),
    "cbrt":     Case(np.cbrt, -10.0, 10.0),
    "erf":      Case(erf_long, -6.0, 6.0, whole=False),
    "erfc":     Case(erfc_long, -6.0, 9.0, whole=False),
    "erfcx":    Case(_erfcx, -9.0, 50.0, whole=False),
    "ndtr":     Case(_ndtr, -12.0, 9.0, whole=False),
    "log_ndtr": Case(_log_ndtr, -12.0, 9.0, whole=False),
    "power":    Case(np.power, 0.0, 20.0, arity=2),
    "hypot":    Case(np.hypot, -10.0, 10.0, arity=2),
    "arctan2":  Case(np.arctan2, -10.0, 10.0, arity=2),
    "xlogy":    Case(_xlogy, 0.0, 10.0, whole=False, arity=2),
    "xlog1py":  Case(_xlog1py, 0.0, 10.0, whole=False, arity=2),
}
# fmt: on


def samples(case: Case, dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """Arguments: uniform in the interval, close to 0 and 1, and of every magnitude."""
    uniform = rng.uniform(case.low, case.high, SAMPLES)
    close = [10.0 ** rng.uniform(-9, 0, SAMPLES // 4), 1 + 0.01 * rng.normal(size=SAMPLES // 4)]
    parts = [uniform, *close, -close[0], rng.integers(-40, 40, SAMPLES // 20) * 0.5]
    if case.whole:
        bits = rng.integers(0, 2 ** (8 * dtype.itemsize), SAMPLES, dtype=f"u{dtype.itemsize}")
        parts.append(bits.view(dtype))
    x = np.concatenate([part.astype(dtype) for part in parts])
    inside = np.isfinite(x)
    if case.low >= 0.0:
        inside &= x > 0
    if not case.whole or case.low in (-1.0, 1.0):
        inside &= x >= case.low
    if not case.whole or case.high == 1.0:
        inside &= x < case.high
    return x[inside]


def error(name: str, dtype: np.dtype[Any]) -> float:
    """The largest error of a function in units in the last place of the result."""
    case = CASES[name]
    rng = np.random.default_rng(1)
    xs = [rng.permutation(samples(case, dtype, rng)) for _ in range(case.arity)]
    count = min([len(x) for x in xs])
    xs = [x[:count] for x in xs]
    y = Loop(name, [dtype] * case.arity, dtype, 16)(*xs)
    wide = np.float64 if dtype == np.float32 and case.oracle in vars(np).values() else LONG
    with np.errstate(all="ignore"):
        exact = case.oracle(*[x.astype(wide) for x in xs])
        rounded = exact.astype(dtype)
        plain = np.isfinite(rounded) & (np.abs(rounded) >= np.finfo(dtype).tiny)
        wrong = np.abs(y.astype(wide) - exact)[plain] / np.spacing(np.abs(rounded[plain]))
    return float(np.max(wrong))


def row(name: str) -> tuple[float, float]:
    """The errors in float32 and float64, rounded up to a multiple of STEP."""
    found = [error(name, np.dtype(d)) for d in (np.float32, np.float64)]
    return math.ceil(found[0] / STEP) * STEP, math.ceil(found[1] / STEP) * STEP


INTRODUCTION = """# Accuracy of compiled code

Under `bp.jit` the elementary functions are the compiler's own, in vectors, without calls to a
library. The table gives the largest errors measured, in units in the last place of the result (a
correctly rounded result has 0.5), over arguments of all magnitudes where the function has them, on
a machine with FMA. It is written by `docs/generate_accuracy.py`; a test measures again.

- Infinities, NaN, signed zeros and subnormal numbers are as NumPy gives them. Arguments and results
  that are subnormal are not flushed to zero.
- `add`, `sub`, `mul`, `div`, `sqrt`, `reciprocal`, rounding, `fmod`, `remainder`, `floor_divide`,
  `nextafter`, `spacing`, comparisons and all integer operations give NumPy's bits.
- float16 is computed in float32 and rounded, as NumPy does.
- `sin`, `cos` and `tan` are right for arguments of any size.
- `logaddexp` and `logaddexp2` have errors of 2 units of the larger operand: like NumPy's they
  cancel where the result is close to 0.
- `ndtr`, `erfc` and `exp10` go on through the subnormal numbers, where SciPy's are 0.

"""


def page() -> str:
    """The text of docs/accuracy.md."""
    lines = ["| function | float32 | float64 |", "|---|---|---|"]
    for name in CASES:
        single, double = row(name)
        lines.append(f"| `{name}` | {single:.2f} | {double:.2f} |")
    return INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
