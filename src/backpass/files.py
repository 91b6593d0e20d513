"""Writing a file so that a crash, a full disk or a kill leaves the old one or the new one, never
neither.

The new bytes go to a temporary file in the same folder, reach the disk (fsync), and take the name
in one step (os.replace); then the folder itself is synced, so that the new name survives a power
cut.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

_TEMPORARY = re.compile(r"^\..+\.[A-Za-z0-9_]{8}\.partial$")


def atomic_write(path: str | Path, content: bytes | Iterable[bytes]) -> None:
    """Put `content` at `path`, or leave everything as it was.

    Args:
        path: the file; its folder is made if it is missing.
        content: bytes, or pieces of them that are written one after another.

    Raises:
        OSError: the system's own reason (disk full, no permission, ...). The old file is whole and
            no temporary file is left.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     atomic_write(Path(folder) / "a.txt", b"new")
    ...     (Path(folder) / "a.txt").read_text()
    'new'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix=".partial", dir=target.parent
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in (content,) if isinstance(content, bytes) else content:
                file.write(piece)
            file.flush()
            os.fchmod(file.fileno(), _mode_of(target))
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_folder(target.parent)


def fsync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial_files(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder."""
    if folder.is_dir():
        for entry in folder.iterdir():
            if _TEMPORARY.match(entry.name) and entry.is_file():
                entry.unlink(missing_ok=True)


def _mode_of(target: Path) -> int:
    """The permissions of the file that is replaced, else what the umask gives to a new one."""
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


__all__ = ["atomic_write", "fsync_folder", "remove_partial_files"]
