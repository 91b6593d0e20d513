"""ProgressBar: loss, metrics, gradient norm and time left, as a bar on a terminal and as plain
lines elsewhere.

What cannot be shown must not end a run: without `rich`, without a terminal or with a closed pipe it
shows less, down to nothing. It keeps no state and changes nothing.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, TextIO

from backpass.config import use_color
from backpass.train.callback import NEVER, Callback, TrainerView
from backpass.train.history import EpochRecord, logs_of
from backpass.train.step_result import StepResult

_SECONDS_BETWEEN = 0.1


class ProgressBar(Callback):
    """Shows how training goes.

    Args:
        style: `"bar"`, `"lines"`, or `"auto"`: a bar if the stream is a terminal and rich is
            installed.
        stream: where to; default standard error, as it is when `fit` starts.
    """

    order: ClassVar[int] = 100

    def __init__(self, style: str = "auto", stream: TextIO | None = None) -> None:
        self.style, self._given = style, stream
        self._stream: TextIO | None = None
        self._bar: Any = None
        self._task: Any = None
        self._begun = self._shown = 0.0
        self._steps_before = 0

    def on_fit_start(self, trainer: TrainerView) -> None:
        """Find out what the stream can show."""
        self._stream = self._given if self._given is not None else sys.stderr
        self._bar = None
        self._begun = time.monotonic()
        self._steps_before = trainer.step

    def on_epoch_start(self, trainer: TrainerView) -> None:
        """Start the bar of the epoch."""
        if self._bar is None and self._wants_bar():
            self._bar = _rich_bar(self._stream)
            if self._bar is not None:
                self._safely(self._bar.start)
        if self._bar is not None:
            name = f"epoch {trainer.epoch}/{trainer.loop.last_epoch}"
            if self._task is not None:
                self._safely(self._bar.remove_task, self._task)
            self._task = self._bar.add_task(name, total=trainer.loop.train.count, said="")

    def steps_until_needed(self, trainer: TrainerView) -> int:
        """It looks at the results alone."""
        return NEVER

    def on_batch_end(self, trainer: TrainerView, result: StepResult) -> None:
        """Move the bar, at most ten times a second."""
        if self._bar is None or self._task is None:
            return
        now = time.monotonic()
        if now - self._shown < _SECONDS_BETWEEN:
            return
        self._shown = now
        said = f"loss {result.loss:.4g}  grad {result.gradient_norm:.3g}  {self._left(trainer)}"
        self._safely(
            self._bar.update,
            self._task,
            completed=trainer.state.batches_done,
            said=said,
            refresh=True,
        )

    def on_epoch_recorded(self, trainer: TrainerView, record: EpochRecord) -> None:
        """One line for the epoch."""
        line = epoch_line(record, trainer.loop.last_epoch)
        messages = [f"  {message}" for message in record["messages"]]
        for text in (line, *messages):
            if self._bar is not None:
                self._safely(self._bar.console.print, text, markup=False, highlight=False)
            else:
                self._safely(self._print, text)

    def on_close(self, trainer: TrainerView) -> None:
        """Give the terminal back."""
        bar, self._bar, self._task = self._bar, None, None
        if bar is not None:
            with suppress(OSError, ValueError):  # also a bar whose stream is gone
                bar.stop()

    def _wants_bar(self) -> bool:
        if self.style == "lines" or self._stream is None:
            return False
        return self.style == "bar" or _is_terminal(self._stream)

    def _left(self, trainer: TrainerView) -> str:
        """The time left of the whole fit, if it can be known."""
        count = trainer.loop.train.count
        done = trainer.step - self._steps_before
        if not count or not done:
            return ""
        steps = -(-count // trainer.accumulate)
        ahead = steps * (trainer.loop.last_epoch - trainer.state.first_epoch)
        ahead -= trainer.step - self._steps_before
        return f"{_duration((time.monotonic() - self._begun) / done * max(ahead, 0))} left"

    def _print(self, text: str) -> None:
        if self._stream is not None:
            print(text, file=self._stream, flush=True)

    def _safely(self, show: Any, *args: Any, **options: Any) -> None:
        """Show something; a stream that is gone is not written to again."""
        if self._stream is None:
            return
        try:
            show(*args, **options)
        except (OSError, ValueError):  # a closed pipe, a closed file
            self._stream = None


def epoch_line(record: Mapping[str, Any], last_epoch: int) -> str:
    """An epoch's record as one line for people.

    >>> epoch_line({"epoch": 2, "train": {"loss": 0.5}, "lr": 0.001}, 9)
    'epoch 2/9  loss 0.5  lr 0.001'
    """
    shown = [f"epoch {record['epoch']}/{last_epoch}"]
    for name, value in logs_of(record).items():
        shown.append(f"{name} {'undefined' if value is None else format(value, '.4g')}")
    return "  ".join(shown)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (ValueError, io.UnsupportedOperation):
        return False


def _rich_bar(stream: Any) -> Any:
    """A rich progress display on a stream; None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ImportError:
        return None

    class QuietConsole(Console):
        def on_broken_pipe(self) -> None:
            """Let the error through, where rich would end the whole program."""
            raise BrokenPipeError

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        console=QuietConsole(file=stream, no_color=not use_color()),
        transient=True,
        auto_refresh=False,  # no second thread that would meet a closed pipe
    )


def _duration(seconds: float) -> str:
    """Seconds for people: `0:07`, `1:02:30`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    tail = f"{whole % 60:02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


__all__ = ["ProgressBar", "epoch_line"]
