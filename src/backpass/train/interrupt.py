"""Ctrl-C: the first one finishes the step and saves a checkpoint, the second one ends at once.

Signal handlers belong to the process and can be set in its main thread only, so elsewhere nothing
is touched; in the main thread the old handler is put back when training ends, however it ends.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


class TrainingInterrupted(KeyboardInterrupt):
    """Training was ended by Ctrl-C. A subclass of KeyboardInterrupt, so `except Exception` lets it
    pass.

    Attributes:
        checkpoint: where the run was saved; None if it was not.
        exit_code: what a program should exit with, 130.
    """

    exit_code = 130

    def __init__(self, message: str, checkpoint: Path | None = None) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint


class Interruption:
    """Whether Ctrl-C was pressed. `requested` is read between steps."""

    __slots__ = ("requested",)

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.requested:
            raise TrainingInterrupted("interrupted twice: stopped at once, without a checkpoint")
        self.requested = True


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Note the first SIGINT in `requested` for the extent of a run."""
    found = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before: Any = signal.getsignal(signal.SIGINT)
    if before is None:  # set by code that is not Python: it could not be put back
        yield found
        return
    signal.signal(signal.SIGINT, found)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)


__all__ = ["Interruption", "TrainingInterrupted", "interruptible"]
