"""What a transform differentiates or traces: arrays inside its arguments, and Cells of Modules.

`Places` flattens one argument into its traceable leaves and puts others in their place: arrays by
position in the nested container, Modules by binding their Cells. Gradients of a Module are a
mapping from parameter name to array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.dtypes import is_float
from backpass.errors import DTypeError
from backpass.ir import Operand, Value
from backpass.ops.operand import operand
from backpass.trace import Cell, Tracer, is_stateful, unwrap
from backpass.trace.cells import Gradients
from backpass.tree import Tree, flatten, unflatten

Position = int | Sequence[int]


@dataclass(frozen=True, slots=True)
class Places:
    """The traceable leaves of one argument.

    `leaves` are the argument's leaves as `tree` sees them; `cells[i]` are the named Cells of leaf i
    where it is a Module, else None. The flat order is: leaf by leaf, a Module's cells in their own
    order.
    """

    leaves: tuple[Any, ...]
    structure: Tree
    cells: tuple[dict[str, Cell] | None, ...]

    def operands(self) -> list[Operand]:
        """The current values, flat."""
        found: list[Operand] = []
        for x, cells in zip(self.leaves, self.cells, strict=True):
            if cells is None:
                found.append(operand(unwrap(x)))
            else:
                found.extend([operand(unwrap(cell.read())) for cell in cells.values()])
        return found

    def given(self) -> list[Any]:
        """What stands at each place: an array, a scalar or a Cell's current value."""
        found: list[Any] = []
        for x, cells in zip(self.leaves, self.cells, strict=True):
            found.extend([x] if cells is None else [cell.read() for cell in cells.values()])
        return found

    def weak(self) -> list[type[float] | type[int] | None]:
        """For each value the Python type of a bare scalar, else None."""
        found: list[type[float] | type[int] | None] = []
        for x, cells in zip(self.leaves, self.cells, strict=True):
            found.extend([weak_type(x)] if cells is None else [None] * len(cells))
        return found

    def replace(self, values: Sequence[Any]) -> tuple[Any, dict[Cell, Any]]:
        """The argument with other values in its places, and what to bind the Cells to."""
        new: list[Any] = []
        bindings: dict[Cell, Any] = {}
        at = 0
        for x, cells in zip(self.leaves, self.cells, strict=True):
            if cells is None:
                new.append(values[at])
                at += 1
                continue
            new.append(x)
            for cell in cells.values():
                bindings[cell] = values[at]
                at += 1
        return unflatten(self.structure, new), bindings

    def results(self, values: Sequence[Any]) -> Any:
        """Values of the flat order in the argument's structure; those of a Module as Gradients."""
        new: list[Any] = []
        at = 0
        for cells in self.cells:
            if cells is None:
                new.append(values[at])
                at += 1
            else:
                some = values[at : at + len(cells)]
                new.append(Gradients(dict(zip(cells, some, strict=True)), list(cells.values())))
                at += len(cells)
        return unflatten(self.structure, new)


def weak_type(x: Any) -> type[float] | type[int] | None:
    """float or int for a bare Python scalar, else None."""
    return type(x) if type(x) in (float, int) else None


def places(argument: Any, wanted: Callable[[Cell], bool]) -> Places:
    """The places of one argument, with the Cells of its Modules that are wanted."""
    leaves, structure = flatten(argument)
    cells: list[dict[str, Cell] | None] = []
    for x in leaves:
        if isinstance(x, Cell):
            cells.append({x.name or "parameter": x})
        elif is_stateful(x):
            cells.append({name: c for name, c in x.__backpass_cells__().items() if wanted(c)})
        else:
            cells.append(None)
    return Places(tuple(leaves), structure, tuple(cells))


def differentiable(transform: str, argument: Any, position: int) -> Places:
    """The places of an argument to differentiate: every array in it must be floating."""
    found = places(argument, lambda cell: cell.trainable)
    for x, cells in zip(found.leaves, found.cells, strict=True):
        if cells is None:
            check_float(transform, x, position)
    return found


def check_float(transform: str, x: Any, position: int) -> None:
    """Raise DTypeError for what has no derivative."""
    dtype = x.dtype if isinstance(x, (Tracer, np.ndarray, np.generic)) else None
    if dtype is None:
        try:
            dtype = np.asarray(x).dtype
        except (TypeError, ValueError) as error:
            raise DTypeError(
                f"{transform}: argument {position} holds a {type(x).__name__}, not an array"
            ) from error
    if not is_float(dtype):
        mend = (
            "pass 3.0 instead of 3, or x.astype(float)"
            if dtype.kind in "iub"
            else "pass an array of floats"
        )
        raise DTypeError(
            f"{transform}: argument {position} holds {_what(x, dtype)}, which has no derivative; "
            f"{mend}, or leave it out of argnums"
        )


def _what(x: Any, dtype: np.dtype[Any]) -> str:
    return (
        f"a {type(x).__name__} (dtype {dtype})" if np.ndim(x) == 0 else f"an array of dtype {dtype}"
    )


def positions(transform: str, argnums: Position, count: int) -> tuple[int, ...]:
    """argnums as non-negative positions among `count` arguments."""
    given = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    found: list[int] = []
    for i in given:
        if not isinstance(i, (int, np.integer)):
            raise TypeError(
                f"{transform}: argnums={argnums!r} must be the position of an argument, or a tuple "
                "of positions"
            )
        if not -count <= i < count:
            raise ValueError(
                f"{transform}: argnums={argnums} but the function was called with {count} "
                f"positional argument{'' if count == 1 else 's'}; pass what is differentiated by "
                "position"
            )
        if i % count in found:
            raise ValueError(f"{transform}: argnums={argnums} names argument {i % count} twice")
        found.append(i % count)
    return tuple(found)


def flat_outputs(out: Any) -> tuple[list[Any], Tree]:
    """The outputs of a traced function as operands (Values where traced), and their structure."""
    leaves, structure = flatten(out)
    return [operand(unwrap(x)) for x in leaves], structure


def as_values(xs: Sequence[Value], given: Sequence[Any]) -> list[Tracer]:
    """Values as the Tracers that a user's function gets in place of what was given."""
    pairs = zip(xs, given, strict=True)
    return [Tracer(x, scalar=not is_zero_rank_array(own)) for x, own in pairs]


def is_zero_rank_array(x: Any) -> bool:
    """Whether x is an array of rank 0, which can be written to, and not a scalar, which cannot."""
    return isinstance(x, np.ndarray) or (isinstance(x, Tracer) and not x.is_scalar)
