"""What the command line writes, so that nothing that comes from data can act on a terminal.

Texts are never read as markup; control characters are shown as escapes. A reader that has gone
away (`| head -1`), a terminal that lacks a character, or no terminal at all loses the output and
nothing else: the run goes on.
"""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backpass import config

_READER_GONE = (errno.EPIPE, errno.EIO)


class PatientStream:
    """A text stream that drops what its reader does not take any more.

    None (a closed descriptor) is a stream without reader.

    Attributes:
        failure: why output was lost, if not because its reader went away (a full disk).
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Wrap a stream; its characters that it cannot encode become question marks."""
        self._stream = stream
        self.failure: OSError | None = None
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.errors = "replace"

    def write(self, text: str) -> int:
        """Write, or drop where nobody reads."""
        if self._stream is not None:
            try:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError) as error:
                self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop where nobody reads."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._drop(error)

    def isatty(self) -> bool:
        """Whether a terminal is at the other end."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream."""
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    def _drop(self, error: Exception) -> None:
        """Never write again; the interpreter's own flush at exit goes nowhere."""
        if isinstance(error, OSError) and error.errno not in _READER_GONE:
            self.failure = error
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def patient_streams() -> None:
    """Make sys.stdout and sys.stderr patient, for this process and all that prints in it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, PatientStream):
            setattr(sys, name, PatientStream(stream))


def console(quiet: bool = False) -> Console:
    """A console on what sys.stdout is now: colours on a terminal only, and not with NO_COLOR."""
    return Console(
        markup=False,
        highlight=False,
        emoji=False,
        quiet=quiet,
        no_color=not config.use_color() or None,
        soft_wrap=True,
    )


def plain(text: object) -> str:
    """A text whose control characters (escapes, new lines, reversed writing) are visible."""
    written = str(text)
    if written.isprintable():
        return written
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in written)


def number(value: Any) -> str:
    """A metric: four decimals for what is near 1, four digits for the rest, a dash for none."""
    if value is None or value != value:
        return "-"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 100 or value == 0 else f"{value:.4g}"


def facts(to: Console, rows: Sequence[tuple[str, object]]) -> None:
    """Lines of a name and what is to be said of it."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        to.print(Text.assemble((f"{name:<{width}}  ", "bold"), plain(value)))


def metrics_table(to: Console, parts: dict[str, dict[str, Any]], titles: dict[str, str]) -> None:
    """One row for each part of the data, one column for each metric."""
    table = Table(box=box.SIMPLE_HEAD if to.is_terminal else None, pad_edge=False)
    table.add_column("")
    names = list(dict.fromkeys(name for values in parts.values() for name in values))
    for name in names:
        table.add_column(Text(titles.get(name, name)), justify="right")
    for part, values in parts.items():
        cells = [Text(number(values.get(name))) for name in names]
        table.add_row(Text(part, style="bold"), *cells)
    to.print(table)


def note(sentence: str, label: str = "note: ") -> None:
    """One line on stderr, beside what a command gives on stdout."""
    sys.stderr.write(f"{label}{plain(sentence)}\n")


def without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """The same numbers with None for NaN, as JSON needs it."""
    return {name: value if value == value else None for name, value in values.items()}
