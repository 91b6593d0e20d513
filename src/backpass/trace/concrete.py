"""Concrete: where Python or NumPy needs an actual number or array of a traced one.

Integers and booleans that are known may leave the trace, since they carry no derivative; a float
may not, nor anything under a transform that traces without values. Each refusal says what to write
instead.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np

from backpass.errors import TracingError
from backpass.ir import is_live
from backpass.ir.graph import ScopeKind, user_line
from backpass.trace.shared import Shared


class Concrete(Shared):
    """A traced array where a plain one is needed: `if x`, `range(n)`, `float(x)`."""

    __slots__ = ()

    def __bool__(self) -> bool:
        if self._value.array is not None:
            return bool(self._value.array)
        raise TracingError(
            f"the truth value of a traced array is asked for at {user_line()}, but {self._kind()} "
            "traces without values: a Python `if` or `while` cannot depend on one. Use "
            "bp.cond(predicate, true_fn, false_fn, *operands) or np.where(condition, x, y)"
        )

    def __index__(self) -> int:
        return int(self._exact("an integer index"))

    # The next four step: flat wherever they have a derivative, so as an int nothing is lost.
    def __int__(self) -> int:
        return int(self._known("int()"))

    def __floor__(self) -> int:
        return math.floor(self._known("math.floor()")[()])

    def __ceil__(self) -> int:
        return math.ceil(self._known("math.ceil()")[()])

    def __round__(self, ndigits: int | None = None) -> Any:
        if self._value.type.shape:
            raise TypeError("round() of a traced array that is not a scalar; use np.round")
        if ndigits is None:
            return round(self._known("round()")[()])
        return np.round(self, ndigits)

    def __float__(self) -> float:
        return float(self._exact("float() or a function of the math module"))

    def __complex__(self) -> NoReturn:
        raise TracingError("complex() of a traced array: complex numbers are not supported")

    def item(self, *args: Any) -> Any:
        """The Python number of a traced integer or boolean.

        Refused for floats, whose derivative it would lose.
        """
        return self._exact("item()").item(*args)

    def tolist(self) -> Any:
        """A nested list of Python numbers, under the same condition as `item`."""
        return self._exact("tolist()").tolist()

    def _exact(self, what: str) -> Any:
        """The array of a known integer or boolean: no derivative is lost by leaving the trace."""
        array = self._known(what)
        if array.dtype.kind == "f" and is_live(self._value):
            raise TracingError(
                f"{what} at {user_line()} would take a traced {self._value.type} out of the trace "
                "and lose its derivative; use NumPy's functions on it, or bp.stop_gradient(x) if "
                "no derivative is wanted"
            )
        return array

    def _known(self, what: str) -> Any:
        """The array, where this transform has one."""
        array = self.value.array
        if array is None:
            raise TracingError(
                f"{what} is asked of a traced array at {user_line()}, but {self._kind()} traces "
                "without values; a number for a shape or range(n) belongs in static_argnums"
            )
        return array

    def _kind(self) -> str:
        kinds = [s.kind for s in self._value.scopes if s.alive]
        return (kinds[0] if kinds else ScopeKind.COMPILE).value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        array = self._value.array
        if array is not None and (array.dtype.kind != "f" or not is_live(self._value)):
            return np.array(array, dtype=dtype)
        raise TracingError(
            f"a traced array cannot become a plain NumPy array (at {user_line()}): its derivative "
            "would be lost. Common causes: np.array([...]) or np.asarray of traced values (use "
            "bp.numpy.array or np.stack); writing a traced value into an array made with "
            "np.zeros or np.empty (make it with bp.numpy.zeros or np.zeros_like(x)); indexing a "
            "plain array with a traced index (use bp.numpy.asarray(table)[index])"
        )
