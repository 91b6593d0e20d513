"""Pictures of a regression: predicted against true values, and the residuals as a histogram."""

import numpy as np

from backpass.errors import DataError
from backpass.report.element import Element, shorten, tag
from backpass.report.history import spread_evenly
from backpass.report.marks import Plot, box, dot, label, picture, segment, x_axis, y_axis
from backpass.report.scales import Scale, number, scale_of
from backpass.report.summary import RegressionFit

_SCATTER = Plot(400, 360, left=54)
_HISTOGRAM = Plot(400, 360, left=54)
_MOST_DOTS = 1500


def fit_figures(fit: RegressionFit, part: str) -> list[Element]:
    """The scatter of predicted against true values and the histogram of residuals.

    Raises:
        DataError: true and predicted values are not two vectors of the same length.
    """
    true = np.asarray(fit.true, dtype=np.float64)
    predicted = np.asarray(fit.predicted, dtype=np.float64)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise DataError(
            f"the regression picture needs true and predicted values of one shape (n,), got "
            f"{true.shape} and {predicted.shape}."
        )
    finite = np.isfinite(true) & np.isfinite(predicted)
    left_out = int(np.sum(~finite))
    hint = f"{left_out:,} samples that are not finite are left out." if left_out else None
    pictures = [
        ("Predicted against true", _scatter(true[finite], predicted[finite], fit.target)),
        ("Residuals, predicted − true", _histogram(predicted[finite] - true[finite])),
    ]
    return [
        tag(
            "figure",
            tag("figcaption", tag("span", name, class_="name"), f" {part} part"),
            chart,
            tag("p", hint, class_="hint") if hint else None,
            class_="card",
        )
        for name, chart in pictures
    ]


def _scatter(true: np.ndarray, predicted: np.ndarray, target: str) -> Element:
    both = [*true.tolist(), *predicted.tolist()]
    x, y = scale_of(both, *_SCATTER.x_range), scale_of(both, *_SCATTER.y_range)
    places = spread_evenly(len(true), _MOST_DOTS)
    dots = [dot(x(float(true[k])), y(float(predicted[k])), 2.6, "sample") for k in places]
    name = shorten(target, 30)
    shown = "" if len(places) == len(true) else f", {len(places):,} of them drawn"
    return picture(
        "scatter",
        f"Predicted against true values of {name}",
        f"{len(true):,} samples{shown}; on the diagonal prediction and truth agree.",
        (_SCATTER.width, _SCATTER.height),
        y_axis(_SCATTER, y),
        x_axis(_SCATTER, x, x.ticks(), f"true {name}"),
        label(_SCATTER.left, 10, f"predicted {name}", anchor="start", class_="axis-name"),
        segment(x(x.low), y(x.low), x(x.high), y(x.high), "chance"),
        dots,
        class_="chart square",
    )


def _histogram(residuals: np.ndarray) -> Element:
    values = residuals.tolist()
    bins = int(np.clip(np.sqrt(len(values)), 8, 40))
    spread = scale_of([*values, 0.0], *_HISTOGRAM.x_range, pad=0.02)
    edges = np.linspace(spread.low, spread.high, bins + 1)
    counts, _ = np.histogram(residuals, edges)
    y = Scale(0, max(int(counts.max()), 1) * 1.05, *_HISTOGRAM.y_range)
    x: Scale = spread
    base = y(0)
    bars = [
        box(
            x(float(edges[k])) + 0.5,
            y(int(count)),
            max(x(float(edges[k + 1])) - x(float(edges[k])) - 1, 0.5),
            base - y(int(count)),
            "bar",
            tag("title", f"{number(float(edges[k]))} to {number(float(edges[k + 1]))}: {count}"),
        )
        for k, count in enumerate(counts)
        if count
    ]
    middle, width = (float(np.mean(residuals)), float(np.std(residuals))) if values else (0.0, 0.0)
    return picture(
        "residuals",
        "Histogram of residuals",
        f"{len(values):,} residuals, mean {number(middle)}, standard deviation {number(width)}.",
        (_HISTOGRAM.width, _HISTOGRAM.height),
        y_axis(_HISTOGRAM, y),
        x_axis(_HISTOGRAM, x, x.ticks(), f"mean {number(middle)}, std {number(width)}"),
        label(_HISTOGRAM.left, 10, "samples", anchor="start", class_="axis-name"),
        bars,
        segment(x(0.0), y.stop, x(0.0), base, "zero"),
        class_="chart square",
    )
