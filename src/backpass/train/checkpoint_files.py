"""Checkpoint files: safetensors with one JSON text beside the arrays. Reading one never executes
code.

The header of a file is checked in full before anything is loaded: its length, its JSON, every name,
dtype, shape and byte range (no gaps, no overlaps, nothing past the end). So what a hostile file can
cost is bounded by its size. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backpass.errors import CheckpointError, MissingDependencyError
from backpass.files import atomic_write

#: The longest header that is read. One of ours has about 100 bytes an array, and the history.
MOST_HEADER_BYTES = 64 * 2**20
_KEY = "backpass"
_NAME = re.compile(r"^checkpoint-(\d{8,})\.safetensors$")
_DTYPES = {
    **{f"F{n}": n // 8 for n in (16, 32, 64)},
    **{f"{kind}{n}": n // 8 for kind in "IU" for n in (8, 16, 32, 64)},
    "BOOL": 1,
}


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """Arrays by name, and what JSON says beside them."""

    arrays: dict[str, np.ndarray]
    document: dict[str, Any]


def write_file(path: Path, content: Content) -> None:
    """Write atomically; the same content gives the same bytes.

    Raises:
        OSError: the system's reason; the old file is whole.
    """
    library = _safetensors()
    arrays = {name: np.array(a, order="C") for name, a in content.arrays.items()}
    text = json.dumps(content.document, separators=(",", ":"))
    atomic_write(path, library.save(arrays, {_KEY: text}))


def read_file(path: Path) -> Content:
    """Read and check a file.

    Raises:
        CheckpointError: it is damaged, hostile, or no checkpoint of backpass.
    """
    library = _safetensors()
    try:
        header = _checked_header(path)
        document = _document(path, header)
        return Content(library.load_file(path), document)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise _damaged(path, str(error)) from error


def checkpoint_name(step: int) -> str:
    """The file name of a checkpoint after this many optimizer steps."""
    return f"checkpoint-{step:08d}.safetensors"


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of the checkpoints in a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = [(_NAME.match(entry.name), entry) for entry in folder.iterdir()]
    return sorted((int(match[1]), entry) for match, entry in found if match)


def latest_checkpoint(path: str | Path) -> Path | None:
    """The newest checkpoint in a run folder or its checkpoints/; None if there is none yet."""
    folder = Path(path)
    found = checkpoints_in(folder / "checkpoints") + checkpoints_in(folder)
    return max(found)[1] if found else None


def find_checkpoint(path: str | Path) -> Path:
    """The file itself, or the newest checkpoint of a folder.

    Raises:
        CheckpointError: there is no such file, or no checkpoint in the folder.
    """
    given = Path(path)
    if not given.is_dir():
        if not given.exists():
            raise CheckpointError(f"there is no checkpoint {given}.")
        return given
    newest = latest_checkpoint(given)
    if newest is None:
        raise CheckpointError(
            f"there is no checkpoint in {given} (checkpoint-<step>.safetensors, there or in "
            "checkpoints/): the run "
            "ended before its first one, or kept none. Start it anew."
        )
    return newest


def _checked_header(path: Path) -> dict[str, Any]:
    size = os.stat(path).st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise _damaged(path, f"it has {size:,} bytes and its header should have {length:,}")
        if length > MOST_HEADER_BYTES:
            raise _damaged(
                path, f"its header has {length:,} bytes, the most is {MOST_HEADER_BYTES:,}"
            )
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is no JSON: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    ranges = [
        _byte_range(path, name, entry) for name, entry in header.items() if name != "__metadata__"
    ]
    end = 0
    for begin, stop in sorted(ranges):
        if begin != end:
            raise _damaged(path, f"its arrays overlap or leave a gap at byte {end:,}")
        end = stop
    if end != size - 8 - length:
        raise _damaged(
            path, f"its arrays should take {end:,} bytes and {size - 8 - length:,} are there"
        )
    return header


def _byte_range(path: Path, name: str, entry: Any) -> tuple[int, int]:
    """Where an array lies, if its dtype, shape and range agree."""
    quoted = f"array {name[:80]!r}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"{quoted} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _damaged(path, f"{quoted} has dtype {str(dtype)[:20]!r}, which is not supported")
    if not _whole_numbers(shape) or len(shape) > 64:
        raise _damaged(path, f"{quoted} has the shape {str(shape)[:80]}")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise _damaged(path, f"{quoted} has the byte range {str(offsets)[:80]}")
    if offsets[1] - offsets[0] != math.prod(shape) * _DTYPES[dtype]:
        raise _damaged(path, f"{quoted}: {dtype}{shape} does not fill the bytes {offsets}")
    return offsets[0], offsets[1]


def _whole_numbers(x: Any) -> bool:
    return isinstance(x, list) and all(type(n) is int and 0 <= n < 2**62 for n in x)


def _document(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    metadata = header.get("__metadata__")
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise CheckpointError(
            f"{path} is a safetensors file, but no checkpoint of backpass: it holds arrays alone. "
            "To take weights from "
            "it, use model.load_state_dict."
        )
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its metadata is no JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise _damaged(path, "its metadata is no JSON object")
    return document


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or no checkpoint: {why}. Take an older checkpoint, or train anew."
    )


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingDependencyError("safetensors", "A checkpoint", extra="train") from error
    return safetensors.numpy


__all__ = [
    "Content",
    "checkpoint_name",
    "checkpoints_in",
    "find_checkpoint",
    "latest_checkpoint",
    "read_file",
    "write_file",
]
