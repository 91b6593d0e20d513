"""vjp, grad, value_and_grad, stop_gradient: reverse mode with JAX's faces.

Arguments are arrays, nested containers of them, and Modules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backpass.dtypes import is_float
from backpass.errors import DTypeError, ShapeError, TreeError
from backpass.ir import Operand, Scope, ScopeKind, Value, type_of
from backpass.ops.operand import operand
from backpass.prims import elementwise as el
from backpass.prims.rules import full_like
from backpass.trace import Overlay, bound, to_result, unwrap
from backpass.transforms.arguments import (
    Places,
    Position,
    as_values,
    differentiable,
    flat_outputs,
    positions,
)
from backpass.transforms.results import copied, distinct
from backpass.transforms.reverse import fresh_leaf, pull_back
from backpass.tree import Tree, flatten, tree_map, unflatten

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a function under a scope: its outputs, and the leaves they may depend on."""

    scope: Scope
    places: tuple[Places, ...]
    leaves: tuple[Value, ...]
    outputs: tuple[Operand, ...]
    structure: Tree
    aux: Any
    overlay: Overlay

    def value(self) -> Any:
        """The outputs in their structure, as the transform hands them out."""
        return unflatten(self.structure, [to_result(x) for x in self.outputs])

    def pull(self, cts: Sequence[Operand | None]) -> list[Any]:
        """One result for each differentiated argument."""
        found = pull_back(self.outputs, self.scope, self.leaves, cts)
        pulled = distinct([to_result(g) for g in found], cts)
        results, at = [], 0
        for place in self.places:
            count = len(place.operands())
            results.append(place.results(pulled[at : at + count]))
            at += count
        return results


def run(
    transform: str,
    function: Function,
    args: tuple[Any, ...],
    options: dict[str, Any],
    wrt: tuple[int, ...],
    has_aux: bool,
    settle: bool = False,
) -> Run:
    """Run function(*args) with the arguments at `wrt` traced; on copies of them with `settle`.

    What it writes to Cells stays in `overlay`: the caller hands it outward when the walk back is
    done, which still reads the old arrays.
    """
    found = tuple([differentiable(transform, args[i], i) for i in wrt])
    leaves: list[Value] = []
    with Scope(ScopeKind.DERIVATIVE) as scope:
        replaced, bindings = list(args), {}
        for i, place in zip(wrt, found, strict=True):
            values = zip(place.operands(), place.weak(), strict=True)
            own = [fresh_leaf(copied(x) if settle else x, scope, weak) for x, weak in values]
            leaves.extend(own)
            replaced[i], cells = place.replace(as_values(own, place.given()))
            bindings.update(cells)
        with bound(bindings) as overlay:
            out = function(*replaced, **options)
        if has_aux:
            out, aux = _with_aux(transform, out)
            aux = tree_map(unwrap, aux)
        else:
            aux = None
        outputs, structure = flat_outputs(out)
    aux = tree_map(_out, aux)
    return Run(scope, found, tuple(leaves), tuple(outputs), structure, aux, overlay)


def _out(x: Any) -> Any:
    return to_result(x) if isinstance(x, (Value, np.ndarray)) else x


def _with_aux(transform: str, out: Any) -> tuple[Any, Any]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(
            f"{transform}: with has_aux=True the function must return (output, aux), got "
            f"{type(out).__name__}"
        )
    return out


def value_and_grad(function: Function, argnums: Position = 0, has_aux: bool = False) -> Function:
    """A function that returns the value of a scalar function and its gradient.

    Args:
        function: takes arrays, nested tuples, lists and dicts of them, or Modules; returns a
            floating scalar (shape ()), or `(scalar, aux)` with `has_aux`.
        argnums: the position, or several, of the arguments to differentiate.
        has_aux: whether the function returns auxiliary data that is not differentiated.

    Returns:
        A function with the same arguments that returns `(value, gradient)`, or
        `((value, aux), gradient)`. The gradient has the structure, shapes and dtypes of the
        argument (a tuple of them for several argnums); for a Module it is a mapping from qualified
        parameter name to array.

    Raises:
        TypeError: an argument to differentiate is not floating, or the output is no floating
            scalar.

    >>> import numpy as np
    >>> value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    (np.float64(5.0), array([2., 4.]))

    Reverse accumulation: Linnainmaa 1970; Rumelhart, Hinton, Williams 1986.
    """

    if not callable(function):
        raise TypeError(
            f"grad: takes a function, got {type(function).__name__}; write bp.grad(f)(x), not "
            "bp.grad(f(x))"
        )

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        wrt = positions("grad", argnums, len(args))
        done = run("grad", function, args, options, wrt, has_aux)
        _check_scalar(done)
        pulled = done.pull([full_like(done.outputs[0], 1.0)])
        done.overlay.hand_outward()
        value = done.value()
        gradient = pulled[0] if isinstance(argnums, int) else tuple(pulled)
        return ((value, done.aux) if has_aux else value), gradient

    return wrapped


