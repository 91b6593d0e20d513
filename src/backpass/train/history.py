"""History: one record for each epoch, in memory and as JSON lines. No wall-clock in it.

A record is the object of one line of history.jsonl, so what a resumed run writes can be compared
byte by byte with what an uninterrupted one writes. NaN and infinity are written as null, which
every JSON reader takes; in memory they are None too.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backpass.errors import CheckpointError
from backpass.files import atomic_write, fsync_folder
from backpass.wording import closest, meant

EpochRecord = dict[str, Any]


class History(Sequence[EpochRecord]):
    """The epochs of a trainer, across all its `fit` calls.

    `history["val_loss"]` is the list of a value over the epochs (None where an epoch lacks it),
    `history[0]` the first epoch's record, `history[-1]` the last one's.

    >>> history = History([{"epoch": 1, "train": {"loss": 0.5}, "validation": {"loss": 0.7}}])
    >>> history["val_loss"], history.best("val_loss")
    ([0.7], (1, 0.7))
    """

    def __init__(self, records: Sequence[EpochRecord] = ()) -> None:
        self.records: list[EpochRecord] = []
        self.replace(records)

    def append(self, record: EpochRecord) -> None:
        """Add an epoch; its record must not change any more."""
        self.records.append(record)
        self._hash.update(json_line(record).encode())

    def replace(self, records: Sequence[EpochRecord]) -> None:
        """Hold these epochs instead."""
        self.records = []
        self._hash = hashlib.sha256()
        for record in records:
            self.append(record)

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy, which cannot take a running hash."""
        return {"records": self.records}

    def __setstate__(self, found: dict[str, Any]) -> None:
        self.replace(found["records"])

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self.records)

    def __getitem__(self, key: Any) -> Any:
        """A record by its place, or the values of a name over the epochs.

        Raises:
            KeyError: no epoch has that name.
        """
        if not isinstance(key, str):
            return self.records[key]
        columns = [logs_of(record) for record in self.records]
        if not any(key in logs for logs in columns):
            known = self.names()
            raise KeyError(
                f"the history has no {key!r}.{meant(closest(key, known))} It has: "
                f"{', '.join(known)}"
            )
        return [logs.get(key) for logs in columns]

    def names(self) -> list[str]:
        """What `history[name]` takes, in order of appearance."""
        return list(dict.fromkeys(name for record in self.records for name in logs_of(record)))

    def best(self, name: str, mode: str = "min") -> tuple[int, float]:
        """(epoch, value) of the lowest (`mode="max"`: highest) value; the first one of equals.

        Raises:
            KeyError: no epoch has a finite value of that name.
        """
        pairs = zip(self.records, self[name], strict=True)
        values = [(r["epoch"], v) for r, v in pairs if v is not None and math.isfinite(v)]
        if not values:
            raise KeyError(f"no epoch has a finite {name!r}")
        choose = min if mode == "min" else max
        return choose(values, key=lambda pair: pair[1])

    def to_jsonl(self) -> str:
        """The text of history.jsonl."""
        return "".join(json_line(record) for record in self.records)

    def sha256(self) -> str:
        """The SHA-256 of `to_jsonl()`, in hexadecimal."""
        return self._hash.hexdigest()

    def __repr__(self) -> str:
        return f"History({len(self)} epochs: {', '.join(self.names())})"


def logs_of(record: Mapping[str, Any]) -> dict[str, float]:
    """A record's numbers by their monitor names: loss, accuracy, val_loss, gradient_norm, ..."""
    logs = dict(record.get("train") or {})
    logs.update({f"val_{name}": value for name, value in (record.get("validation") or {}).items()})
    logs.update({name: record[name] for name in ("lr", "gradient_norm") if name in record})
    return logs


def json_line(record: Mapping[str, Any]) -> str:
    """One line of history.jsonl; the same record gives the same bytes."""
    return json.dumps(record, allow_nan=False, separators=(",", ":"), ensure_ascii=False) + "\n"


def as_json_number(value: float) -> float | None:
    """The number, or None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line in a single write, and have it on the disk when this returns.

    Raises:
        OSError: the system's reason, for example a full disk; a part of a line that was written is
        taken back.
    """
    line = json_line(record).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        before = os.fstat(descriptor).st_size
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(f"{path}: the disk took only a part of a line of {len(line)} bytes")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def read_history(path: Path, length: int, sha256: str) -> History:
    """The first `length` records of a history file, checked against the hash a checkpoint holds.

    Raises:
        CheckpointError: the file is missing, has fewer lines, or other ones.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is no UTF-8 text: {error}.") from error
    lines = text.split("\n")[:-1]
    if len(lines) < length:
        raise CheckpointError(
            f"{path} has {len(lines)} epochs, but the checkpoint was written after {length}. They "
            "do not belong "
            "together: give the folder that the run wrote to, or start anew."
        )
    kept = "".join(line + "\n" for line in lines[:length])
    if hashlib.sha256(kept.encode()).hexdigest() != sha256:
        raise CheckpointError(
            f"the first {length} epochs of {path} are not those of the checkpoint: the file was "
            "changed, or is of "
            "another run. Give the folder that the run wrote to, or start anew."
        )
    return History([json.loads(line) for line in lines[:length]])


def rewrite_history(path: Path, history: History) -> None:
    """Make the file hold exactly these records: lines of epochs that a resumed run repeats are
    gone.
    """
    text = history.to_jsonl()
    if not path.exists() or path.read_bytes() != text.encode():
        atomic_write(path, text.encode())
        fsync_folder(path.parent)


__all__ = ["EpochRecord", "History", "json_line", "logs_of"]
