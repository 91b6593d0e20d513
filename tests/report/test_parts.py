"""The parts a report is made of: elements, scales, thinning, and writing."""

import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.report import RunSummary, write_report
from backpass.report.element import Verbatim, render, shorten, tag
from backpass.report.flow import flow_of
from backpass.report.history import MOST_POINTS, notes_of, spans, thin
from backpass.report.scales import integer_ticks, nice_step, number, scale_of


@given(st.text())
def test_text_and_attributes_are_escaped(text: str) -> None:
    markup = render(tag("bdi", text, title=text))
    assert markup.count("<") == markup.count(">") == 2
    assert markup.count('"') == 2
    markup.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("a", {"href": "javascript:alert(1)"}),
        ("a", {"href": "https://example.com"}),
        ("p", {"onclick": "x"}),
        ("p", {"style": "color: red"}),
        ("p", {"a b": "x"}),
        ("p><script", {}),
    ],
)
def test_active_markup_cannot_be_built(name: str, attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"refused|is no"):
        tag(name, **attributes)


def test_verbatim_text_belongs_to_style_and_script() -> None:
    for name, child in (("p", Verbatim("x")), ("script", "x"), ("style", Verbatim("</style>"))):
        with pytest.raises(ValueError, match="verbatim"):
            tag(name, child)


def test_deep_trees_are_written() -> None:
    tree = tag("div")
    for _ in range(10_000):
        tree = tag("div", tree)
    assert render(tree).count("<div>") == 10_001


def test_cut_text_keeps_its_end() -> None:
    assert len(shorten("x" * 100, 12)) == 12
    assert shorten("class number 14", 12).endswith("14")
    assert shorten("short", 12) == "short"


finite = st.floats(-1e300, 1e300)


@settings(max_examples=200)
@given(st.lists(finite, min_size=1, max_size=5), st.booleans())
def test_scales_place_all_values_inside(values: list[float], log: bool) -> None:
    log = log and all(value > 1e-300 for value in values)
    scale = scale_of([*values, math.nan, math.inf], 0.0, 100.0, log=log)
    for value in values:
        assert -1e-6 <= scale(value) <= 100 + 1e-6
    for tick, text in scale.ticks():
        assert -1e-6 <= scale(tick) <= 100 + 1e-6
        assert text


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_few(low: float, span: float) -> None:
    scale = scale_of([low, low + span], 0.0, 100.0)
    ticks = [tick for tick, _ in scale.ticks()]
    assert 2 <= len(ticks) <= 8
    step = nice_step(scale.low, scale.high, 5)
    fraction = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(fraction - nice) for nice in (1, 2, 5, 10)) < 1e-6


@given(st.integers(1, 50), st.integers(0, 100_000))
def test_epoch_ticks_start_at_the_first_epoch(low: int, span: int) -> None:
    ticks = integer_ticks(low, low + span)
    assert ticks[0] == low
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 14
    assert ticks[-1] <= low + span


def test_numbers_as_text() -> None:
    shown = [number(v) for v in (None, True, 3, 12345, -0.5, math.nan, -math.inf, 1e-9, 123456.7)]
    assert [number(np.float32(0.25)), number(np.int64(70_000))] == ["0.25", "70,000"]
    assert shown == ["—", "True", "3", "12,345", "-0.5", "NaN", "-inf", "1e-09", "123,457"]


@given(st.integers(401, 5000), st.integers(1, 2), st.integers(0, 2**32))
def test_thinning_keeps_extremes_breaks_and_the_best(length: int, curves: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=length).tolist() for _ in range(curves)]
    broken = int(rng.integers(length))
    values[0][broken] = math.nan
    places = thin(values, [length // 3])
    assert places == sorted(set(places))
    assert len(places) <= 2 * MOST_POINTS
    assert {0, length - 1, length // 3, broken} <= set(places)
    for curve in values:
        kept = [curve[k] for k in places if math.isfinite(curve[k])]
        assert max(kept) == max(v for v in curve if math.isfinite(v))
        assert min(kept) == min(v for v in curve if math.isfinite(v))


def test_messages_are_gathered() -> None:
    history = [{"epoch": k, "messages": ["vanishing"] if k != 3 else []} for k in range(1, 6)]
    assert notes_of(history) == [("vanishing", [1, 2, 4, 5])]
    assert spans([1, 2, 4, 5]) == "1–2, 4–5"
    assert spans(list(range(0, 100, 2))).endswith("…")


def test_flow_gathers_epochs_by_the_mean_of_the_logarithm() -> None:
    rows = [[{"parameter": "w", "gradient_norm": v}] for v in (1e-2, 1e-4)] * 100
    flow = flow_of([{"epoch": k + 1, "gradient_flow": row} for k, row in enumerate(rows)])
    assert flow is not None
    assert flow.stretches[0] == (1, 2)
    assert flow.stretches[-1] == (199, 200)
    assert flow.cells[0, 0].norm == pytest.approx(1e-3)


def test_reports_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert write_report(path, RunSummary("first", "regression")) == path
    write_report(str(path), RunSummary("second", "regression"))
    assert "second" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    other = tmp_path / "other"
    other.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = write_report(tmp_path / "report.html", RunSummary("first", "regression"))
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_report(path, RunSummary("second", "regression"))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path / "absent" / "report.html", RunSummary("x", "regression"))
