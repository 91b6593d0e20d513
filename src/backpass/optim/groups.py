"""Parameter groups: parameters that share hyperparameters, and what `params` may be.

A hyperparameter that a schedule may change (`lr`, momentum, betas) lives in a Cell, so that a
jitted step reads its present value. The others are plain values and part of a jitted step's
signature. A group reads and writes both by name, like torch's dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from backpass.dtypes import is_float
from backpass.errors import DTypeError, OptimizerError
from backpass.trace import Cell, Stateful, Tracer

Params = Iterable[Cell] | Iterable[tuple[str, Cell]] | Iterable[Mapping[str, Any]]


class ParameterGroup(MutableMapping[str, Any]):
    """One group: `params` (a list of Cells), and each hyperparameter by its name.

    Args:
        settings: `params` and all hyperparameters.
        scheduled: which of them live in Cells: floats, or tuples of floats.
        changed: called after a hyperparameter was set that is no Cell, or that was zero before or
            is now: rules keep no state for what is zero.
    """

    __slots__ = ("_cells", "_changed", "_fixed")

    def __init__(
        self, settings: Mapping[str, Any], scheduled: tuple[str, ...], changed: Callable[[], None]
    ) -> None:
        self._cells: dict[str, Cell | tuple[Cell, ...]] = {}
        self._fixed: dict[str, Any] = {}
        self._changed = changed
        for name, value in settings.items():
            if name not in scheduled:
                self._fixed[name] = _plain(value)
            elif isinstance(value, (tuple, list)):
                self._cells[name] = tuple([_number_cell(v) for v in value])
            else:
                self._cells[name] = _number_cell(value)

    def __getitem__(self, name: str) -> Any:
        cells = self._cells.get(name)
        if cells is None:
            return self._fixed[name]
        return tuple(map(_number, cells)) if isinstance(cells, tuple) else _number(cells)

    def __setitem__(self, name: str, value: Any) -> None:
        cells = self._cells.get(name)
        if cells is None:
            self._fixed[name] = _plain(value)
            self._changed()
            return
        own, new = (cells, value) if isinstance(cells, tuple) else ((cells,), (value,))
        if len(new) != len(own):
            raise OptimizerError(f"{name} has {len(own)} numbers, got {len(new)}: {value}")
        if any([_write(cell, x) for cell, x in zip(own, new, strict=True)]):
            self._changed()

    def __delitem__(self, name: str) -> None:
        if name in self._cells:
            raise OptimizerError(
                f"{name} is a hyperparameter of the optimizer; set it to 0 instead"
            )
        del self._fixed[name]
        self._changed()

    def __iter__(self) -> Iterator[str]:
        return iter((*self._fixed, *self._cells))

    def __len__(self) -> int:
        return len(self._fixed) + len(self._cells)

    def __repr__(self) -> str:
        shown = ", ".join([f"{k}: {v}" for k, v in self.items() if k != "params"])
        return f"ParameterGroup({len(self['params'])} parameters, {shown})"

    def cells(self) -> dict[str, Cell]:
        """The Cells of the hyperparameters: "lr", and "betas.0", "betas.1" for a tuple."""
        found: dict[str, Cell] = {}
        for name, cells in self._cells.items():
            if isinstance(cells, tuple):
                found.update({f"{name}.{i}": cell for i, cell in enumerate(cells)})
            else:
                found[name] = cells
        return found

    def fixed(self, names: Iterable[str]) -> tuple[tuple[str, Any], ...]:
        """The hyperparameters among `names` that are no Cells."""
        return tuple([(name, self._fixed[name]) for name in names if name in self._fixed])


def _number_cell(value: Any) -> Cell:
    return Cell(np.asarray(value, np.float64).reshape(()))


def _number(cell: Cell) -> Any:
    value = cell.read()
    return value if isinstance(value, Tracer) else float(value)


def _plain(value: Any) -> Any:
    """A NumPy scalar as the Python number that it is: those are weak in promotion, and hashable."""
    if isinstance(value, Tracer) or not isinstance(value, (np.generic, np.ndarray)):
        return value
    return value.item() if value.ndim == 0 else value


def _write(cell: Cell, value: Any) -> bool:
    """Write a number; whether it became zero, or is no longer."""
    old = cell.read()
    if isinstance(value, Tracer) or isinstance(old, Tracer):
        cell.write(value if isinstance(value, Tracer) else np.float64(value))
        return False
    was_zero = not old
    cell.write(np.float64(value))
    return was_zero != (not cell.read())


def group_settings(params: Params) -> list[dict[str, Any]]:
    """`params` as a list of groups, each with a list of Cells under "params".

    Raises:
        TypeError: (DTypeError) params is a single Cell, a Module, or not iterable.
        ValueError: (OptimizerError) it is empty.
    """
    if isinstance(params, Cell) or not isinstance(params, Iterable):
        mend = "; did you mean model.parameters()?" if isinstance(params, Stateful) else ""
        raise DTypeError(
            "params must be an iterable of parameters or of dicts that define groups, "
            f"got a single {type(params).__name__}{mend}"
        )
    found: list[Any] = list(params.items()) if isinstance(params, Mapping) else list(params)
    if not found:
        raise OptimizerError("optimizer got an empty parameter list; a model without parameters?")
    if not isinstance(found[0], Mapping):
        return [{"params": found}]
    for i, group in enumerate(found):
        if not isinstance(group, Mapping) or "params" not in group:
            raise DTypeError(f"parameter group {i} must be a dict with the key 'params': {group!r}")
    return [dict(group) for group in found]


def named_cells(params: Any) -> tuple[list[Cell], list[str] | None]:
    """The Cells of one group, and their names where (name, Cell) pairs were given.

    Raises:
        TypeError: (DTypeError) something is no Cell, or holds no floats; or params is a set, which
            has no order.
        ValueError: (OptimizerError) some have names and some not, or one stands there twice.
    """
    if isinstance(params, (set, frozenset)):
        raise DTypeError(
            "parameters need an order that is the same in every run, and sets have none; use a list"
        )
    items = [params] if isinstance(params, Cell) else list(params)
    pairs = [x for x in items if isinstance(x, tuple)]
    if pairs and len(pairs) != len(items):
        raise OptimizerError(
            "all parameters of a group need names, or none: some are (name, parameter)"
        )
    cells = [x[1] if isinstance(x, tuple) else x for x in items]
    for x in cells:
        _check_parameter(x)
    if len(set(cells)) != len(cells):
        twice = next(c for i, c in enumerate(cells) if c in cells[:i])
        raise OptimizerError(
            f"{twice.describe()} stands twice in a parameter group and would be updated twice"
        )
    return cells, [x[0] for x in pairs] if pairs else None


def _check_parameter(x: Any) -> None:
    if not isinstance(x, Cell) and hasattr(x, "parameters"):
        raise DTypeError(
            f"an optimizer takes parameters, and was given a {type(x).__name__}; pass "
            "model.parameters()"
        )
    if not isinstance(x, Cell):
        raise DTypeError(
            f"an optimizer updates parameters in place, but one of them is a {type(x).__name__}; "
            "make it an nn.Parameter"
        )
    if not is_float(x.dtype):
        raise DTypeError(f"{x.describe()} has no gradient: its dtype is not floating")
