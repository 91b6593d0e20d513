"""A module's text cut into parts that are compiled at the same time and linked to one library.

Each part is a module of its own: some of the functions, what they need of the small internal
functions and constants (each part has its copy), and declarations of what another part defines.
Invariant: every function that the module defines for the outside is in exactly one part, and its
body is the same text as before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LINES = 1500  # of a part, at least: some 30 ms of LLVM
COPIED = 100  # lines of an internal function, up to which each part has its own
_NAME = re.compile(r"@([\w.$-]+)")


@dataclass(frozen=True, slots=True)
class _Entity:
    """A function, or a constant."""

    name: str
    text: str
    lines: int
    needs: frozenset[str]

    @property
    def copied(self) -> bool:
        """Whether each part that needs it has its own."""
        return not self.text.startswith("define ") or (
            self.text.startswith("define internal ") and self.lines <= COPIED
        )


def cut(text: str, most: int) -> list[str]:
    """The texts of at most so many parts, of about as many lines each."""
    entities, rest = _entities(text)
    units = [e for e in entities.values() if not e.copied]
    count = min(most, len(units), sum([e.lines for e in units]) // LINES)
    if count < 2:
        return [text]
    parts: list[list[_Entity]] = [[] for _ in range(count)]
    sizes = [0] * count
    for unit in sorted(units, key=lambda e: -e.lines):
        least = sizes.index(min(sizes))
        parts[least].append(unit)
        sizes[least] += unit.lines
    return [_part(own, entities, rest) for own in parts]


def _entities(text: str) -> tuple[dict[str, _Entity], list[str]]:
    """The functions and constants by their names, and all other lines."""
    found: dict[str, _Entity] = {}
    rest: list[str] = []
    body: list[str] = []

    def close() -> None:
        first, *names = _NAME.findall("\n".join(body))
        found[first] = _Entity(first, "\n".join(body), len(body), frozenset(names))
        body.clear()

    for line in text.split("\n"):
        if body or line.startswith("define "):
            body.append(line)
            if line == "}" or (len(body) == 1 and line.endswith(" }")):
                close()
        elif line.startswith("@"):
            body.append(line)
            close()
        elif line.strip():
            rest.append(line)
    return found, rest


def _part(own: Sequence[_Entity], entities: dict[str, _Entity], rest: Sequence[str]) -> str:
    """A module of some functions: they, copies of what they need, declarations of the others."""
    mine = {e.name for e in own}
    defined: dict[str, _Entity] = {}
    others: dict[str, _Entity] = {}
    pending = list(own)
    while pending:
        entity = pending.pop()
        if entity.name in defined:
            continue
        defined[entity.name] = entity
        for name in entity.needs:
            needed = entities.get(name)
            if needed is None:
                continue
            if needed.copied or name in mine:
                pending.append(needed)
            else:
                others[name] = needed
    declared = [_seen_by_all(_head(e)).replace("define", "declare", 1) for e in others.values()]
    kept = [e.text if e.copied else _seen_by_all(e.text) for e in entities.values()
            if e.name in defined]  # fmt: skip
    return "\n".join([*rest, *declared, *kept, ""])


def _head(entity: _Entity) -> str:
    """What stands before a function's body: its attribute group is the last of it."""
    return entity.text.partition(" #0")[0] + " #0"


def _seen_by_all(text: str) -> str:
    return text.replace("define internal ", "define ", 1)
