"""The report in a real browser: it draws, its script runs, and the console stays empty."""

import re
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from report_runs import ALL

from backpass.report import write_report

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
)
DISTINCT_ROWS = 100


def browse(chromium: str, page: Path, *flags: str) -> tuple[str, list[str]]:
    """What the browser prints, and the messages on its console."""
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [chromium, *FLAGS, profile, *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, re.findall(r".*CONSOLE.*", done.stderr)


def distinct_rows(png: Path) -> int:
    """How many different rows of pixels a picture has: a blank page has a handful."""
    raw, at, packed = png.read_bytes(), 8, b""
    width = struct.unpack(">I", raw[16:20])[0]
    channels = {2: 3, 6: 4}[raw[25]]
    while at < len(raw):
        length = struct.unpack(">I", raw[at : at + 4])[0]
        if raw[at + 4 : at + 8] == b"IDAT":
            packed += raw[at + 8 : at + 8 + length]
        at += length + 12
    pixels, stride = zlib.decompress(packed), width * channels + 1
    return len({pixels[k : k + stride] for k in range(0, len(pixels), stride)})


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["digits", "regression", "broken", "hostile"])
def test_a_report_is_drawn_and_the_console_stays_empty(
    chromium: str, tmp_path: Path, name: str, width: int
) -> None:
    page = write_report(tmp_path / "report.html", ALL[name]())
    picture = tmp_path / "page.png"
    _, console = browse(chromium, page, f"--screenshot={picture}", f"--window-size={width},1600")
    assert console == []
    assert distinct_rows(picture) > DISTINCT_ROWS


def test_the_script_runs_and_nothing_hostile_does(chromium: str, tmp_path: Path) -> None:
    page = write_report(tmp_path / "report.html", ALL["hostile"]())
    source, console = browse(chromium, page, "--dump-dom")
    assert console == []
    assert 'aria-label="Loss by epoch"' in source  # our own script has been here
    assert source.count("<script>") == 1
    assert "<img" not in source


def test_a_page_that_is_blank_or_at_fault_would_be_seen(chromium: str, tmp_path: Path) -> None:
    page = write_report(tmp_path / "report.html", ALL["one_epoch"]())
    text = page.read_text(encoding="utf-8").replace("<main>", "<main><script>alert(1)</script>")
    page.write_text(text, encoding="utf-8")
    _, console = browse(chromium, page, "--dump-dom")
    assert any("Content Security Policy" in line for line in console)
    page.write_text("<!doctype html><title>blank</title>", encoding="utf-8")
    picture = tmp_path / "page.png"
    browse(chromium, page, f"--screenshot={picture}", "--window-size=390,1600")
    assert distinct_rows(picture) < DISTINCT_ROWS
