"""The page: well-formed, whole, without network, and nothing from data ever becomes markup."""

import base64
import hashlib
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from report_runs import ALL, HOSTILE, digits, history

import backpass.report as module
from backpass.errors import DataError
from backpass.report import (
    ConfusionCounts,
    RegressionFit,
    RocCurve,
    RunSummary,
    render_report,
)

VOID = {"meta", "br", "col", "hr"}
LINKS = {"href", "src", "action", "formaction", "data", "xlink:href", "srcset", "poster"}


class Page(HTMLParser):
    """Reads a page strictly: every element must be closed, in order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source, self.open, self.faults = source, [], []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        assert self.open == []
        assert self.faults == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names) or any(value is None for _, value in attrs):
            self.faults.append(f"attributes of <{tag}>: {attrs}")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"comment {data}")

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def words(self) -> str:
        return "".join(data for where, data in self.text if where not in ("style", "script"))


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    return {name: Page(render_report(make())) for name, make in ALL.items()}


each = pytest.mark.parametrize("name", ALL)


@each
def test_pages_are_well_formed_and_nothing_leaves_them(name: str, pages: dict[str, Page]) -> None:
    page = pages[name]
    assert page.source.startswith("<!doctype html>\n<html lang=")
    assert not re.search(r"https?:|//www|@import|url\(", page.source)
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key == "style"], tag
        assert all(attributes[key].startswith("#") for key in LINKS & attributes.keys())
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section"),
        *("footer", "script", "h1", "h2", "h3", "p", "a", "div", "span", "bdi", "strong", "ul"),
        *("li", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure"),
        *("figcaption", "svg", "g", "path", "line", "rect", "circle", "text", "desc"),
    }


@each
def test_one_style_and_one_script_and_the_policy_allows_just_these(
    name: str, pages: dict[str, Page]
) -> None:
    page = pages[name]
    policy = next(a["content"] for t, a in page.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        sources = [data for where, data in page.text if where == kind]
        assert sum(tag == kind for tag, _ in page.elements) == 1
        digest = hashlib.sha256("".join(sources).encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


@each
def test_pictures_have_titles_and_descriptions(name: str, pages: dict[str, Page]) -> None:
    page = pages[name]
    ids = page.ids()
    assert len(set(ids)) == len(ids)
    pictures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert pictures
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert set(attributes["aria-labelledby"].split()) <= set(ids)


@each
def test_pictures_hold_finite_numbers_only(name: str, pages: dict[str, Page]) -> None:
    shape = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "d", "transform"}
    for tag, attributes in pages[name].elements:
        if tag != "meta":
            written = " ".join(attributes[key] for key in shape & attributes.keys())
            assert not re.search(r"nan|inf", written, re.IGNORECASE), (tag, attributes)
        for key in ("width", "height", "r"):
            assert float(attributes.get(key, 0)) >= 0


def test_all_sections_are_there(pages: dict[str, Page]) -> None:
    page = pages["digits"]
    expected = ["warnings", "results", "learning", "evaluation", "gradients", "data", "model"]
    found = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert found == [*expected, "settings"]
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == [f"#{ident}" for ident in found]
    assert {"confusion", "roc", "flow", "split", "curve-0", "curve-5"} <= set(page.ids())
    words = page.words()
    for text in ("0.9722", "AUC-ROC", "best: 24", "1,797 samples", "8,970", "epochs 32–33"):
        assert text in words
    assert {"scatter", "residuals"} <= set(pages["regression"].ids())


def test_an_empty_summary_is_a_page_with_a_title() -> None:
    page = Page(render_report(RunSummary("nothing yet", "regression")))
    assert "nothing yet" in page.words()
    assert not [tag for tag, _ in page.elements if tag == "section"]


def test_hostile_strings_stay_text(pages: dict[str, Page]) -> None:
    page = pages["hostile"]
    for text in HOSTILE[:5]:
        assert text in page.words()
        assert text not in page.source
    assert "alert(1)" not in "".join(data for where, data in page.text if where == "script")
    assert "new\nline" + r"\x00nul\x1besc" in page.words()
    assert r"\u202egnp.exe" in page.words()
    assert r"\ud800 lone" in page.words()
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800]", page.source)


def test_values_that_are_not_finite_are_shown_as_such(pages: dict[str, Page]) -> None:
    page = pages["broken"]
    cells = [data for where, data in page.text if where == "td"]
    assert "NaN" in cells
    assert "inf" in cells
    crosses = [a for t, a in page.elements if t == "text" and a.get("class") == "broken"]
    assert len(crosses) == 3 + 3 + 3  # train loss, validation loss, gradient norm
    assert "no-gradient" in page.source
    assert page.source.count('class="broken-cell"') == 3 * 6


def test_validation_that_does_not_run_every_epoch_is_no_break() -> None:
    entries = history(10, ("accuracy",))
    for entry in entries:
        if entry["epoch"] % 5:
            entry["validation"] = {}
    page = Page(render_report(RunSummary("sparse", "classification", history=entries)))
    assert not [a for t, a in page.elements if a.get("class") == "broken"]
    assert sum(a.get("class") == "line validation" for _, a in page.elements) == 2


def test_long_histories_and_wide_data_stay_small(pages: dict[str, Page]) -> None:
    page = pages["long_run"]
    assert len(page.source) < 2_000_000
    assert "&quot;77&quot;" in page.source  # the spike of one epoch in 10,000
    assert "1,976 more rows" in page.words()
    assert "The 40 of 70 classes with the most errors." in page.words()
    assert "41 of 10,000 epochs" in page.words()


def test_the_same_summary_gives_the_same_page() -> None:
    assert render_report(digits()) == render_report(digits())


def test_histories_of_unknown_making_are_drawn() -> None:
    strange = [{}, {"epoch": "x", "train": None, "lr": "fast"}, {"train": {"loss": "0.5"}}]
    strange.append({"epoch": np.int64(9), "train": {"loss": np.float32(0.75)}})
    page = Page(render_report(RunSummary("strange", "regression", history=strange)))
    assert {"0.5", "0.75"} <= {data for where, data in page.text if where == "td"}


def test_a_roc_curve_that_is_undefined_is_listed_without_a_line() -> None:
    nothing = np.full(3, np.nan)
    curves = [
        RocCurve("absent", nothing, nothing, math.nan),
        RocCurve("b", np.arange(2.0), np.arange(2.0), 0.5),
    ]
    page = Page(render_report(RunSummary("x", "classification", roc=curves)))
    assert {"absent", "NaN"} <= {data for _, data in page.text}
    assert sum("series" in attributes.get("class", "") for _, attributes in page.elements) == 1


def test_shapes_that_disagree_are_named() -> None:
    confusion = ConfusionCounts(("a", "b", "c"), np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"shape \(2, 2\), but there are 3 labels"):
        render_report(RunSummary("x", "classification", confusion=confusion))
    fit = RegressionFit(np.zeros(3), np.zeros(4))
    with pytest.raises(DataError, match=r"\(3,\) and \(4,\)"):
        render_report(RunSummary("x", "regression", regression=fit))


def test_public_names() -> None:
    assert all(hasattr(module, name) for name in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
