"""A call of a ufunc, and of its methods reduce, accumulate and outer, over operands.

Options that have no rule are refused by name. `ufunc.at` writes in place and is the Tracer's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.errors import UnsupportedError
from backpass.ir.graph import user_line
from backpass.ops.elementwise import where
from backpass.ops.operand import cast_to, operand, shape_of
from backpass.ops.shape import reshape
from backpass.trace.dispatch import ACCUMULATE, REDUCE, ufunc_rule


def call_ufunc(ufunc: np.ufunc, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """ufunc(*inputs, **options) for inputs without Tracers."""
    rule = ufunc_rule(ufunc)
    if rule is None:
        raise UnsupportedError(
            f"the ufunc {ufunc.__name__} has no rule for traced arrays (called at {user_line()}); "
            "docs/coverage.md lists what has"
        )
    if not options:
        return rule(*inputs)
    dtype, mask = options.get("dtype"), options.get("where", True)
    for option, value in options.items():
        if value is None or option in ("casting", "order", "subok", "dtype", "where"):
            continue
        if option != "axis" or ufunc not in (np.matmul, np.vecdot):
            raise UnsupportedError(f"{ufunc.__name__}: {option}= is not supported on traced arrays")
    if mask is not True:
        raise UnsupportedError(
            f"{ufunc.__name__}: where= leaves elements undefined; use "
            f"np.where(mask, {ufunc.__name__}(...), other)"
        )
    if dtype is not None:
        inputs = [cast_to(operand(x), np.dtype(dtype)) for x in inputs]
    axis = {"axis": options["axis"]} if options.get("axis") is not None else {}
    return rule(*inputs, **axis)


def masked_ufunc(
    ufunc: np.ufunc, inputs: Sequence[Any], options: dict[str, Any], out: tuple[Any, ...]
) -> Any:
    """The result of ufunc(x, out=y, where=mask): y's own elements where the mask does not hold."""
    if len(out) != 1:
        raise UnsupportedError(f"{ufunc.__name__}: where= with several out= has no rule")
    rest = {k: v for k, v in options.items() if k != "where"}
    with np.errstate(all="ignore"):  # NumPy does not compute what the mask leaves out
        return where(options["where"], call_ufunc(ufunc, inputs, rest), out[0])


def ufunc_method(
    ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: dict[str, Any]
) -> Any:
    """ufunc.reduce, .accumulate and .outer for arguments without Tracers."""
    table = {"reduce": REDUCE, "accumulate": ACCUMULATE}.get(method, {})
    if ufunc in table:
        given = dict(options)
        axis = inputs[1] if len(inputs) > 1 else given.pop("axis", 0)
        return table[ufunc](inputs[0], axis, **given)
    rule = ufunc_rule(ufunc)
    if method == "outer" and rule is not None:
        left, right = operand(inputs[0]), operand(inputs[1])
        return rule(reshape(left, shape_of(left) + (1,) * len(shape_of(right))), right)
    raise UnsupportedError(
        f"{ufunc.__name__}.{method} has no rule for traced arrays (called at {user_line()})"
    )
