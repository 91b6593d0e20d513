"""State of callbacks and schedules as JSON: nested containers of plain values, with arrays set
aside.

JSON has no arrays, tuples or integer keys, so these are marked: `{"$array": name}`, `{"$tuple":
[...]}`, `{"$dict": [[key, value], ...]}`. Floats are written in full, so they come back with the
same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backpass.errors import CheckpointError


def pack(value: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    """What JSON can hold of a value; arrays in it go to `arrays` under names that begin with
    `name`.

    Raises:
        CheckpointError: it holds something else, such as an object of a class.

    >>> kept = {}
    >>> pack({"best": np.zeros(2), "wait": 3}, kept, "state.0")
    {'$dict': [['best', {'$array': 'state.0.best'}], ['wait', 3]]}
    """
    if isinstance(value, np.ndarray):
        while name in arrays:
            name += "'"
        arrays[name] = value
        return {"$array": name}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {
            "$dict": [[_key(k, name), pack(v, arrays, f"{name}.{k}")] for k, v in value.items()]
        }
    if isinstance(value, (list, tuple)):
        parts = [pack(v, arrays, f"{name}.{i}") for i, v in enumerate(value)]
        return parts if isinstance(value, list) else {"$tuple": parts}
    raise CheckpointError(
        f"{name} holds a {type(value).__name__}, which a checkpoint cannot: state_dict may hold "
        "arrays, numbers, texts, "
        "None, and lists, tuples and dicts of them."
    )


def unpack(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that `pack` was given."""
    if isinstance(value, list):
        return [unpack(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$array": str(name)} if name in arrays:
            return arrays[name]
        case {"$tuple": list(parts)}:
            return tuple([unpack(v, arrays) for v in parts])
        case {"$dict": list(items)}:
            return {key: unpack(v, arrays) for key, v in items}
    raise CheckpointError(
        f"the checkpoint's state holds {str(value)[:80]}, which stands for nothing."
    )


def _key(key: Any, name: str) -> Any:
    if not isinstance(key, (str, int)):
        raise CheckpointError(f"{name} has the key {key!r}; keys are texts or integers.")
    return key


__all__ = ["pack", "unpack"]
