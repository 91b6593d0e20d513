"""The page: what comes in which order, and the head that forbids all network.

The content security policy allows nothing but the one style sheet and the one script of this
page, by their SHA-256, so that neither a resource from elsewhere nor a line of code that slipped
in from data would ever be loaded or run.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from backpass.report.curves import curve_figure, curve_table, title_of
from backpass.report.element import Child, Element, Verbatim, render, tag
from backpass.report.evaluation import confusion_figure, roc_figure
from backpass.report.fit import fit_figures
from backpass.report.flow import flow_figure, flow_of
from backpass.report.history import as_float, curves_of, notes_of, spans
from backpass.report.scales import number
from backpass.report.summary import RunSummary
from backpass.report.tables import (
    model_table,
    normalization_table,
    settings_table,
    split_figure,
    table,
)

_PARTS = ("test", "validation", "train")


def render_report(summary: RunSummary) -> str:
    """The whole report as one HTML document.

    Raises:
        DataError: the shapes in the summary disagree (confusion matrix and labels, true and
            predicted values).
    """
    style, script = (_asset(name) for name in ("style.css", "hover.js"))
    sections = [section for section in _sections(summary) if section is not None]
    body = tag(
        "body",
        tag("header", _header(summary), class_="top"),
        _navigation(sections),
        tag("main", sections),
        tag("footer", tag("p", "Written by backpass. This page is complete: it loads nothing.")),
        tag("div", id="tip", role="presentation", hidden="hidden"),
        tag("script", Verbatim(script)),
    )
    return "<!doctype html>\n" + render(tag("html", _head(summary, style, script), body, lang="en"))


def _head(summary: RunSummary, style: str, script: str) -> Element:
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        f"base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{summary.title} · backpass report"),
        tag("style", Verbatim(style)),
    )


def _asset(name: str) -> str:
    return files("backpass.report").joinpath(name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _sections(summary: RunSummary) -> list[Element | None]:
    return [
        _warnings(summary),
        _results(summary),
        _learning(summary),
        _evaluation(summary),
        _gradients(summary),
        _data(summary),
        _model(summary),
        _settings(summary),
    ]


def _section(ident: str, title: str, *content: Child) -> Element:
    heading = tag("h2", title, id=f"{ident}-heading")
    return tag("section", heading, *content, id=ident, aria_labelledby=f"{ident}-heading")


def _navigation(sections: Sequence[Element]) -> Element:
    links = []
    for section in sections:
        ident = dict(section.attributes)["id"]
        heading = section.children[0]
        links.append(
            tag("a", heading.children if isinstance(heading, Element) else "", href=f"#{ident}")
        )
    return tag("nav", links, aria_label="Sections")


def _header(summary: RunSummary) -> list[Element]:
    facts: list[Child] = [summary.task.capitalize()]
    if summary.source:
        facts += [" on ", tag("bdi", summary.source)]
    epochs = len(summary.history)
    if epochs:
        facts.append(f" · {epochs:,} epoch" + ("s" if epochs > 1 else ""))
    if summary.best_epoch is not None:
        facts.append(f", the best was {summary.best_epoch:,}")
        facts.append(tag("bdi", f" (by {summary.monitor})") if summary.monitor else None)
    seconds = as_float(summary.metrics.get("seconds"))
    if seconds == seconds:
        facts.append(f" · trained in {_duration(seconds)}")
    return [
        tag("p", "Training report", class_="kicker"),
        tag("h1", tag("bdi", summary.title)),
        tag("p", facts, class_="facts"),
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _warnings(summary: RunSummary) -> Element | None:
    items = [tag("li", tag("bdi", message)) for message in dict.fromkeys(summary.messages)]
    for message, epochs in notes_of(summary.history):
        when = f"epoch{'s' if len(epochs) > 1 else ''} {spans(epochs)}"
        items.append(tag("li", tag("bdi", message), tag("span", when, class_="when")))
    if not items:
        return None
    shown, rest = items[:12], items[12:]
    more = tag("details", tag("summary", f"{len(rest):,} more"), tag("ul", rest)) if rest else None
    return _section(
        "warnings", "Notes and warnings", tag("div", tag("ul", shown), more, class_="card notice")
    )


def _results(summary: RunSummary) -> Element | None:
    """The metrics of the best part as tiles, and all parts as a table."""
    parts = [part for part in _PARTS if isinstance(summary.metrics.get(part), Mapping)]
    parts = [part for part in parts if summary.metrics[part]]
    if not parts:
        return None
    names = list(dict.fromkeys(name for part in parts for name in summary.metrics[part]))
    first: Mapping[str, Any] = summary.metrics[parts[0]]
    tiles = [
        tag(
            "div",
            tag("span", title_of(name), class_="tile-name"),
            tag("span", number(first[name]), class_="tile-value"),
            class_="tile",
        )
        for name in sorted(first, key=lambda name: name == "loss")
    ]
    rows = [
        tag(
            "tr",
            tag("th", tag("bdi", title_of(name)), scope="row"),
            [tag("td", number(summary.metrics[p].get(name)), class_="n") for p in parts],
        )
        for name in names
    ]
    heads = ("Metric", *(f"#{part}" for part in parts))
    hint = tag("p", f"On the {parts[0]} part.", class_="hint lead")
    body = tag("div", table(heads, rows), class_="card wide")
    return _section("results", "Results", hint, tag("div", tiles, class_="tiles"), body)


def _learning(summary: RunSummary) -> Element | None:
    curves = curves_of(summary.history)
    if not curves:
        return None
    figures = [
        curve_figure(curve, summary.best_epoch, f"curve-{k}") for k, curve in enumerate(curves)
    ]
    parts = dict.fromkeys(series.part for curve in curves for series in curve.series)
    keys = [tag("li", tag("span", class_=f"swatch {p}"), tag("span", p)) for p in parts]
    which = "best epoch" if summary.best_epoch is not None else "last epoch"
    keys.append(tag("li", tag("span", f"numbers: {which}"), class_="hint"))
    return _section(
        "learning",
        "Learning curves",
        tag("ul", keys, class_="legend inline"),
        tag("div", figures, class_="grid"),
        tag("div", curve_table(curves, summary.best_epoch), class_="card wide"),
    )


def _evaluation(summary: RunSummary) -> Element | None:
    part = summary.evaluated_on
    figures: list[Element] = []
    if summary.confusion is not None and summary.confusion.labels:
        figures.append(confusion_figure(summary.confusion, part))
    if summary.roc:
        figures.append(roc_figure(summary.roc, part))
    if summary.regression is not None and len(summary.regression.true):
        figures += fit_figures(summary.regression, part)
    if not figures:
        return None
    return _section("evaluation", "Evaluation", tag("div", figures, class_="grid two"))


def _gradients(summary: RunSummary) -> Element | None:
    flow = flow_of(summary.history)
    return None if flow is None else _section("gradients", "Gradient flow", flow_figure(flow))


def _data(summary: RunSummary) -> Element | None:
    split = split_figure(summary.splits) if summary.splits else None
    columns = None
    if summary.normalization:
        hint = "x′ = (x − mean) / std, fitted on the training part alone; categories are one-hot."
        columns = tag(
            "div",
            tag("h3", f"Input columns ({len(summary.normalization):,})"),
            tag("p", hint, class_="hint"),
            normalization_table(summary.normalization),
            class_="card wide",
        )
    if split is None and columns is None:
        return None
    return _section("data", "Data", split, columns)


def _model(summary: RunSummary) -> Element | None:
    if not summary.model:
        return None
    return _section("model", "Model", tag("div", model_table(summary.model), class_="card wide"))


def _settings(summary: RunSummary) -> Element | None:
    cards = [
        tag("div", tag("h3", name), settings_table(settings), class_="card")
        for name, settings in (
            ("Configuration", summary.config),
            ("Environment", summary.environment),
        )
        if settings
    ]
    if not cards:
        return None
    return _section(
        "settings", "Configuration and environment", tag("div", cards, class_="grid two")
    )
