"""The run folder: what lies in it, in which state it is, and how a new run takes its place.

config.toml is written when training starts and metrics.json when all else is there, so a folder
with the first and without the second is a run that can be resumed. A finished run is never touched
by its successor before that has finished too: the new one trains in a folder beside it and takes
the name in the end. Nothing is ever removed but the files that a run writes.
"""

import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backpass.cli.config_file import config_text, read_config
from backpass.cli.settings import RunConfig
from backpass.errors import ConfigError
from backpass.files import atomic_write, fsync_folder
from backpass.wording import quote_path

State = Literal["absent", "empty", "unfinished", "finished", "foreign"]
_FILES = ("model.safetensors", "config.toml", "metrics.json", "history.jsonl", "report.html")
_CHECKPOINTS = "checkpoints"
_REPLACES = ".replaces"  # in a folder that was made to replace the run beside it


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of a run, and what is in them."""

    path: Path

    @property
    def model(self) -> Path:
        """The weights, with preprocessing and model in their metadata."""
        return self.path / "model.safetensors"

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """The results; written last."""
        return self.path / "metrics.json"

    @property
    def history(self) -> Path:
        """One line for each epoch."""
        return self.path / "history.jsonl"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        """What a resumed run starts from."""
        return self.path / _CHECKPOINTS

    @property
    def state(self) -> State:
        """What is at the path; ConfigError where it cannot be looked at."""
        try:
            names = set(os.listdir(self.path))
        except FileNotFoundError:
            return "absent"
        except NotADirectoryError:
            return "foreign"
        except OSError as error:
            raise ConfigError(
                f"{quote_path(self.path)} cannot be read: {error.strerror}."
            ) from error
        if names <= {_REPLACES}:
            return "empty"
        if not self.config.is_file():
            return "foreign"
        return "finished" if {"metrics.json", "model.safetensors"} <= names else "unfinished"

    def read_config(self) -> RunConfig:
        """The settings of the run."""
        return RunConfig.of(read_config(self.config))

    def write_config(self, config: RunConfig) -> None:
        """Make this folder a run that can be resumed."""
        atomic_write(self.config, config_text(config).encode())

    def read_metrics(self) -> dict[str, Any]:
        """metrics.json; ConfigError if it is damaged."""
        try:
            found = json.loads(self.metrics.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{quote_path(self.metrics)} cannot be read: {error}.") from error
        if not isinstance(found, dict):
            raise ConfigError(f"{quote_path(self.metrics)} holds no object.")
        return found

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """metrics.json: NaN and infinity become null."""
        text = json.dumps(_without_nan(metrics), indent=2, allow_nan=False)
        atomic_write(self.metrics, text.encode() + b"\n")

    def remove_results(self) -> None:
        """Delete what a run wrote, and nothing else; config.toml goes last."""
        for name in (*_FILES[::-1],):
            if name != "config.toml":
                (self.path / name).unlink(missing_ok=True)
        if self.checkpoints.is_dir() and not self.checkpoints.is_symlink():
            shutil.rmtree(self.checkpoints)
        self.config.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training here; ConfigError if one is at it."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another process is training in {quote_path(self.path)}. Wait for it, or give "
                    "another --output."
                ) from error
            yield
        finally:
            os.close(descriptor)


def open_run(path: Path, *, finished: bool) -> RunFolder:
    """The run at a path that a person gave; ConfigError that says what is there instead."""
    folder = RunFolder(path)
    state = folder.state
    if state == "absent":
        raise ConfigError(f"There is no run folder {quote_path(path)}.{_near(path)}")
    if state in ("empty", "foreign"):
        raise ConfigError(f"{quote_path(path)} is no run folder: it has no config.toml.")
    if finished and state == "unfinished":
        raise ConfigError(
            f"The run {quote_path(path)} has not finished. Go on with: backpass resume {path}"
        )
    return folder


def new_run(name: str, output: Path | None, overwrite: bool, *, make: bool = True) -> RunFolder:
    """The folder in which a new run trains; it exists when this returns.

    Without `output` it is the next runs/<name>-<number>. With one, it is that folder, or, where a
    finished run is to be replaced, the folder beside it (see `take_place`). With `make=False` it is
    only looked whether there may be one, so that a wrong output is known before the data are read.
    """
    _check_working_folder()
    if output is None:
        return _numbered(name) if make else RunFolder(Path("runs"))
    target = output
    if output.name in ("", "..") or output.is_symlink():
        target = Path(os.path.realpath(output))
    replaces = RunFolder(target).state == "finished"
    if replaces:
        target = successor(target)
    folder = RunFolder(target)
    _check_free(folder, output, overwrite)
    if not make:
        return folder
    if folder.state == "unfinished":
        folder.remove_results()
    target.mkdir(parents=True, exist_ok=True)
    if replaces:
        (target / _REPLACES).touch()
    return folder


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigError(
            "the current folder has been deleted; go to one that exists, and start there."
        ) from error


def _check_free(folder: RunFolder, output: Path, overwrite: bool) -> None:
    """Raise ConfigError if a new run may not be written there."""
    state = folder.state
    if state == "unfinished" and not overwrite:
        raise ConfigError(
            f"{quote_path(folder.path)} holds a run that has not finished. Go on with: backpass "
            f"resume {folder.path} (or start anew with --overwrite)."
        )
    if state in ("foreign", "finished"):
        raise ConfigError(
            f"{quote_path(output)} holds files that are no run of backpass; they are left alone. "
            "Give another --output."
        )


def successor(path: Path) -> Path:
    """Where the run trains that will replace the one at `path`."""
    return path.with_name(path.name + ".new")


def take_place(folder: RunFolder) -> RunFolder:
    """Give a finished successor the name it was made for; other files of its folder come along."""
    if not (folder.path / _REPLACES).exists():
        return folder
    (folder.path / _REPLACES).unlink()
    target = folder.path.with_name(folder.path.name.removesuffix(".new"))
    if RunFolder(target).state != "finished":
        return folder
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    os.rename(target, old)
    os.rename(folder.path, target)
    RunFolder(old).remove_results()
    for entry in os.listdir(old):  # what the user put there
        if not (target / entry).exists():
            os.rename(old / entry, target / entry)
    if not os.listdir(old):
        old.rmdir()
    fsync_folder(target.parent)
    return RunFolder(target)


def _numbered(name: str) -> RunFolder:
    parent = Path("runs")
    parent.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:60] or "run"
    taken = re.compile(re.escape(stem) + r"-(\d+)(\.new)?$")
    found = [match for entry in os.listdir(parent) if (match := taken.match(entry))]
    number = max((int(match[1]) for match in found), default=0)
    while True:
        number += 1
        path = parent / f"{stem}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return RunFolder(path)


def _near(path: Path) -> str:
    """The newest runs beside a path that does not exist."""
    try:
        beside = [p for p in path.parent.iterdir() if (p / "config.toml").is_file()]
    except OSError:
        return ""
    newest = sorted(beside, key=lambda p: (p / "config.toml").stat().st_mtime)[-3:]
    return f" There is: {', '.join(map(str, newest))}." if newest else ""


def _without_nan(value: Any) -> Any:
    """The same value with null for every number that is not finite."""
    if isinstance(value, Mapping):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
