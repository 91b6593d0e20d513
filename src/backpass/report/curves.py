"""Learning curves: one small chart for each metric, train and validation, the best epoch marked.

A gap in a line is a value that is NaN or infinite; a cross at the bottom or the top edge marks it.
A metric that spans more than a factor of 30 is drawn on a logarithmic axis, and says so.
"""

import json
import math
from collections.abc import Sequence

from backpass.errors import MetricError
from backpass.metrics import describe
from backpass.report.element import Element, tag
from backpass.report.history import Curve, Series, spread_evenly, thin
from backpass.report.marks import Plot, dot, label, picture, polyline, segment, x_axis, y_axis
from backpass.report.scales import Scale, integer_ticks, number, scale_of

_PLOT = Plot(360, 230)
_TITLES = {"loss": "Loss", "gradient_norm": "Gradient norm", "lr": "Learning rate"}
_LOG_RATIO = 30.0


def title_of(metric: str) -> str:
    """The display name of a metric; the name itself where backpass does not know it."""
    if metric in _TITLES:
        return _TITLES[metric]
    try:
        return describe(metric).display_name
    except MetricError:
        return metric


def curve_figure(curve: Curve, best_epoch: int | None, ident: str) -> Element:
    """The figure of one metric: name, values at the best epoch, chart."""
    title = title_of(curve.name)
    shown_epoch = best_epoch if best_epoch in curve.series[0].epochs else curve.series[0].epochs[-1]
    values = [
        tag("span", number(series.at(shown_epoch)), class_=f"value {series.part}")
        for series in curve.series
    ]
    return tag(
        "figure",
        tag("figcaption", tag("bdi", title, class_="name"), tag("span", values, class_="values")),
        _chart(curve, title, best_epoch, ident),
        class_="card plot",
    )


def curve_table(curves: Sequence[Curve], best_epoch: int | None) -> Element:
    """The values behind the charts; of a long history 40 epochs and the best one."""
    epochs = curves[0].series[0].epochs
    best = [k for k, epoch in enumerate(epochs) if epoch == best_epoch]
    rows = spread_evenly(len(epochs), 40, best)
    columns = [(f"{title_of(c.name)}, {s.part}", s) for c in curves for s in c.series]
    head = tag(
        "tr", tag("th", "Epoch", scope="col"), [tag("th", n, scope="col") for n, _ in columns]
    )
    body = [
        tag(
            "tr",
            tag("th", f"{epochs[k]} ★" if k in best else str(epochs[k]), scope="row"),
            [tag("td", _text(series, k), class_="n") for _, series in columns],
            class_="best" if k in best else None,
        )
        for k in rows
    ]
    shown = "" if len(rows) == len(epochs) else f" ({len(rows)} of {len(epochs):,} epochs)"
    return tag(
        "details",
        tag("summary", f"Values as a table{shown}"),
        tag("div", tag("table", tag("thead", head), tag("tbody", body)), class_="scroll"),
    )


def _chart(curve: Curve, title: str, best_epoch: int | None, ident: str) -> Element:
    epochs = curve.series[0].epochs
    everything = [value for series in curve.series for value in series.values]
    log = _wants_log(everything)
    y = scale_of(everything, *_PLOT.y_range, log=log)
    low, high = min(epochs), max(epochs)
    x = Scale(low, high, *_PLOT.x_range) if high > low else Scale(low - 1, low + 1, *_PLOT.x_range)
    best = [k for k, epoch in enumerate(epochs) if epoch == best_epoch]
    places = thin([series.values for series in curve.series], best)
    ticks = [(tick, f"{tick:,}") for tick in integer_ticks(low, high)]
    marks = [
        y_axis(_PLOT, y),
        x_axis(_PLOT, x, ticks, "epoch"),
        label(_PLOT.left, 10, "log scale", anchor="start", class_="axis-name") if log else None,
        [_line(series, places, x, y) for series in curve.series],
        _best_mark(curve.series[-1], best_epoch, x, y) if best else None,
        segment(0, _PLOT.top, 0, _PLOT.height - _PLOT.bottom, "cursor"),
    ]
    return picture(
        ident,
        f"{title} by epoch",
        _description(curve, title, best_epoch if best else None),
        (_PLOT.width, _PLOT.height),
        *marks,
        data=_hover_data(curve, places, x, y),
    )


def _wants_log(values: Sequence[float]) -> bool:
    finite = [v for v in values if math.isfinite(v)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > _LOG_RATIO


def _line(series: Series, places: Sequence[int], x: Scale, y: Scale) -> list[Element]:
    """The line in its unbroken stretches; a point where a stretch is a single value."""
    marks, stretch = [], []
    for k in places:
        at, value = x(series.epochs[k]), series.values[k]
        if math.isfinite(value):
            stretch.append((at, y(value)))
        if math.isfinite(value) or not series.present[k]:
            continue
        marks += _stretch(stretch, series.part)
        stretch = []
        edge = _PLOT.top if value == math.inf else _PLOT.height - _PLOT.bottom
        marks.append(label(at, edge + 3.5, "×", class_="broken"))
    return marks + _stretch(stretch, series.part)


def _stretch(points: list[tuple[float, float]], part: str) -> list[Element]:
    if len(points) == 1:
        return [dot(*points[0], 3, f"point {part}")]
    return [polyline(points, f"line {part}")] if points else []


def _best_mark(series: Series, best_epoch: int | None, x: Scale, y: Scale) -> list[Element]:
    """A vertical line at the best epoch, its number above, a ring at the value."""
    at, value = x(best_epoch or 0), series.at(best_epoch)
    middle = (_PLOT.left + _PLOT.width - _PLOT.right) / 2
    anchor, shift = ("start", 4) if at < middle else ("end", -4)
    return [
        segment(at, _PLOT.top - 6, at, _PLOT.height - _PLOT.bottom, "best"),
        label(at + shift, 10, f"best: {best_epoch:,}", anchor=anchor, class_="best-name"),
        *([dot(at, y(value), 4, f"ring {series.part}")] if math.isfinite(value) else []),
    ]


def _description(curve: Curve, title: str, best_epoch: int | None) -> str:
    parts = []
    for series in curve.series:
        broken = sum(
            here and not math.isfinite(value)
            for here, value in zip(series.present, series.values, strict=True)
        )
        ends = f"{series.part}: from {number(series.values[0])} to {number(series.values[-1])}"
        at_best = f", {number(series.at(best_epoch))} at epoch {best_epoch}" if best_epoch else ""
        parts.append(ends + at_best + (f", {broken} epochs not finite" if broken else ""))
    return f"{title} over {len(curve.series[0].epochs):,} epochs. " + "; ".join(parts) + "."


def _text(series: Series, k: int) -> str:
    return number(series.values[k]) if series.present[k] else "—"


def _hover_data(curve: Curve, places: Sequence[int], x: Scale, y: Scale) -> str:
    """What the script needs to show the values under the pointer: pixels and finished texts."""
    series = [
        {
            "name": one.part,
            "text": [_text(one, k) for k in places],
            "y": [
                round(y(one.values[k]), 1) if math.isfinite(one.values[k]) else None for k in places
            ],
        }
        for one in curve.series
    ]
    epochs = curve.series[0].epochs
    at = [round(x(epochs[k]), 1) for k in places]
    head = [f"epoch {epochs[k]:,}" for k in places]
    return json.dumps({"x": at, "head": head, "series": series}, separators=(",", ":"))
