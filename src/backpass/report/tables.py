"""The tables of a report: data split, normalization, model, nested settings.

Long tables show their first rows; the rest collapses into a `details` element.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from backpass.report.element import Child, Element, shorten, tag
from backpass.report.marks import box, label, picture
from backpass.report.scales import number
from backpass.report.summary import ModelRow, NormalizationRow

_FIRST_ROWS = 24
_MOST_CATEGORIES = 12
_BAR_WIDTH = 520.0


def table(heads: Sequence[str], rows: Sequence[Element], *, first: int = _FIRST_ROWS) -> Element:
    """A table; rows beyond the first few are folded away. Heads that start with # are numeric."""
    numeric = [name.startswith("#") for name in heads]
    cells = [
        tag("th", name.lstrip("#"), scope="col", class_="n" if right else None)
        for name, right in zip(heads, numeric, strict=True)
    ]

    def whole(part: Sequence[Element]) -> Element:
        body = tag("table", tag("thead", tag("tr", cells)), tag("tbody", part))
        return tag("div", body, class_="scroll")

    if len(rows) <= first + 4:
        return whole(rows)
    rest = tag("details", tag("summary", f"{len(rows) - first:,} more rows"), whole(rows[first:]))
    return tag("div", whole(rows[:first]), rest)


def split_figure(splits: Mapping[str, int]) -> Element:
    """One bar, divided as the samples are, and the numbers."""
    total = max(sum(splits.values()), 1)
    marks, at = [], 0.0
    for k, (part, samples) in enumerate(splits.items()):
        width = _BAR_WIDTH * samples / total
        said = tag("title", f"{part}: {samples:,} samples, {samples / total:.1%}")
        marks.append(box(at, 0, max(width - 2, 0.5), 26, f"part p{k % 4}", said))
        if width > 60:
            marks.append(
                label(at + 8, 17.5, f"{samples / total:.0%}", anchor="start", class_=f"on-p{k % 4}")
            )
        at += width
    text = "; ".join(f"{part} {samples:,}" for part, samples in splits.items())
    keys = [
        tag(
            "li",
            tag("span", class_=f"swatch block p{k % 4}"),
            tag("bdi", part, class_="key"),
            tag("span", f"{samples:,}", class_="n"),
        )
        for k, (part, samples) in enumerate(splits.items())
    ]
    return tag(
        "figure",
        tag(
            "figcaption", tag("span", "Split", class_="name"), f" {sum(splits.values()):,} samples"
        ),
        picture(
            "split", "How the samples are split", text, (_BAR_WIDTH, 26), marks, class_="split"
        ),
        tag("ul", keys, class_="legend inline"),
        class_="card wide",
    )


def normalization_table(rows: Sequence[NormalizationRow]) -> Element:
    """What was done to each input column."""
    heads = ("Column", "Kind", "#Mean", "#Std", "Categories", "#Missing", "Imputed with")
    return table(heads, [_normalization_row(row) for row in rows])


def model_table(rows: Sequence[ModelRow]) -> Element:
    """Layer, type, output shape, parameters, and their sum."""
    body = [
        tag(
            "tr",
            tag("th", tag("bdi", row.layer), scope="row"),
            tag("td", tag("bdi", row.type)),
            tag("td", _shape(row.output_shape), class_="mono"),
            tag("td", f"{row.parameters:,}", class_="n"),
        )
        for row in rows
    ]
    total = sum(row.parameters for row in rows)
    return tag(
        "div",
        table(("Layer", "Type", "Output shape", "#Parameters"), body),
        tag("p", tag("strong", f"{total:,}"), " parameters in all", class_="total"),
    )


def settings_table(settings: Mapping[str, Any]) -> Element:
    """Nested settings, one row for each leaf, named by its path."""
    rows = [
        tag("tr", tag("th", tag("bdi", path), scope="row", class_="mono"), tag("td", _text(value)))
        for path, value in _leaves(settings)
    ]
    return table(("Name", "Value"), rows, first=40)


def _normalization_row(row: NormalizationRow) -> Element:
    shown = row.categories[:_MOST_CATEGORIES]
    more = len(row.categories) - len(shown)
    categories: list[Child] = []
    for name in shown:
        categories += [tag("bdi", shorten(name, 40), class_="chip"), " "]
    if more > 0:
        categories.append(f"and {more:,} more")
    imputed = None if row.imputed is None else tag("bdi", number(row.imputed))
    return tag(
        "tr",
        tag("th", tag("bdi", shorten(row.column, 80)), scope="row"),
        tag("td", row.kind),
        tag("td", number(row.mean), class_="n"),
        tag("td", number(row.std), class_="n"),
        tag("td", categories or "—"),
        tag("td", number(row.missing) if row.missing else "—", class_="n"),
        tag("td", imputed or "—"),
    )


def _shape(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "—"
    return " × ".join("batch" if size is None else f"{size:,}" for size in shape)


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in settings.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found += _leaves(value, f"{path}.")
        else:
            found.append((path, value))
    return found


def _text(value: object) -> Element:
    match value:
        case None:
            said = "—"
        case list() | tuple():
            said = ", ".join(number(entry) for entry in value) or "none"
        case float():
            said = repr(value)
        case _:
            said = str(value)
    return tag("bdi", shorten(said, 400))