def _check_scalar(done: Run) -> None:
    if len(done.outputs) != 1 or done.structure.kind is not None:
        raise DTypeError(
            f"grad: the function must return one scalar, it returned {done.structure}; return the "
            "loss alone, or (loss, aux) with has_aux=True"
        )
    kind = type_of(done.outputs[0])
    if kind.shape != ():
        raise DTypeError(
            f"grad: the function must return a scalar, it returned an array of shape {kind.shape}; "
            "reduce it with np.sum or np.mean, or use bp.jacrev or bp.vjp"
        )
    if not is_float(kind.dtype):
        raise DTypeError(
            f"grad: the function returned dtype {kind.dtype}, which has no derivative; return a "
            "float"
        )


def grad(function: Function, argnums: Position = 0, has_aux: bool = False) -> Function:
    """A function that returns the gradient of a scalar function. Arguments as in `value_and_grad`.

    Returns:
        A function that returns the gradient, or `(gradient, aux)` with `has_aux`.

    >>> import numpy as np
    >>> grad(np.sin)(0.0)
    np.float64(1.0)
    """
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        value, gradient = both(*args, **options)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def vjp(function: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of a function and its vector-Jacobian product.

    Args:
        function: any function of arrays (or containers of them, or Modules).
        primals: its arguments; all are differentiated.
        has_aux: whether the function returns `(output, aux)`.

    Returns:
        `(output, pull)`, or `(output, pull, aux)`. `pull(ct)` takes cotangents in the structure,
        shapes and dtypes of the output and returns a tuple with one result for each primal. It may
        be called many times.

    >>> import numpy as np
    >>> y, pull = vjp(np.sin, np.array([0.0, 1.0]))
    >>> pull(np.array([1.0, 0.0]))
    (array([1., 0.]),)
    """
    # `pull` may be called when the caller has written to the primals or the results: copy both.
    wrt = tuple(range(len(primals)))
    done = run("vjp", function, primals, {}, wrt, has_aux, settle=True)
    done.overlay.hand_outward()
    value, aux = tree_map(copied, done.value()), tree_map(copied, done.aux)

    def pull(ct: Any) -> tuple[Any, ...]:
        return tuple(done.pull(cotangents(ct, done)))

    return (value, pull, aux) if has_aux else (value, pull)


def cotangents(ct: Any, done: Run) -> list[Operand | None]:
    """Cotangents checked against the outputs' structure and shapes; None where one is no float."""
    leaves, structure = flatten(ct)
    if structure != done.structure:
        raise TreeError(
            f"vjp: cotangents {structure} do not have the structure of the output {done.structure}"
        )
    found: list[Operand | None] = []
    for x, output in zip(leaves, done.outputs, strict=True):
        kind = type_of(output)
        given = operand(unwrap(x))
        if type_of(given).shape != kind.shape:
            raise ShapeError(
                f"vjp: cotangent of shape {type_of(given).shape} for an output of shape "
                f"{kind.shape}"
            )
        if not is_float(kind.dtype):
            found.append(None)
        elif type_of(given).dtype == kind.dtype:
            found.append(given)
        else:
            found.append(el.cast(given, dtype=kind.dtype))
    return found


def stop_gradient(x: Any) -> Any:
    """x with no derivative: an identity whose cotangent is zero, over arrays and containers.

    >>> grad(lambda x: x * stop_gradient(x))(3.0)
    np.float64(3.0)

    What is stopped is no longer traced by the transforms that differentiate, so under `grad` it is
    a plain array: `float(stop_gradient(x))` is a number.
    """
    return tree_map(_stopped, x)


def _stopped(x: Any) -> Any:
    """x out of the reach of every derivative, and still within that of vmap and jit."""
    value = operand(unwrap(x))
    if type(value) is not Value:
        return to_result(value)
    kept = frozenset([s for s in value.scopes if s.alive and s.kind is not ScopeKind.DERIVATIVE])
    return to_result(replace(el.stop(value), scopes=kept))
