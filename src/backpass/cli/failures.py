"""How a command ends: one clear sentence on stderr, and an exit status.

    0    done
    1    the run or a file failed: a checkpoint, a full disk, not enough memory, our own bug
    2    what was asked cannot be done: a flag, a setting, the data
    130  Ctrl-C; what was done so far is saved

A traceback is shown with --debug or BACKPASS_DEBUG only.
"""

import shlex
import sys
import traceback
from collections.abc import Callable

from backpass import config
from backpass.cli.flags import flag, metavar
from backpass.cli.settings import settings
from backpass.cli.terminal import plain
from backpass.errors import BackpassError, ConfigError, DataError, MetricError
from backpass.sentence import OPEN, Change, Sentence, Setting, sentence_of
from backpass.wording import LONGEST_QUOTE, quote

_ASKED_WRONGLY = (ConfigError, DataError, MetricError)


def in_flags(said: str, trained: bool = False) -> str:
    """What a room below says, with its settings as flags of the command line.

    `trained`: for a command that uses a run, where such a flag belongs to `backpass train`.
    """
    if not isinstance(said, Sentence):
        return said
    return said.worded(lambda setting: _in_flags(setting, "train with" if trained else "add"))


def _in_flags(setting: Setting, verb: str) -> str | None:
    """`add --missing drop`; None where the command line has no such flag."""
    known = settings().get(setting.name)
    if known is None or known.hidden:
        return None
    name, asked = flag(setting.name), isinstance(setting, Change)
    if setting.value is OPEN:
        words = f"{name} {metavar(known)}" if asked else name
    else:
        values = setting.value if isinstance(setting.value, tuple) else (setting.value,)
        words = " ".join([f"{name} {_in_a_shell(value)}" for value in values])
    return f"{verb} {words}" if asked else words


def _in_a_shell(value: object) -> str:
    """As typed in a shell; a mark such as `,` in quotes, so that it is seen for what it is."""
    text = str(value)
    plain_word = text.isprintable() and len(text) <= LONGEST_QUOTE and text[-1:].isalnum()
    return shlex.quote(text) if plain_word else quote(text)


def status_of(command: Callable[[], None], *, debug: bool, trained: bool = False) -> int:
    """Run a command; say what went wrong, if anything did, and give the exit status."""
    try:
        command()
    except KeyboardInterrupt as interrupt:
        _say((str(interrupt) or "interrupted") + _way_to_go_on(interrupt), debug)
        return 130
    except BackpassError as error:
        _say(in_flags(sentence_of(error), trained), debug)
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
