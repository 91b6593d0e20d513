"""The object cache: machine code on disk, so that a program is compiled once on a machine.

A file is `KEY.bpo` in `config.cache_dir()`: a line of text, the SHA-256 of the rest, the rest. KEY
is the SHA-256 of all that the code depends on. Nothing is unpickled; what loads is checked byte for
byte against its checksum, and lies in a folder that only this user may write.

Invariant: the cache never fails a program. Whatever is wrong with it (no home, a full disk, a
damaged file) costs a compilation, and one warning where someone should know.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backpass import config, files

LIMIT = 512 << 20  # bytes, above which the files that were unused longest go
_MAGIC = b"backpass object 1\n"
_HEAD = len(_MAGIC) + 32
_SUFFIX = ".bpo"
_SWEEP_EVERY = 32  # writes of one process


@dataclass(slots=True)
class _Session:
    """What this process has said and done."""

    warned: bool = False
    writes: int = 0


_SESSION = _Session()


def key_of(*parts: str) -> str:
    """The name under which the code made from all these texts is kept."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


def read(key: str) -> bytes | None:
    """The code kept under a key, None if there is none that can be trusted."""
    folder = config.cache_dir()
    path = folder / (key + _SUFFIX)
    try:
        if not _is_ours(folder):
            return None
        content = _content(path)
    except OSError:
        return None
    code = content[_HEAD:]
    if content[:_HEAD] != _MAGIC + hashlib.sha256(code).digest() or not code:
        warn(f"{path} is damaged or another user's, so it is compiled again.")
        return None
    with suppress(OSError):
        os.utime(path)  # it was used now: the oldest goes first
    return code


def _content(path: Path) -> bytes:
    """The bytes of a file of ours, none of another's or of what is no file (a pipe would wait)."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
        return file.read() if ours else b""


def write(key: str, code: bytes) -> None:
    """Keep code under a key, if that can be done."""
    folder = config.cache_dir()
    try:
        if not _made(folder):
            return
        head = _MAGIC + hashlib.sha256(code).digest()
        files.atomic_write(folder / (key + _SUFFIX), head + code)
    except OSError:
        return  # read-only, full, or gone: the next process compiles again
    _SESSION.writes += 1
    if _SESSION.writes % _SWEEP_EVERY == 1:
        sweep(LIMIT)


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in the cache."""

    folder: Path
    files: int
    bytes: int


def contents() -> Contents:
    """Count what is there."""
    folder = config.cache_dir()
    sizes = [entry.stat.st_size for entry in _entries(folder)]
    return Contents(folder, len(sizes), sum(sizes))


def clear() -> Contents:
    """Delete all of it; what was there."""
    before = contents()
    sweep(0)
    return before


def sweep(limit: int) -> None:
    """Delete the files that were unused longest until `limit` bytes are left."""
    entries = sorted(_entries(config.cache_dir()), key=lambda e: e.stat.st_mtime_ns)
    total = sum(entry.stat.st_size for entry in entries)
    for entry in entries:
        if total <= limit:
            break
        with suppress(OSError):  # another process may have deleted it
            os.unlink(entry.path)
        total -= entry.stat.st_size
    _remove_leftovers(config.cache_dir())


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    stat: os.stat_result


def _entries(folder: Path) -> list[_Entry]:
    """Our files in the folder; none where it is not ours."""
    found: list[_Entry] = []
    with suppress(OSError):
        if _is_ours(folder):
            with os.scandir(folder) as scan:  # half the time of iterdir
                for entry in scan:
                    if entry.name.endswith(_SUFFIX):
                        with suppress(OSError):
                            found.append(_Entry(entry.path, entry.stat(follow_symlinks=False)))
    return found


def _remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of processes that were killed an hour ago or more."""
    with suppress(OSError):
        if _is_ours(folder):
            for path in folder.glob(f".*{_SUFFIX}.*.partial"):
                if path.lstat().st_mtime < time.time() - 3600:
                    path.unlink()


def _made(folder: Path) -> bool:
    """Make the folder if it is missing; whether it can be used."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return _is_ours(folder)


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can have put code into this folder."""
    found = os.stat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return False
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        warn(
            f"{folder} can be written by others, so it is not used. "
            "Set BACKPASS_CACHE_DIR to a folder of your own with mode 700."
        )
        return False
    return True


def warn(sentence: str) -> None:
    """Tell the user, once in a process, that the cache is not as it should be."""
    if not _SESSION.warned:
        _SESSION.warned = True
        warnings.warn(f"compile cache: {sentence}", RuntimeWarning, stacklevel=2)
