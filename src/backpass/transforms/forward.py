"""jvp: forward mode, made from the reverse rules.

A vjp is linear in its cotangent; its own vjp is the jvp. (Radul, Paszke, Frostig,
Johnson, Maclaurin 2022, "You Only Linearize Once", read in the other direction.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backpass.errors import ShapeError, TreeError
from backpass.ir import Operand, Scope, ScopeKind, leaf, type_of
from backpass.ops.operand import operand
from backpass.prims import elementwise as el
from backpass.prims.rules import zeros_like
from backpass.trace import to_result, unwrap
from backpass.transforms.grad import Run, run
from backpass.transforms.results import distinct
from backpass.transforms.reverse import pull_back
from backpass.tree import flatten, unflatten

Function = Callable[..., Any]
Push = Callable[[Sequence[Operand]], list[Operand]]


def push_forward(done: Run) -> Push:
    """From tangents of the leaves to tangents of the outputs, for a function that has been run.

    The walk back is traced once, over abstract cotangents `u`; what it computes is linear in `u`,
    and pulling the tangents back through it is the product with the Jacobian.
    """
    floats = [x for x in done.outputs if type_of(x).dtype.kind == "f"]
    with Scope(ScopeKind.LINEAR) as scope:
        us = [leaf(type_of(x), frozenset((scope,))) for x in floats]
        pulled = pull_back(floats, done.scope, done.leaves, us)

    def push(tangents: Sequence[Operand]) -> list[Operand]:
        moved = iter(pull_back(pulled, scope, us, tangents))
        return [
            next(moved) if type_of(x).dtype.kind == "f" else zeros_like(x) for x in done.outputs
        ]

    return push


def jvp(
    function: Function, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """The value of a function and its Jacobian-vector product.

    Args:
        function: any function of arrays or containers of them.
        primals: its arguments, as a tuple or list.
        tangents: one for each, with the same structure, shapes and dtypes.
        has_aux: whether the function returns `(output, aux)`.

    Returns:
        `(output, tangent of the output)`, or with aux as a third.

    >>> import numpy as np
    >>> jvp(np.sin, (0.0,), (2.0,))
    (np.float64(0.0), np.float64(2.0))
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError(
            "jvp: primals and tangents must be tuples or lists, one entry for each argument"
        )
    done = run("jvp", function, tuple(primals), {}, tuple(range(len(primals))), has_aux)
    given = checked_tangents(done, tangents)
    moved = push_forward(done)(given)
    done.overlay.hand_outward()
    tangent = unflatten(done.structure, distinct([to_result(x) for x in moved], given))
    return (done.value(), tangent, done.aux) if has_aux else (done.value(), tangent)


def checked_tangents(done: Run, tangents: Sequence[Any]) -> list[Operand]:
    """Tangents as operands in the order of the leaves, each of its leaf's type."""
    if len(tangents) != len(done.places):
        raise TreeError(f"jvp: {len(done.places)} primals but {len(tangents)} tangents")
    given: list[Operand] = []
    for place, tangent in zip(done.places, tangents, strict=True):
        leaves, structure = flatten(tangent)
        modules = any([cells is not None for cells in place.cells])
        if structure != place.structure and not modules:
            raise TreeError(
                f"jvp: a tangent has the structure {structure}, its primal {place.structure}"
            )
        given.extend([operand(unwrap(x)) for x in leaves])
    if len(given) != len(done.leaves):
        raise TreeError(f"jvp: {len(given)} tangent arrays for {len(done.leaves)} primal arrays")
    found: list[Operand] = []
    for x, v in zip(given, done.leaves, strict=True):
        if type_of(x).shape != v.type.shape:
            raise ShapeError(
                f"jvp: a tangent of shape {type_of(x).shape} for a primal of shape {v.type.shape}"
            )
        found.append(x if type_of(x).dtype == v.type.dtype else el.cast(x, dtype=v.type.dtype))
    return found
