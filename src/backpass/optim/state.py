"""Saving and loading an optimizer: torch's structure, and the flat arrays of a bitwise checkpoint.

Everything that is loaded is checked before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backpass.errors import CheckpointError
from backpass.optim.groups import ParameterGroup
from backpass.trace import Cell

Matched = list[tuple[ParameterGroup, Mapping[str, Any]]]
# Options of torch's that choose among its implementations and have no meaning here.
TORCH_ONLY = frozenset({"foreach", "capturable", "differentiable", "fused"})


def saved_state(
    groups: Sequence[ParameterGroup], state: Mapping[Cell, Mapping[str, Cell]]
) -> dict[str, Any]:
    """The `state_dict` of these groups and this state, copied."""
    index: dict[Cell, int] = {}
    saved = []
    for group in groups:
        for cell in group["params"]:
            index[cell] = len(index)
        saved.append({**group, "params": [index[cell] for cell in group["params"]]})
    arrays = {
        i: {name: np.array(c.read()) for name, c in state[cell].items()}
        for cell, i in index.items()
        if state.get(cell)
    }
    return {"state": arrays, "param_groups": saved}


def matching_groups(groups: Sequence[ParameterGroup], state_dict: Mapping[str, Any]) -> Matched:
    """Each group with the saved one; CheckpointError where number or sizes differ."""
    missing = {"state", "param_groups"} - set(state_dict)
    if missing:
        raise CheckpointError(f"load_state_dict: {sorted(missing)} missing; is it of an optimizer?")
    saved = state_dict["param_groups"]
    if len(saved) != len(groups):
        raise CheckpointError(
            f"loaded state dict has a different number of parameter groups: {len(saved)}, here "
            f"{len(groups)}"
        )
    for i, (group, other) in enumerate(zip(groups, saved, strict=True)):
        if len(group["params"]) != len(other["params"]):
            raise CheckpointError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                "optimizer's group "
                f"{i}: {len(other['params'])} parameters, here {len(group['params'])}"
            )
    return list(zip(groups, saved, strict=True))


def load_group(group: ParameterGroup, saved: Mapping[str, Any]) -> None:
    """Set the hyperparameters of a group to the saved ones."""
    for name, value in saved.items():
        if name not in ("params", "param_names") and (name in group or name not in TORCH_ONLY):
            group[name] = tuple(value) if isinstance(value, list) else value


def load_parameter_state(
    groups: Matched, fresh: Mapping[Cell, Mapping[str, Any]], saved: Mapping[Any, Any]
) -> dict[Cell, dict[str, np.ndarray[Any, Any]]]:
    """The arrays to write for each parameter, checked; the fresh state where none was saved."""
    found: dict[Cell, dict[str, np.ndarray[Any, Any]]] = {}
    for group, other in groups:
        for cell, index in zip(group["params"], other["params"], strict=True):
            own = saved.get(index, saved.get(str(index), {}))
            found[cell] = _parameter_state(cell, fresh[cell], own)
    return found


def _parameter_state(
    cell: Cell, fresh: Mapping[str, Any], saved: Mapping[str, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    given = {k: np.asarray(v) for k, v in saved.items() if v is not None}
    if not given:
        return {k: np.asarray(v) for k, v in fresh.items()}
    if set(given) != set(fresh):
        raise CheckpointError(
            f"load_state_dict: {cell.describe()} needs the state {sorted(fresh)}, saved is "
            f"{sorted(given)}; "
            "was it saved by another optimizer, or with other options?"
        )
    for name, array in given.items():
        _check_shape(f"{name} of {cell.describe()}", np.shape(fresh[name]), array.shape)
    return given


def load_arrays(cells: Mapping[str, Cell], arrays: Mapping[str, Any]) -> None:
    """Write flat arrays into Cells of the same names."""
    missing, unexpected = sorted(set(cells) - set(arrays)), sorted(set(arrays) - set(cells))
    if missing or unexpected:
        raise CheckpointError(
            f"the optimizer's arrays do not fit: missing {missing[:8]}, unexpected {unexpected[:8]}"
        )
    given = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in given.items():
        _check_shape(name, cells[name].shape, array.shape)
    for name, array in given.items():
        cells[name].write(array)


def _check_shape(name: str, expected: tuple[int, ...], got: tuple[int, ...]) -> None:
    if tuple(expected) != tuple(got):
        raise CheckpointError(f"{name}: expected shape {tuple(expected)}, saved is {tuple(got)}")
