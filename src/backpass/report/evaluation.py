"""Pictures of a classifier: the confusion matrix as a heat map, and the ROC curves.

Right decisions and errors have colours of their own: the diagonal is shaded by the share of the
class that was found, the rest by the share that was lost, scaled to the worst error, so that a
few errors stay visible. Beyond 40 classes only the 40 with the most errors are drawn.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from backpass.errors import DataError
from backpass.report.element import Element, shorten, tag
from backpass.report.history import spread_evenly
from backpass.report.marks import Plot, box, label, picture, polyline, segment, x_axis, y_axis
from backpass.report.scales import Scale, number
from backpass.report.summary import ConfusionCounts, RocCurve

_MOST_CLASSES = 40
_MOST_CURVES = 10
_RIGHT_STEPS, _WRONG_STEPS = 12, 6
_ROC = Plot(400, 380)


def confusion_figure(confusion: ConfusionCounts, part: str) -> Element:
    """The heat map, the largest confusions in words, and the counts as a table.

    Raises:
        DataError: the counts are not square or there is not one label for each class.
    """
    counts, labels = np.asarray(confusion.counts), confusion.labels
    if counts.shape != (len(labels), len(labels)):
        raise DataError(
            f"the confusion matrix has shape {counts.shape}, but there are {len(labels)} labels; "
            f"expected ({len(labels)}, {len(labels)})."
        )
    shown = _classes_to_show(counts)
    note = (
        f"The {len(shown)} of {len(labels):,} classes with the most errors."
        if len(shown) < len(labels)
        else None
    )
    kept, names = counts[np.ix_(shown, shown)], [labels[k] for k in shown]
    return tag(
        "figure",
        tag("figcaption", tag("span", "Confusion matrix", class_="name"), f" {part} part"),
        _heat_map(kept, names, counts[shown].sum(axis=1)),
        tag("p", note, class_="hint") if note else None,
        _largest_confusions(counts, labels),
        _counts_table(kept, names),
        class_="card",
    )


def roc_figure(curves: Sequence[RocCurve], part: str) -> Element:
    """All classes' curves, each against the rest, with a legend of the areas."""
    shown = sorted(curves, key=lambda curve: (math.isnan(curve.auc), curve.auc))[:_MOST_CURVES]
    many = len(shown) < len(curves)
    hint = f"The {len(shown)} of {len(curves):,} classes with the smallest area." if many else None
    legend = [
        tag(
            "li",
            tag("span", class_=f"swatch s{k}"),
            tag("bdi", shorten(curve.label, 16), class_="key"),
            tag("span", number(curve.auc), class_="n"),
        )
        for k, curve in enumerate(shown)
    ]
    return tag(
        "figure",
        tag("figcaption", tag("span", "ROC curves", class_="name"), f" {part} part"),
        _roc_chart(shown),
        tag("p", "Area under the curve", class_="legend-title"),
        tag("ul", legend, class_="legend"),
        tag("p", hint, class_="hint") if hint else None,
        class_="card",
    )


def _classes_to_show(counts: np.ndarray) -> np.ndarray:
    if len(counts) <= _MOST_CLASSES:
        return np.arange(len(counts))
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    return np.sort(np.argsort(-errors, kind="stable")[:_MOST_CLASSES])


def _heat_map(counts: np.ndarray, labels: Sequence[str], totals: np.ndarray) -> Element:
    classes = len(labels)
    longest = max(len(shorten(name, 12)) for name in labels)
    left = 30 + 6.2 * longest
    cell = min(48.0 if classes > 4 else 84.0, (400 - left - 4) / classes)
    turned = longest * 6.2 > cell - 2
    if turned:
        # Turned labels lean out to the right of the last column.
        cell = min(cell, (396 - left - 4.4 * longest) / classes)
    top = 27 + (6.2 * longest * 0.75 if turned else 6)
    share = counts / np.maximum(totals, 1)[:, None]
    worst = max(float(np.max(share - np.diag(np.diag(share)), initial=0.0)), 1e-12)
    marks = [label(left + classes * cell / 2, 11, "predicted", class_="axis-name")]
    marks.append(_turned_label(11, top + classes * cell / 2, "true", -90, "axis-name", "middle"))
    every = math.ceil(13 / cell)
    for k, name in enumerate(labels):
        middle = (k + 0.5) * cell
        if k % every == 0:
            marks.append(label(left - 5, top + middle + 3.5, name, anchor="end", most=12))
            if turned:
                marks.append(_turned_label(left + middle + 3, top - 5, name, -45, "tick", "start"))
            else:
                marks.append(label(left + middle, top - 6, name, most=12))
    for i, j in itertools.product(range(classes), repeat=2):
        at = (left + j * cell, top + i * cell)
        class_ = _right_class(share[i, j]) if i == j else _wrong_class(share[i, j] / worst)
        names = f"true {shorten(labels[i], 60)}, predicted {shorten(labels[j], 60)}"
        said = f"{names}: {number(float(counts[i, j]))} ({share[i, j]:.1%})"
        marks += _cell(float(counts[i, j]), at, cell, class_, said)
    right = float(np.trace(counts) / max(counts.sum(), 1))
    said = f"{classes} classes, rows true and columns predicted; {right:.1%} on the diagonal."
    size = (400.0, top + classes * cell + 4)
    return picture("confusion", "Confusion matrix", said, size, marks, class_="chart square")


