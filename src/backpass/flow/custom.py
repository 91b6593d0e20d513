"""custom_vjp: a function with a backward rule of the user's own.

The forward rule runs as ordinary traced code; its results then pass a `custom_vjp` node, an
identity on the outputs that also takes the residuals and arguments. A cotangent of the node goes to
the arguments alone, by the user's backward rule, and none to the forward rule's own nodes. Those
serve the second derivative: the backward rule is a function of residuals, and these of the
arguments. So no graph has to be captured, and closures, nesting, jit and vmap need no special case.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.dtypes import is_float
from backpass.errors import ShapeError, TreeError
from backpass.ir import Operand, Primitive, type_of
from backpass.ir.graph import Params, is_live
from backpass.ops.operand import operand
from backpass.prims import elementwise as el
from backpass.prims.rules import INTERPRETED, lead, zeros_like
from backpass.trace import to_result, unwrap, wrap
from backpass.transforms.batch import vmap
from backpass.tree import Tree, flatten, unflatten

Function = Callable[..., Any]


def _outputs(*xs: Any, count: int, rule: BackwardRule) -> tuple[Any, ...]:
    return tuple(xs[:count])


class BackwardRule:
    """The user's backward rule and the structures of its residuals, outputs and arguments."""

    __slots__ = ("arguments", "bwd", "name", "outputs", "residuals")

    def __init__(
        self, bwd: Function, name: str, residuals: Tree, outputs: Tree, arguments: tuple[Tree, ...]
    ) -> None:
        self.bwd = bwd
        self.name = name
        self.residuals = residuals
        self.outputs = outputs
        self.arguments = arguments

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, residuals: tuple[Any, ...], cts: tuple[Any, ...]) -> list[Any]:
        """Cotangents of the arguments, flat; None for every leaf of an argument that got None."""
        given = self.bwd(unflatten(self.residuals, residuals), unflatten(self.outputs, cts))
        if not isinstance(given, (tuple, list)) or len(given) != len(self.arguments):
            raise TreeError(
                f"custom_vjp {self.name}: the backward rule must return a tuple with one entry for "
                f"each of {len(self.arguments)} arguments"
            )
        flat: list[Any] = []
        for ct, tree in zip(given, self.arguments, strict=True):
            if ct is None:
                flat.extend([None] * tree.leaf_count)
                continue
            leaves, structure = flatten(ct)
            if structure != tree:
                raise TreeError(
                    f"custom_vjp {self.name}: a cotangent has structure {structure}, its argument "
                    f"{tree}"
                )
            flat.extend(leaves)
        return flat


def _pull(
    cts: tuple[Operand | None, ...],
    wanted: tuple[bool, ...],
    outputs: tuple[Operand, ...],
    inputs: tuple[Operand, ...],
    params: Params,
) -> list[Operand | None]:
    count, rule = params["count"], params["rule"]
    n_res = rule.residuals.leaf_count
    residuals = inputs[count : count + n_res]
    arguments = inputs[count + n_res :]
    filled = [zeros_like(y) if ct is None else ct for ct, y in zip(cts, outputs, strict=True)]
    flat = rule(tuple(map(_shown, residuals)), tuple(map(_given, filled)))
    pulled: list[Operand | None] = [None] * (count + n_res)
    for ct, x in zip(flat, arguments, strict=True):
        pulled.append(None if ct is None else _checked(rule.name, operand(unwrap(ct)), x))
    return pulled


def _checked(name: str, ct: Operand, x: Operand) -> Operand:
    kind = type_of(x)
    if type_of(ct).shape != kind.shape:
        raise ShapeError(
            f"custom_vjp {name}: the backward rule gave shape {type_of(ct).shape} for an argument "
            f"of shape {kind.shape}"
        )
    if type_of(ct).dtype == kind.dtype or not is_float(kind.dtype):
        return ct
    return el.cast(ct, dtype=kind.dtype)


def _shown(x: Operand) -> Any:
    """A residual as the backward rule sees it: it may be kept for another call, so read-only."""
    if is_live(x):
        return wrap(x)
    kept = to_result(x)
    if isinstance(kept, np.ndarray):
        kept = kept.view()
        kept.flags.writeable = False
    return kept


def _given(x: Operand) -> Any:
    """A cotangent as the backward rule sees it: its own, since others may hold the same array."""
    if is_live(x):
        return wrap(x)
    kept = to_result(x)
    return np.array(kept) if isinstance(kept, np.ndarray) else kept


def _batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    """The backward rule mapped over the batch."""
    rule = params["rule"]
    led = [lead(x, b, size) for x, b in zip(inputs, batched, strict=True)]
    mapped = BackwardRule(
        vmap(rule.bwd), f"vmap({rule.name})", rule.residuals, rule.outputs, rule.arguments
    )
    found = custom(*led, count=params["count"], rule=mapped)
    return tuple(found), (True,) * params["count"]


custom = Primitive(
    name="custom_vjp",
    shape=lambda *types, count, rule: tuple(types[:count]),
    reference=_outputs,
    vjp=_pull,
    batch=_batch,
    lower=INTERPRETED,
    single=False,
)


class custom_vjp:
    """A function whose backward rule is given by hand.

    Use as a decorator, then name the rules with `defvjp(fwd, bwd)`: `fwd(*args)` returns
    `(output, residuals)`, and `bwd(residuals, ct)` returns a tuple with the cotangent of every
    argument (None for zero). Both are NumPy code; if `bwd` is differentiable, second derivatives
    work too. Arguments are positional.

    >>> import numpy as np
    >>> @custom_vjp
    ... def clipped(x):
    ...     return np.exp(x)
    >>> clipped.defvjp(lambda x: (np.exp(x), x), lambda x, ct: (np.minimum(ct * np.exp(x), 1.0),))
    >>> from backpass.transforms import grad
    >>> grad(clipped)(3.0)
    np.float64(1.0)
    """

    def __init__(self, function: Function) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.rules: tuple[Function, Function] | None = None

    def defvjp(self, fwd: Function, bwd: Function) -> None:
        """State the forward and the backward rule."""
        self.rules = (fwd, bwd)

    def __call__(self, *args: Any) -> Any:
        """The function's value; traced, the rules stand in for its own derivative."""
        name = getattr(self.function, "__name__", "function")
        if self.rules is None:
            raise TypeError(f"custom_vjp {name}: call defvjp(fwd, bwd) before using the function")
        plain, _ = flatten(args)
        if not any([is_live(unwrap(x)) for x in plain]):
            return self.function(*args)
        fwd, bwd = self.rules
        leaves = [operand(unwrap(x)) for x in plain]
        made = fwd(*unflatten(flatten(args)[1], [wrap(x) for x in leaves]))
        if not isinstance(made, tuple) or len(made) != 2:
            raise TypeError(f"custom_vjp {name}: the forward rule must return (output, residuals)")
        outputs, out_tree = flatten(made[0])
        residuals, res_tree = flatten(made[1])
        rule = BackwardRule(bwd, name, res_tree, out_tree, tuple([flatten(a)[1] for a in args]))
        flat = [operand(unwrap(x)) for x in (*outputs, *residuals)]
        found = custom(*flat, *leaves, count=len(outputs), rule=rule)
        return unflatten(out_tree, [wrap(x) for x in found])
