"""state_dict and load_state_dict: the arrays of a Module by torch's keys, checked as a whole before
any is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from backpass.errors import CheckpointError
from backpass.trace import Cell


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found on one side only."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(
    model: str, cells: Mapping[str, Cell], state: Mapping[str, Any], strict: bool
) -> IncompatibleKeys:
    """Write `state` into the cells, all or nothing. `cells` names a shared Cell under each of its
    names.

    A tied name may be absent where another of its names is there.

    Raises:
        ValueError: (CheckpointError) listing every missing, unexpected and unfit key.
    """
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"load_state_dict: expected a mapping from name to array, got {type(state).__name__}; "
            "read a file first, for example with safetensors.numpy.load_file(path)"
        )
    given = {id(cells[name]) for name in state if name in cells}
    missing = [name for name, cell in cells.items() if name not in state and id(cell) not in given]
    unexpected = [name for name in state if name not in cells]
    arrays = {name: _array(name, state[name]) for name in cells if name in state}
    faults = [f for name, x in arrays.items() if (f := _unfit(name, cells[name], x))]
    if strict:
        faults.extend([f"missing: {name} {_kind(cells[name])}" for name in missing])
        faults.extend([f"unexpected: {name}" for name in unexpected])
        faults.extend(_conflicts(cells, arrays))
    if faults:
        listed = "\n  ".join(faults)
        raise CheckpointError(
            f"load_state_dict: the state does not fit {model}; nothing was loaded:\n  {listed}"
            f"{_hint(state, missing, unexpected)}"
        )
    for name, array in arrays.items():
        cells[name].write(array)
    return IncompatibleKeys(missing, unexpected)


def _array(name: str, given: Any) -> np.ndarray[Any, Any]:
    """An array of the state; torch's tensors are read too, also those that require a gradient."""
    detach = getattr(given, "detach", None)
    try:
        return np.asarray(given if detach is None else detach())
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"load_state_dict: {name} cannot be read as an array: {error}; convert it first, a "
            "bfloat16 or GPU tensor for example with .float().cpu()"
        ) from error


def _hint(state: Mapping[str, Any], missing: list[str], unexpected: list[str]) -> str:
    """What most likely happened where no name fits: a wrapped state, or names with a prefix."""
    inner = [name for name in unexpected if isinstance(state[name], Mapping)]
    if inner:
        return f"\n{inner[0]} is itself a mapping: load state[{inner[0]!r}]"
    for name in missing[:1]:
        longer = [n for n in unexpected if n.endswith(f".{name}")]
        prefix = longer[0].removesuffix(name) if longer else ""
        if prefix and all([n.startswith(prefix) for n in unexpected]):
            return (
                f"\nThe names of the state begin with {prefix!r}: load "
                f"{{k.removeprefix({prefix!r}): v for k, v in state.items()}}"
            )
    return ""


def _kind(cell: Cell) -> str:
    return f"{cell.dtype.name}{list(cell.shape)}"


def _unfit(name: str, cell: Cell, array: Any) -> str | None:
    """Why an array cannot be written into a cell."""
    if array.shape != cell.shape:
        sides = f"{list(array.shape)} in the state and {list(cell.shape)} in the model"
        return f"wrong shape: {name} is {sides}"
    if not np.can_cast(array.dtype, cell.dtype, "same_kind"):
        return f"wrong dtype: {name} is {array.dtype} in the state and {cell.dtype} in the model"
    return None


def _conflicts(cells: Mapping[str, Cell], arrays: Mapping[str, Any]) -> list[str]:
    """Tied names for which the state has different arrays."""
    first: dict[int, str] = {}
    found = []
    for name, array in arrays.items():
        other = first.setdefault(id(cells[name]), name)
        if other is not name and not np.array_equal(
            arrays[other], array, equal_nan=_is_float(array)
        ):
            found.append(
                f"conflicting: {other} and {name} are one array in the model, not in the state"
            )
    return found


def _is_float(array: Any) -> bool:
    return array.dtype.kind == "f"
