"""How names and values that come from data appear in a sentence, and how optional packages load.

A column name or a cell may be a megabyte long, hold control characters, or be misspelt. Every
message about data quotes through here, so that none of that reaches a terminal as it is. Sentences
that name a setting are in `sentence`.
"""

import difflib
import importlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from backpass.errors import MissingDependencyError

LONGEST_QUOTE = 60
LONGEST_PATH = 4096
_MOST_NAMES_COMPARED = 5_000


def quote(text: object, most: int = LONGEST_QUOTE) -> str:
    """`text` as Python writes it, control characters escaped, cut at `most` characters."""
    written = str(text)
    return repr(written) if len(written) <= most else f"{written[:most]!r}..."


def quote_path(path: object) -> str:
    """A path, quoted; cut only where no file system would take it."""
    return quote(path, LONGEST_PATH)


def quote_list(items: Iterable[object], most: int = 10) -> str:
    """The first `most` of `items`, quoted, and how many more there are."""
    every = list(items)
    shown = ", ".join(quote(item) for item in every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most:,} more"


def closest(name: str, names: Iterable[str]) -> str | None:
    """The entry of `names` that is most like `name` (case does not count), or None."""
    lower: dict[str, str] = {}
    for known in itertools.islice(names, _MOST_NAMES_COMPARED):
        lower.setdefault(known[:LONGEST_QUOTE].casefold(), known)
    found = difflib.get_close_matches(name[:LONGEST_QUOTE].casefold(), list(lower), n=1, cutoff=0.5)
    return lower[found[0]] if found else None


def meant(near: str | None) -> str:
    """` Did you mean 'val_loss'?`, or nothing where there is no closest name."""
    return "" if near is None else f" Did you mean {quote(near)}?"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """The end of an error about an unknown name: the closest one, and the list of all."""
    return f"{meant(closest(name, names))} There are: {quote_list(names)}."


def count(number: int, singular: str, plural: str | None = None) -> str:
    """`number` with its noun: `1 row`, `1,000 rows`."""
    return f"{number:,} {singular if number == 1 else (plural or singular + 's')}"


def size(n_bytes: int) -> str:
    """A number of bytes for people: `3.7 TiB`, `12 KiB`."""
    amount = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TiB"


def optional_package(module: str, package: str, purpose: str) -> Any:
    """Import `module` of an optional package, or say what needs it and what installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(package, purpose, extra="train") from error
