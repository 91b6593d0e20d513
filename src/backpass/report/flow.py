"""Gradient flow as a picture: one row for each parameter, one column for each epoch.

The colour is log10 of the gradient norm. What has no place on that scale has a mark of its own:
a norm of 0 (no gradient), NaN or infinity (broken). A dot marks cells where at least half of the
units are dead; a norm below 1e-7 is called vanishing. Long histories are gathered into at most
100 columns (the mean of log10, the largest share of dead units), deep models into 48 rows.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backpass.report.element import Element, tag
from backpass.report.history import as_float, epochs_of, spread_evenly
from backpass.report.marks import box, dot, label, picture
from backpass.report.scales import integer_ticks, number, power_of_ten

#: A gradient norm below this is marked as vanishing.
VANISHING = 1e-7
_DEAD_SHARE = 0.5
_STEPS = 12
_MOST_COLUMNS, _MOST_ROWS = 100, 48
_WIDTH, _LEFT, _TOP, _ROW = 1040, 170, 8, 20


@dataclass(frozen=True, slots=True)
class Cell:
    """One parameter in one stretch of epochs."""

    norm: float
    dead_share: float
    broken: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """Cells by parameter and stretch of epochs; a stretch is its first and last epoch."""

    parameters: tuple[str, ...]
    stretches: tuple[tuple[int, int], ...]
    cells: Mapping[tuple[int, int], Cell]
    last: Mapping[str, Mapping[str, Any]]


def flow_of(history: Sequence[Mapping[str, Any]]) -> Flow | None:
    """The gradient flow of a history; None where it holds none."""
    by_epoch = [
        {str(row.get("parameter")): row for row in entry.get("gradient_flow") or ()}
        for entry in history
    ]
    parameters = tuple(dict.fromkeys(name for rows in by_epoch for name in rows))
    if not parameters:
        return None
    epochs, count = epochs_of(history), min(len(by_epoch), _MOST_COLUMNS)
    bounds = [k * len(by_epoch) // count for k in range(count + 1)]
    cells = {}
    for column, (start, stop) in enumerate(itertools.pairwise(bounds)):
        for row, name in enumerate(parameters):
            entries = [rows[name] for rows in by_epoch[start:stop] if name in rows]
            if entries:
                cells[row, column] = _cell_of(entries)
    stretches = tuple((epochs[a], epochs[b - 1]) for a, b in itertools.pairwise(bounds))
    last = {name: rows[name] for rows in by_epoch for name in rows}
    return Flow(parameters, stretches, cells, last)


def flow_figure(flow: Flow) -> Element:
    """The heat map with its legend, and the last epoch as a table."""
    rows = spread_evenly(len(flow.parameters), _MOST_ROWS)
    cut = len(rows) < len(flow.parameters)
    hint = f"{len(rows)} of {len(flow.parameters):,} parameters, evenly spread." if cut else None
    norms = [cell.norm for cell in flow.cells.values() if cell.norm > 0]
    low, high = _decades(norms)
    return tag(
        "figure",
        tag("figcaption", tag("span", "Gradient norm by parameter and epoch", class_="name")),
        tag("div", _heat_map(flow, rows, low, high), class_="scroll"),
        _legend(low, high),
        tag("p", hint, class_="hint") if hint else None,
        _last_epoch(flow),
        class_="card wide",
    )


def _cell_of(entries: Sequence[Mapping[str, Any]]) -> Cell:
    norms = [as_float(entry.get("gradient_norm")) for entry in entries]
    logs = [math.log10(norm) for norm in norms if math.isfinite(norm) and norm > 0]
    dead = [as_float(entry.get("dead_share")) for entry in entries]
    known = [share for share in dead if math.isfinite(share)]
    broken = any(not math.isfinite(norm) for norm in norms)
    return Cell(10 ** (sum(logs) / len(logs)) if logs else 0.0, max(known, default=0.0), broken)


def _decades(norms: Sequence[float]) -> tuple[int, int]:
    if not norms:
        return -1, 0
    low, high = math.floor(math.log10(min(norms))), math.ceil(math.log10(max(norms)))
    return low, max(high, low + 1)


def _heat_map(flow: Flow, rows: Sequence[int], low: int, high: int) -> Element:
    columns = len(flow.stretches)
    width = min(36.0, (_WIDTH - _LEFT - 10) / columns)
    marks = []
    for place, row in enumerate(rows):
        y = _TOP + place * _ROW
        marks.append(label(_LEFT - 8, y + 13.5, flow.parameters[row], anchor="end", most=24))
        for column in range(columns):
            cell = flow.cells.get((row, column))
            if cell is not None:
                said = _said(flow.parameters[row], flow.stretches[column], cell)
                at = (_LEFT + column * width, float(y))
                marks += _cell_marks(cell, at, width, low, high, said)
    base = _TOP + len(rows) * _ROW
    firsts = [stretch[0] for stretch in flow.stretches]
    for tick in integer_ticks(firsts[0], flow.stretches[-1][1], max(2, int(columns * width / 90))):
        column = max(k for k, first in enumerate(firsts) if first <= tick)
        marks.append(label(_LEFT + (column + 0.5) * width, base + 15, f"{tick:,}"))
    marks.append(label(_LEFT + columns * width / 2, base + 30, "epoch", class_="axis-name"))
    faint = sum(cell.norm < VANISHING for cell in flow.cells.values())
    broken = sum(cell.broken for cell in flow.cells.values())
    said = (
        f"{len(flow.parameters)} parameters over {columns} columns of epochs; {faint} cells "
        f"without gradient or vanishing, {broken} broken."
    )
    size = (float(_WIDTH), float(base + 36))
    return picture("flow", "Gradient norm by parameter and epoch", said, size, marks, class_="flow")


def _said(parameter: str, stretch: tuple[int, int], cell: Cell) -> str:
    when = (
        f"epoch {stretch[0]}" if stretch[0] == stretch[1] else f"epochs {stretch[0]}–{stretch[1]}"
    )
    norm = "NaN or infinite" if cell.broken else number(cell.norm)
    dead = f", {cell.dead_share:.0%} dead units" if cell.dead_share > 0 else ""
    return f"{parameter}, {when}: gradient norm {norm}{dead}"


def _cell_marks(
    cell: Cell, at: tuple[float, float], width: float, low: int, high: int, said: str
) -> list[Element]:
    gap = 1.0 if width > 4 else 0.0
    middle = (at[0] + (width - gap) / 2, at[1] + (_ROW - 1) / 2)
    marks = [box(*at, width - gap, _ROW - 1, _class_of(cell, low, high), tag("title", said))]
    if cell.broken and width >= 7:
        marks.append(label(middle[0], middle[1] + 4, "×", class_="on-broken"))
    elif 0 < cell.norm < VANISHING:
        marks.append(box(at[0] + 0.75, at[1] + 0.75, width - gap - 1.5, _ROW - 2.5, "vanishing"))
    if cell.dead_share >= _DEAD_SHARE and not cell.broken:
        marks.append(dot(*middle, min(3.2, width / 2.5), "dead"))
    return marks


def _class_of(cell: Cell, low: int, high: int) -> str:
    if cell.broken:
        return "broken-cell"
    if cell.norm == 0:
        return "no-gradient"
    share = (math.log10(cell.norm) - low) / (high - low)
    return f"r{min(max(int(share * _STEPS), 0), _STEPS - 1)}"


def _legend(low: int, high: int) -> Element:
    """The colour ramp with its decades, and what the marks mean."""
    cells = [box(k * 16 + 6, 2, 16, 12, f"r{k}") for k in range(_STEPS)]
    span, stride = 16.0 * _STEPS, max(1, math.ceil((high - low) / 5))
    ticks = [
        label(6 + span * (k - low) / (high - low), 27, power_of_ten(k))
        for k in range(low, high + 1, stride)
    ]
    ramp = picture(
        "flow-legend",
        "Colours of the gradient norm",
        f"From {power_of_ten(low)} (first colour) to {power_of_ten(high)} (last colour).",
        (span + 22, 32),
        cells,
        ticks,
        class_="ramp",
    )
    samples = [
        ("vanishing", f"vanishing, below {power_of_ten(-7)}"),
        ("no-gradient", "no gradient (0)"),
        ("broken-cell", "NaN or infinite"),
        ("dead", "half of the units dead"),
    ]
    keys = [
        tag("li", tag("span", class_=f"swatch block {class_}"), tag("span", text))
        for class_, text in samples
    ]
    return tag("div", ramp, tag("ul", keys, class_="legend inline"), class_="flow-legend")


def _last_epoch(flow: Flow) -> Element:
    heads = ("Parameter", "Gradient norm", "Update / weight", "Dead units")
    rows = []
    for name, entry in flow.last.items():
        dead = entry.get("dead_share")
        cells = (
            number(as_float(entry.get("gradient_norm"))),
            number(as_float(entry.get("update_ratio"))),
            "—" if dead is None else f"{as_float(dead):.1%}",
        )
        row = [tag("td", cell, class_="n") for cell in cells]
        rows.append(tag("tr", tag("th", tag("bdi", name), scope="row"), row))
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in heads]))
    table = tag("div", tag("table", head, tag("tbody", rows)), class_="scroll")
    return tag("details", tag("summary", "Last epoch as a table"), table)
