"""Which function computes a primitive on floats: one row a primitive.

NATIVE rows work in float32 and in float64. WIDE rows work in float64, and float32 is widened for
them: its result is then all but correctly rounded. float16 is computed in float32 and rounded.
Next: the families `elementary_*.py`, `rounding.py`; all are written with `lanes.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from backpass.codegen import (
    elementary_arc,
    elementary_error,
    elementary_exp,
    elementary_log,
    elementary_power,
    elementary_trig,
)
from backpass.codegen.casts import cast
from backpass.codegen.lanes import F64, Lanes

Function1 = Callable[[Lanes], Lanes]
Function2 = Callable[[Lanes, Lanes], Lanes]

# fmt: off
NATIVE_1: dict[str, Function1] = {
    "exp":      elementary_exp.exp,
    "exp2":     elementary_exp.exp2,
    "exp10":    elementary_exp.exp10,
    "expm1":    elementary_exp.expm1,
    "sinh":     elementary_exp.sinh,
    "cosh":     elementary_exp.cosh,
    "tanh":     elementary_exp.tanh,
    "logistic": elementary_exp.logistic,
    "log":      elementary_log.log,
    "log2":     elementary_log.log2,
    "log10":    elementary_log.log10,
    "log1p":    elementary_log.log1p,
    "log_expit": elementary_log.log_expit,
    "sin":      elementary_trig.sin,
    "cos":      elementary_trig.cos,
    "cosm1":    elementary_trig.cosm1,
    "tan":      elementary_trig.tan,
    "arctan":   elementary_arc.arctan,
    "erf":      elementary_error.erf,
    "entr":     elementary_log.entr,
}
WIDE_1: dict[str, Function1] = {
    "exprel":   elementary_exp.exprel,
    "arcsinh":  elementary_log.arcsinh,
    "arccosh":  elementary_log.arccosh,
    "arctanh":  elementary_log.arctanh,
    "logit":    elementary_log.logit,
    "arcsin":   elementary_arc.arcsin,
    "arccos":   elementary_arc.arccos,
    "cbrt":     elementary_power.cbrt,
    "erfc":     elementary_error.erfc,
    "erfcx":    elementary_error.erfcx,
    "ndtr":     elementary_error.ndtr,
    "log_ndtr": elementary_error.log_ndtr,
}
NATIVE_2: dict[str, Function2] = {
    "logaddexp":  elementary_log.logaddexp,
    "logaddexp2": elementary_log.logaddexp2,
    "xlogy":      elementary_log.xlogy,
    "xlog1py":    elementary_log.xlog1py,
}
WIDE_2: dict[str, Function2] = {
    "arctan2": elementary_arc.arctan2,
    "hypot":   elementary_power.hypot,
}
# fmt: on


def wide_1(function: Function1) -> Function1:
    """A float64 function for float32 too."""

    def run(x: Lanes) -> Lanes:
        return cast(function(cast(x, F64)), x.dtype)

    return run


def wide_2(function: Function2) -> Function2:
    """The same of two arguments."""

    def run(x: Lanes, y: Lanes) -> Lanes:
        return cast(function(cast(x, F64), cast(y, F64)), x.dtype)

    return run
