"""How a command ends: one clear sentence on stderr, and an exit status.

    0    done
    1    the run or a file failed: a checkpoint, a full disk, not enough memory, our own bug
    2    what was asked cannot be done: a flag, a setting, the data
    130  Ctrl-C; what was done so far is saved

A traceback is shown with --debug or BACKPASS_DEBUG only.
"""

import re
import sys
import traceback
from collections.abc import Callable

from backpass import config
from backpass.cli.terminal import plain
from backpass.errors import BackpassError, ConfigError, DataError, MetricError

_ASKED_WRONGLY = (ConfigError, DataError, MetricError)
_FLAGS_FOR_SETTINGS = (
    (re.compile(r"ignore=\[(.*?)\]"), r"--ignore \1"),
    (
        re.compile(r'Mend the data, or set missing to "impute" \(fill in\) or "drop" \(leave such'),
        "Mend the data, or add --missing impute (fill in) or --missing drop (leave such",
    ),
    (
        re.compile(r'Leave such columns out with ignore, or set missing to "impute"'),
        "Leave such columns out with --ignore, or add --missing impute",
    ),
    (re.compile(r'set dtype to "float64"'), "add --dtype float64"),
    (re.compile(r"Set the task to (\w+)"), r"Set --task \1"),
    (
        re.compile(r'Set decimal to "," if (.*?), or to "\." if (.*?);'),
        r"Add --decimal , if \1, or --decimal . if \2;",
    ),
    (re.compile(r"add the column to categories"), "add --categories COLUMN"),
    (re.compile(r"add it to missing_values"), "add --missing-values TEXT"),
    (re.compile(r", or raise max_bytes"), ""),
    (re.compile(r"[;:,]? ?go on with fit\(\.\.\., resume='.*?'\)\."), ""),
    (re.compile(r'\bencoding="([\w-]+)"'), r"--encoding \1"),
    (re.compile(r"name the encoding\."), "add --encoding NAME."),
    (
        re.compile(r"Are these classes, and .*? of each; stratify=None divides them as they come"),
        "Is this the right --target? For quantities, add --task regression; for classes, give more "
        "rows of each",
    ),
    (re.compile(r"set validation or test to 0"), "set --validation or --test to 0"),
)


def in_flags(sentence: str, trained: bool = False) -> str:
    """A sentence of a room below, with its ways out as flags of the command line.

    `trained`: for a command that uses a run, where such a flag belongs to `backpass train`.
    """
    for pattern, replacement in _FLAGS_FOR_SETTINGS:
        sentence = pattern.sub(replacement, sentence)
    return re.sub(r"\badd --", "train with --", sentence) if trained else sentence


def status_of(command: Callable[[], None], *, debug: bool, trained: bool = False) -> int:
    """Run a command; say what went wrong, if anything did, and give the exit status."""
    try:
        command()
    except KeyboardInterrupt as interrupt:
        _say((str(interrupt) or "interrupted") + _way_to_go_on(interrupt), debug)
        return 130
    except BackpassError as error:
        _say(in_flags(str(error), trained), debug)
        return 2 if isinstance(error, _ASKED_WRONGLY) else 1
    except MemoryError as error:
        said = str(error) or "there is not enough memory"
        way_out = "Use fewer rows, a smaller --hidden or a smaller --batch-size."
        _say(f"{said}. {way_out}{_way_to_go_on(error)}", debug)
        return 1
    except OSError as error:
        _say(_system_sentence(error) + _way_to_go_on(error), debug)
        return 1
    except Exception as error:
        _say(
            f"{type(error).__name__}: {error}. This is a fault of backpass; --debug shows where it "
            "is. Please report it.",
            debug,
        )
        return 1
    return 0


def _system_sentence(error: OSError) -> str:
    reason = error.strerror or str(error)
    names = [str(name) for name in (error.filename, error.filename2) if name]
    return f"{', '.join(names)}: {reason}." if names else f"{reason}."


def _way_to_go_on(error: BaseException) -> str:
    """The note of a run that can be resumed; other notes are for those who debug."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("Go on with: ")]
    return f"\n{notes[-1]}" if notes else ""


def _say(sentence: str, debug: bool) -> None:
    if debug or config.debug():
        traceback.print_exc()
    print(f"backpass: {plain_lines(sentence)}", file=sys.stderr)  # noqa: T201 - the way out


def plain_lines(sentence: str) -> str:
    """The sentence, its line breaks kept, with all other control characters visible."""
    return "\n".join(plain(line) for line in sentence.split("\n"))
