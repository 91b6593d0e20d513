"""The browser that looks at the reports runs scripts and draws a picture, with no network."""

import subprocess
from pathlib import Path

PAGE = """<!doctype html><title>before</title><body>
<script>document.title = ["af", "ter"].join(""); document.body.append("drawn")</script>"""


def run_chromium(chromium: str, folder: Path, *flags: str) -> str:
    """Run Chromium on the page, with its profile in `folder`, and return what it prints."""
    page = folder / "page.html"
    page.write_text(PAGE, encoding="utf-8")
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        *flags,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_chromium_runs_scripts(chromium: str, tmp_path: Path) -> None:
    dom = run_chromium(chromium, tmp_path, "--dump-dom")
    assert "<title>after</title>" in dom
    assert "drawn" in dom


def test_chromium_takes_screenshots(chromium: str, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    run_chromium(chromium, tmp_path, f"--screenshot={picture}", "--window-size=400,300")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
