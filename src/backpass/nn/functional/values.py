"""How the functions of this folder take what they are given: arrays, numbers, lists, Cells or
traced arrays.

`value` makes any of them an array or a Tracer, on which the functions are plain NumPy; `applied`
uses a primitive that NumPy has no name for; `reduced` is the reduction of the losses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.dtypes import is_float
from backpass.errors import ConfigError, DTypeError, ShapeError
from backpass.ir import Primitive, is_live
from backpass.ops.indexing import getitem
from backpass.ops.operand import operand
from backpass.ops.ufuncs import as_float
from backpass.trace import Cell, Tracer, unwrap, wrap

REDUCTIONS = ("none", "mean", "sum")


def value(x: Any) -> Any:
    """x as an array or a Tracer."""
    if isinstance(x, Cell):
        return x.read()
    return x if isinstance(x, Tracer) else np.asarray(x)


def floating(x: Any) -> Any:
    """x as a floating array or Tracer: integers and booleans become float64.

    Raises:
        TypeError: (DTypeError) x holds texts, objects or complex numbers.
    """
    own = value(x)
    if is_float(own.dtype):
        return own
    if own.dtype.kind not in "iub":
        raise DTypeError(
            f"expected an array of numbers, got {own.dtype}{list(own.shape)}"
            + (
                ""
                if x is not None
                else ": None was given; does the layer before return its result?"
            )
        )
    return own.astype(np.float64)


def applied(primitive: Primitive, x: Any) -> Any:
    """A primitive of one floating operand."""
    found = primitive(as_float(unwrap(x)))
    return wrap(found) if is_live(found) else found


def rows(table: Any, index: Any) -> Any:
    """table[index], where either may be traced; NumPy lets a plain array see no traced index."""
    found = getitem(operand(unwrap(table)), unwrap(index))
    return wrap(found) if is_live(found) else found


def integers(function: str, x: Any, what: str) -> Any:
    """x as int64, for indices and labels.

    Raises:
        TypeError: (DTypeError) x is not of an integer dtype.
    """
    own = value(x)
    if own.dtype.kind not in "iu":
        texts = own.dtype.kind in "USO"
        mend = (
            f"classes, {what} = np.unique({what}, return_inverse=True) numbers them"
            if texts
            else "convert with .astype(int)"
        )
        raise DTypeError(
            f"{function}: {what} must be integers, got {own.dtype}{list(own.shape)}; {mend}"
        )
    return own if own.dtype == np.int64 else own.astype(np.int64)


def one_shape(function: str, **arrays: Any) -> None:
    """Raise ShapeError unless all have one shape: a loss that broadcasts is nearly always a
    mistake.
    """
    shapes = {name: np.shape(x) for name, x in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join([f"{name} {shape}" for name, shape in shapes.items()])
        raise ShapeError(
            f"{function}: shapes differ: {listed}. They must be equal; reshape one, for example "
            "with x[:, 0] or "
            "y[:, None]"
        )


def check_reduction(function: str, reduction: str, allowed: tuple[str, ...] = REDUCTIONS) -> None:
    """Raise ConfigError for a reduction that is not known."""
    if reduction not in allowed:
        raise ConfigError(
            f"{function}: reduction={reduction!r} is not one of {', '.join(map(repr, allowed))}"
        )


def reduced(function: str, loss: Any, reduction: str) -> Any:
    """The loss of each element, their mean or their sum."""
    check_reduction(function, reduction)
    if reduction == "none":
        return loss
    return np.mean(loss) if reduction == "mean" else np.sum(loss)
