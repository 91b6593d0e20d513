"""Which gradient belongs to which parameter: what `optimizer.step(grads)` may be given.

Gradients are matched and checked before anything is written, so that a wrong call changes nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from backpass.errors import DTypeError, OptimizerError, ShapeError
from backpass.trace import Cell, Tracer
from backpass.trace.cells import Gradients

Names = Callable[[], Mapping[Cell, str]]


def by_cell(grads: Any, parameters: Collection[Cell], names: Names) -> dict[Cell, Any]:
    """Gradient by parameter. Parameters without one (frozen), or with None, are left out.

    Args:
        grads: the Gradients that `value_and_grad` returns for a Module, several of them in a
            sequence, a mapping by qualified name (or by Cell), or a sequence of arrays in the order
            of the parameters.
        parameters: those of the optimizer, in order.
        names: gives their qualified names.

    Raises:
        ValueError: (OptimizerError, ShapeError) unknown names, a wrong number of gradients,
            gradients of another model, a wrong shape.
        TypeError: (DTypeError) grads is nothing of the above.
    """
    if isinstance(grads, Gradients):
        found = _own(grads.by_cell(), parameters, names)
    elif isinstance(grads, Mapping):
        keyed = any([isinstance(key, Cell) for key in grads])
        found = _own(grads, parameters, names) if keyed else _by_name(grads, names())
    elif isinstance(grads, Sequence) and not isinstance(grads, str):
        found = _in_order(grads, parameters, names)
    elif grads is None:
        raise DTypeError(
            "step: no gradients were given (got NoneType); parameters hold none here: value, grads "
            "= bp.value_and_grad(loss)(model, x, y), then optimizer.step(grads)"
        )
    else:
        raise DTypeError(
            "step: grads must be what value_and_grad returns for the model, a mapping from "
            "parameter name to "
            f"array, or a sequence of arrays, got {type(grads).__name__}"
        )
    kept = {cell: g for cell, g in found.items() if g is not None}
    for cell, g in kept.items():
        _check(cell, g, names)
    return kept


def _own(found: Mapping[Cell, Any], parameters: Collection[Cell], names: Names) -> dict[Cell, Any]:
    """Those of this optimizer's parameters; a part of the model will do, nothing of it not."""
    own = {cell: g for cell, g in found.items() if cell in parameters}
    if len(own) < len(found) and len(own) < len(parameters):
        _warn_of_replaced(found, own, parameters, names)
    if found and not own:
        raise OptimizerError(
            f"step: none of the gradients ({_listed([c.name for c in found])}) belongs to a "
            "parameter of this "
            f"optimizer ({_listed(list(names().values()))}); are they of another model, or of a "
            "copy?"
        )
    return own


def _warn_of_replaced(
    found: Mapping[Cell, Any],
    own: Mapping[Cell, Any],
    parameters: Collection[Cell],
    names: Names,
) -> None:
    """Say so where a parameter with a gradient has the name of one here that has none.

    A layer that was replaced after the optimizer was made would never be trained, in silence.
    """
    left = {name for cell, name in names().items() if cell.trainable and cell not in own}
    new = [cell.name for cell in found if cell not in parameters and cell.name in left]
    if own and new:
        warnings.warn(
            f"step: the model's {_listed(new)} is not the parameter of that name which this "
            "optimizer holds: the layer was replaced after the optimizer was made, and is not "
            "trained. Make a new optimizer, or optimizer.add_param_group({'params': "
            "layer.parameters()})",
            stacklevel=5,
        )


def _by_name(grads: Mapping[str, Any], names: Mapping[Cell, str]) -> dict[Cell, Any]:
    cells = {name: cell for cell, name in names.items()}
    unknown = [str(name) for name in grads if name not in cells]
    if unknown:
        missing = [name for name in cells if name not in grads]
        raise OptimizerError(
            f"step: gradients of unknown parameters: {_listed(unknown)}; "
            f"parameters without a gradient: {_listed(missing)}"
        )
    return {cells[name]: g for name, g in grads.items()}


def _in_order(grads: Sequence[Any], parameters: Collection[Cell], names: Names) -> dict[Cell, Any]:
    if any([isinstance(g, Gradients) for g in grads]):
        together: dict[Cell, Any] = {}
        for part in grads:
            if not isinstance(part, Gradients):
                raise DTypeError(
                    f"step: Gradients mixed with a {type(part).__name__}; of the pair (value, "
                    "grads) that value_and_grad returns, give the second"
                )
            together.update(part.by_cell())
        return _own(together, parameters, names)
    if len(grads) != len(parameters):
        raise OptimizerError(
            f"step: {len(grads)} gradients for {len(parameters)} parameters; give None for one "
            "without a gradient"
        )
    return dict(zip(parameters, grads, strict=True))


def _check(cell: Cell, g: Any, names: Names) -> None:
    shape = getattr(g, "shape", None)
    if shape is None or not (isinstance(g, Tracer) or hasattr(g, "dtype")):
        raise DTypeError(f"step: the gradient of {names()[cell]} is a {type(g).__name__}, no array")
    if tuple(shape) != cell.shape:
        raise ShapeError(
            f"step: the gradient of {names()[cell]} has shape {tuple(shape)}, the parameter "
            f"{cell.shape}"
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join([name or "(unnamed)" for name in names[:8]])
    return (shown + (f", ... ({len(names)} in all)" if len(names) > 8 else "")) or "none"
