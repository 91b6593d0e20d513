"""The history as series: the values of each metric by epoch, thinned to what a screen can show.

A history has NaN where training broke, lacks validation where there was none, and may be 10,000
epochs long. Thinning keeps the lowest and the highest value of each stretch of epochs, so that no
spike is lost, and always the first, the last and the best epoch.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

#: Points that a curve keeps at most (about).
MOST_POINTS = 400


@dataclass(frozen=True, slots=True)
class Series:
    """Values by epoch of one part, `"train"` or `"validation"`.

    A value that the history lacks is NaN and not present: validation need not run every epoch.
    """

    part: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]
    present: tuple[bool, ...]

    def at(self, epoch: int | None) -> float:
        """The value of an epoch, NaN if there is none."""
        return dict(zip(self.epochs, self.values, strict=True)).get(epoch or 0, math.nan)


@dataclass(frozen=True, slots=True)
class Curve:
    """All series of one metric."""

    name: str
    series: tuple[Series, ...]


def curves_of(history: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """The curves of a history: loss first, the other metrics, gradient norm, learning rate."""
    epochs = epochs_of(history)
    found: dict[str, list[Series]] = {}
    for part in ("train", "validation"):
        tables = [_table(entry.get(part)) for entry in history]
        for name in dict.fromkeys(key for table in tables for key in table):
            found.setdefault(name, []).append(_series(part, epochs, tables, name))
    for key in ("gradient_norm", "lr"):
        if any(entry.get(key) is not None for entry in history):
            found.setdefault(key, []).append(_series("train", epochs, history, key))
    order = sorted(found, key=lambda name: name != "loss")
    return [Curve(name, tuple(found[name])) for name in order]


def epochs_of(history: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The epoch of each entry; its place in the history, from 1, where it says none."""
    return tuple(
        int(entry["epoch"]) if isinstance(entry.get("epoch"), Integral) else place
        for place, entry in enumerate(history, start=1)
    )


def as_float(value: object) -> float:
    """A number as float; NaN for None and for anything that is no number."""
    if isinstance(value, str | Real):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return math.nan
    return math.nan


def thin(values: Sequence[Sequence[float]], keep: Collection[int] = ()) -> list[int]:
    """The positions to show of curves that share an axis: all, or about MOST_POINTS of them.

    In each stretch the lowest and the highest value of each curve stay, as does a break (NaN or
    infinity); so do the first and the last position and those in `keep`.
    """
    length = len(values[0]) if values else 0
    if length <= MOST_POINTS:
        return list(range(length))
    stretches = max(1, MOST_POINTS // (2 * len(values)))
    chosen = {0, length - 1, *(k for k in keep if 0 <= k < length)}
    for stretch in range(stretches):
        places = range(stretch * length // stretches, (stretch + 1) * length // stretches)
        for curve in values:
            finite = [k for k in places if math.isfinite(curve[k])]
            if finite:
                chosen |= {min(finite, key=curve.__getitem__), max(finite, key=curve.__getitem__)}
            if len(finite) < len(places):
                chosen.add(next(k for k in places if not math.isfinite(curve[k])))
    return sorted(chosen)


def spread_evenly(length: int, most: int, keep: Collection[int] = ()) -> list[int]:
    """At most `most` positions spread evenly over 0..length-1, and those in `keep`."""
    if length <= most:
        return list(range(length))
    even = {round(k * (length - 1) / (most - 1)) for k in range(most)}
    return sorted(even | {k for k in keep if 0 <= k < length})


def notes_of(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[int]]]:
    """Each message of the history once, with the epochs that had it."""
    found: dict[str, list[int]] = {}
    for epoch, entry in zip(epochs_of(history), history, strict=True):
        for message in entry.get("messages") or ():
            found.setdefault(str(message), []).append(epoch)
    return list(found.items())


def spans(epochs: Sequence[int]) -> str:
    """Rising epochs as short text.

    >>> spans([1, 2, 3, 7])
    '1–3, 7'
    """
    runs: list[list[int]] = []
    for epoch in epochs:
        if runs and epoch == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], epoch]
        else:
            runs.append([epoch])
    shown = ["–".join(map(str, run)) for run in runs[:8]]
    return ", ".join(shown) + (", …" if len(runs) > 8 else "")


def _series(
    part: str, epochs: tuple[int, ...], tables: Sequence[Mapping[str, Any]], name: str
) -> Series:
    values = tuple(as_float(table.get(name)) for table in tables)
    return Series(part, epochs, values, tuple(name in table for table in tables))


def _table(part: object) -> Mapping[str, Any]:
    return part if isinstance(part, Mapping) else {}