def _right_class(share: float) -> str:
    return f"r{min(int(share * _RIGHT_STEPS), _RIGHT_STEPS - 1)}"


def _wrong_class(share_of_worst: float) -> str:
    """The nearest step, so that one error in classes of about one size has one colour."""
    return f"e{max(round(share_of_worst * _WRONG_STEPS), int(share_of_worst > 0))}"


def _cell(
    count: float, at: tuple[float, float], size: float, class_: str, said: str
) -> list[Element]:
    """One cell: its rectangle with the full story as a title, and its count where there is room."""
    gap = 1.5 if size > 12 else 0.5
    marks = [box(*at, size - gap, size - gap, class_, tag("title", said))]
    if count and size >= 16:
        middle = (at[0] + (size - gap) / 2, at[1] + (size - gap) / 2 + 3.5)
        marks.append(label(*middle, number(count), class_=f"count on-{class_}"))
    return marks


def _turned_label(x: float, y: float, text: str, angle: int, class_: str, anchor: str) -> Element:
    return tag(
        "text",
        shorten(text, 12),
        transform=f"translate({x:.1f} {y:.1f}) rotate({angle})",
        text_anchor=anchor,
        class_=class_,
    )


def _largest_confusions(counts: np.ndarray, labels: Sequence[str]) -> Element | None:
    """The three largest errors as a sentence."""
    wrong = np.where(np.eye(len(labels), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:3]
    cells = [divmod(int(k), len(labels)) for k in order]
    found = [(labels[i], labels[j], wrong[i, j]) for i, j in cells if wrong[i, j] > 0]
    if not found:
        return tag("p", "No errors.", class_="hint")
    parts = []
    for true, predicted, count in found:
        parts.append("; " if parts else "Most often confused: ")
        parts += [tag("bdi", shorten(true, 30)), " taken for ", tag("bdi", shorten(predicted, 30))]
        parts.append(f" ({number(float(count))}×)")
    return tag("p", parts, ".", class_="hint")


def _counts_table(counts: np.ndarray, labels: Sequence[str]) -> Element:
    heads = [tag("th", tag("bdi", name), scope="col") for name in labels]
    rows = [
        tag(
            "tr",
            tag("th", tag("bdi", labels[i]), scope="row"),
            [tag("td", number(float(count)), class_="n") for count in row],
        )
        for i, row in enumerate(counts)
    ]
    head = tag("thead", tag("tr", tag("th", "true \\ predicted", scope="col"), heads))
    table = tag("div", tag("table", head, tag("tbody", rows)), class_="scroll")
    return tag("details", tag("summary", "Counts as a table"), table)


def _roc_chart(curves: Sequence[RocCurve]) -> Element:
    x, y = Scale(0, 1, *_ROC.x_range), Scale(0, 1, *_ROC.y_range)
    lines = []
    # The best last, so that the first colours lie on top.
    for k, curve in reversed(list(enumerate(curves))):
        rates = np.asarray(curve.false_positive_rate), np.asarray(curve.true_positive_rate)
        places = spread_evenly(len(rates[0]), 200)
        pairs = [(float(rates[0][i]), float(rates[1][i])) for i in places]
        points = [(x(a), y(b)) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
        lines.append(polyline(points, f"line series s{k}") if points else None)
    areas = "; ".join(f"{shorten(curve.label, 30)} {number(curve.auc)}" for curve in curves)
    return picture(
        "roc",
        "ROC curves, each class against the rest",
        f"Area under the curve: {areas}.",
        (_ROC.width, _ROC.height),
        y_axis(_ROC, y),
        x_axis(_ROC, x, x.ticks(), "false-positive rate"),
        label(_ROC.left, 10, "true-positive rate", anchor="start", class_="axis-name"),
        segment(x(0), y(0), x(1), y(1), "chance"),
        lines,
        class_="chart square",
    )
