"""A save leaves the old file or the new one whole, whatever fails, and no temporary file."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backpass.files import atomic_write, remove_partial_files
from backpass.train.history import append_record


def fail(code: int) -> Any:
    """A stand-in for a system call that fails."""

    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return failing


@pytest.mark.parametrize(
    ("call", "code"),
    [("fsync", errno.EIO), ("fsync", errno.ENOSPC), ("replace", errno.EACCES)],
)
def test_a_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    file = tmp_path / "model"
    atomic_write(file, b"old")
    monkeypatch.setattr(os, call, fail(code))
    with pytest.raises(OSError, match=os.strerror(code)):
        atomic_write(file, b"new")
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_an_interrupt_in_the_middle_keeps_the_old_file(tmp_path: Path) -> None:
    def pieces() -> Any:
        yield b"half of the "
        raise KeyboardInterrupt

    file = tmp_path / "model"
    atomic_write(file, b"old")
    with pytest.raises(KeyboardInterrupt):
        atomic_write(file, pieces())
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: write itself fails then."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from backpass.files import atomic_write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "atomic_write(sys.argv[1], b'old')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    atomic_write(sys.argv[1], b'x' * 100_000)\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    file = tmp_path / "model"
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert done.stdout == "File too large\n", done.stderr
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_the_permissions_of_the_old_file_stay(tmp_path: Path) -> None:
    file = tmp_path / "model"
    atomic_write(file, b"old")
    assert file.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    file.chmod(0o640)
    atomic_write(file, b"new")
    assert file.stat().st_mode & 0o777 == 0o640


def current_umask() -> int:
    """The umask of this process."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_a_killed_save_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-00000001.safetensors.ab12cd_9.partial").write_text("half")
    (tmp_path / "notes.partial").write_text("mine")
    (tmp_path / ".hidden").write_text("mine")
    remove_partial_files(tmp_path)
    remove_partial_files(tmp_path / "absent")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "notes.partial"]


def test_a_line_that_could_not_be_written_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "history.jsonl"
    append_record(file, {"epoch": 1})
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        append_record(file, {"epoch": 2})
    monkeypatch.undo()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    with pytest.raises(OSError, match="only a part of a line"):
        append_record(file, {"epoch": 2})
    monkeypatch.undo()
    assert file.read_text() == '{"epoch":1}\n'
