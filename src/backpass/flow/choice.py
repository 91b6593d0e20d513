"""cond: a branch on a traced predicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.errors import ShapeError, TreeError
from backpass.ir import Value
from backpass.ops.elementwise import where
from backpass.ops.operand import operand, shape_of
from backpass.trace import unwrap, wrap
from backpass.tree import flatten, unflatten


def cond(
    pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any
) -> Any:
    """true_fn(*operands) if pred else false_fn(*operands); pred may be traced without a value.

    If pred is known, only its branch runs. If it is not (under jit or vmap), both run and the
    result is chosen element by element; the branch not taken gets a cotangent of exactly zero, so
    its derivative cannot spoil the other's.

    Args:
        pred: a boolean scalar.
        true_fn, false_fn: functions of the operands whose results have one structure, and equal
            shapes.
        operands: what the branches get.

    >>> cond(True, lambda x: x + 1, lambda x: x - 1, 3)
    4
    """
    p = operand(unwrap(pred))
    if shape_of(p) != ():
        raise ShapeError(
            f"cond: the predicate must be a scalar, got shape {shape_of(p)}; use np.where for "
            "arrays"
        )
    known = p.array if type(p) is Value else p
    if known is not None:
        return true_fn(*operands) if bool(np.asarray(known)) else false_fn(*operands)
    yes, structure = flatten(true_fn(*operands))
    no, other = flatten(false_fn(*operands))
    if structure != other:
        raise TreeError(f"cond: true_fn returns {structure}, false_fn returns {other}")
    chosen = []
    for a, b in zip(yes, no, strict=True):
        x, y = operand(unwrap(a)), operand(unwrap(b))
        if shape_of(x) != shape_of(y):
            raise ShapeError(f"cond: true_fn returns shape {shape_of(x)}, false_fn {shape_of(y)}")
        chosen.append(wrap(where(p, x, y)))
    return unflatten(structure, chosen)
