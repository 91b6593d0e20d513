"""Entries into stages: which of them run for every point of a row, which once a row, and when.

Level 2t + 1 is the looping stage t, level 2t + 2 the stage without loops after it, level 0 the one
before the first. A value that does not depend on an inner axis has an even level, all others an odd
one; a reduction is ready one level after what it folds. An element value that a later stage needs
is computed there again if that is cheap, read back if it was stored, else kept in scratch.
"""

from __future__ import annotations

from collections.abc import Sequence

from backpass.codegen.lower.elements import Entry, Named, Spot
from backpass.codegen.lower.index import Form, row_major
from backpass.codegen.lower.stored import COSTS

AGAIN = 8  # operations of an element value that a later stage does again


def used(form: Form) -> frozenset[int]:
    """The variables that a form depends on."""
    return frozenset([i for i, c in enumerate(form.coefs) if c])


class Stages:
    """The stages of a kernel.

    Args:
        entries: in topological order.
        extents: of the loop axes.
        inner: how many of the last axes are inner.
    """

    def __init__(self, entries: Sequence[Entry], extents: Sequence[int], inner: int) -> None:
        self.entries = _live(entries)
        self.extents = extents
        self.first_inner = len(extents) - inner
        self.levels: list[int] = []
        self._looped = self._dependent()
        for number in range(len(self.entries)):
            self.levels.append(self._level(number))
        self._copies: dict[tuple[int, int], int] = {}
        self._stores = {e.args[0]: e.param for e in self.entries if e.code == "store" and e.args}
        self._bridge()

    def stages(self) -> list[tuple[bool, list[int]]]:
        """For each stage that has work: whether it loops, and its entries, stores last."""
        found: list[tuple[bool, list[int]]] = []
        by_level: dict[int, list[int]] = {}
        for number in self._in_order():
            by_level.setdefault(self._runs_at(number), []).append(number)
        for level in sorted(by_level):
            numbers = by_level[level]
            work = [n for n in numbers if self.entries[n].code != "store"]
            stores = [n for n in numbers if self.entries[n].code == "store"]
            found.append((level % 2 == 1, work + stores))
        return found

    # -- levels

    def _dependent(self) -> list[bool]:
        """Whether each entry depends on an inner axis."""
        found: list[bool] = []
        for e in self.entries:
            own = e.form is not None and any([v >= self.first_inner for v in used(e.form)])
            own |= e.code == "scan"  # of a number, too
            found.append(e.code != "reduce" and (own or any([found[a] for a in e.args])))
        return found

    def _level(self, number: int) -> int:
        e = self.entries[number]
        least = max([self.levels[a] for a in e.args], default=0)
        if e.code == "reduce":
            return least + 1 if least % 2 else least + 2
        if self._looped[number]:
            return least if least % 2 else least + 1
        return least

    def _runs_at(self, number: int) -> int:
        level = self.levels[number]
        return level - 1 if self.entries[number].code == "reduce" else level

    # -- values across stages

    def _bridge(self) -> None:
        """Give every reader its operands in its own stage."""
        for number in range(len(self.entries)):
            e, level = self.entries[number], self._runs_at(number)
            args = tuple([self._at(a, level) for a in e.args])
            self.entries[number] = e.reading(args)
        self._drop_unused()

    def _at(self, number: int, level: int) -> int:
        own = self.levels[number]
        if own % 2 == 0 or own >= level:
            return number
        key = (number, level)
        if key not in self._copies:
            self._copies[key] = self._copied(number, level)
        return self._copies[key]

    def _copied(self, number: int, level: int) -> int:
        e = self.entries[number]
        if self._cheap(number):
            args = tuple([self._at(a, level) for a in e.args])
            return self._append(e.reading(args), level)
        spot = self._stores.get(number)
        if spot is None:
            spot = Spot(Named("scratch", number), self._scratch_form())
            self._append(Entry("store", (number,), e.dtype, spot), self.levels[number])
            self._stores[number] = spot
        return self._append(Entry("load", (), e.dtype, spot), level)

    def _cheap(self, number: int) -> bool:
        ops, pending = 0, [number]
        while pending:
            current = pending.pop()
            if self.levels[current] % 2 == 0:
                continue
            e = self.entries[current]
            if e.code not in COSTS and e.code not in ("load", "const", "index"):
                return False
            ops += COSTS.get(e.code, 1)
            pending.extend(e.args)
            if ops > AGAIN:
                return False
        return True

    def _scratch_form(self) -> Form:
        inner = row_major(self.extents[self.first_inner :])
        return Form(0, (*[0] * self.first_inner, *inner))

    def _append(self, e: Entry, level: int) -> int:
        self.entries.append(e)
        self.levels.append(level)
        self._looped.append(True)
        return len(self.entries) - 1

    # -- order

    def _drop_unused(self) -> None:
        self._needed = [False] * len(self.entries)
        for number in reversed(self._in_order(everything=True)):
            e = self.entries[number]
            if e.code == "store" or self._needed[number]:
                self._needed[number] = True
                for a in e.args:
                    self._needed[a] = True

    def _in_order(self, everything: bool = False) -> list[int]:
        """Entries after what they read: copies were appended late."""
        order: list[int] = []
        done = [False] * len(self.entries)
        for first in range(len(self.entries)):
            pending = [first]
            while pending:
                n = pending[-1]
                missing = [a for a in self.entries[n].args if not done[a]]
                if missing and not done[n]:
                    pending.extend(missing)
                    continue
                pending.pop()
                if not done[n]:
                    done[n] = True
                    if everything or self._needed[n]:
                        order.append(n)
        return order


def _live(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that a store needs, renumbered."""
    needed = [e.code == "store" for e in entries]
    for number in range(len(entries) - 1, -1, -1):
        if needed[number]:
            for a in entries[number].args:
                needed[a] = True
    place: dict[int, int] = {}
    kept: list[Entry] = []
    for number, e in enumerate(entries):
        if needed[number]:
            place[number] = len(kept)
            kept.append(e.reading(tuple([place[a] for a in e.args])))
    return kept
