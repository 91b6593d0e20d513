"""A sentence that names settings, with each of them as data: whoever says it words them.

`Sentence` is a str, in the words of a Python call. Its parts remain, so that the command line says
the same in flags:

>>> said = Sentence("Mend the data, or ", Change("missing", "drop"), Clause(", or ", Change("cap")))
>>> said
"Mend the data, or set missing='drop', or set cap"
>>> said.worded(lambda s: f"add --{s.name} {s.value}" if s.name == "missing" else None)
'Mend the data, or add --missing drop'
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backpass.wording import quote, quote_list, quote_path

Word = Callable[["Setting"], "str | None"]
OPEN = ...  # the value is for the reader to find


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting, or another name of a call, and the value that would mend what is wrong.

    `missing='drop'`; a tuple is what should be among the values of a setting that has several.
    """

    name: str
    value: object = OPEN


@dataclass(frozen=True, slots=True)
class Change(Setting):
    """The same with its verb: `set missing='drop'`."""


class Clause:
    """A part that is left out by a speaker who has none of its settings."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Part) -> None:
        self.parts = parts


class Sentence(str):
    """The text of an error or a note, with its settings as data."""

    __slots__ = ("parts",)
    parts: tuple[Part, ...]

    def __new__(cls, *parts: Part) -> Sentence:
        made = super().__new__(cls, _joined(parts, in_python))
        made.parts = parts
        return made

    def __getnewargs__(self) -> tuple[Part, ...]:
        return self.parts

    def worded(self, word: Word) -> str:
        """The sentence with each setting as `word` says it.

        Where that gives None, a Clause is left out and any other setting is said in Python's words.
        """
        return _joined(self.parts, word)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings that it names, in order."""
        return tuple(_settings(self.parts))


Part = str | Setting | Clause  # a Sentence among them too: it is a str


def sentence_of(error: BaseException) -> str:
    """What an error says: a Sentence where it names settings."""
    said = error.args[0] if len(error.args) == 1 else None
    return said if isinstance(said, Sentence) else str(error)


def in_python(setting: Setting) -> str:
    """A setting as an argument of a call."""
    name, value = setting.name, setting.value
    asked = isinstance(setting, Change)
    if isinstance(value, tuple):
        return f"add {quote_list(value)} to {name}" if asked else f"{name}=[{quote_list(value)}]"
    match value:
        case str():
            shown = quote(value)
        case Path():
            shown = quote_path(value)
        case _:
            shown = str(value)
    given = name if value is OPEN else f"{name}={shown}"
    return f"set {given}" if asked else given


def _joined(parts: Sequence[Part], word: Word) -> str:
    return "".join([_said(part, word) for part in parts])


def _said(part: Part, word: Word) -> str:
    if isinstance(part, Setting):
        return word(part) or in_python(part)
    if isinstance(part, Sentence):
        return part.worded(word)
    if isinstance(part, Clause):
        known = [word(setting) is not None for setting in _settings(part.parts)]
        return _joined(part.parts, word) if any(known) or not known else ""
    return part


def _settings(parts: Sequence[Part]) -> Iterator[Setting]:
    for part in parts:
        if isinstance(part, Setting):
            yield part
        elif isinstance(part, (Clause, Sentence)):
            yield from _settings(part.parts)
