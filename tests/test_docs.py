"""The documentation does what it says: every page's code runs, and so does every docstring's.

A page (README.md, docs/**/*.md) is one script, run in an empty folder: its `python` blocks in their
order and, at their place between them, the lines of its `console` blocks that start with
`$ backpass `. Every line keeps its number, so a traceback points into the page. A block after the
line `<!-- not run -->` is left out.
"""

import doctest
import importlib
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(p for p in ROOT.glob("docs/**/*.md") if "_build" not in p.parts),
]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>\w*)[^\n]*\n(?P<body>.*?)^ *(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
COMMAND = re.compile(r"^\$ (?P<command>backpass (?:.*\\\n)*.*)$", re.MULTILINE)
NOT_RUN = "<!-- not run -->"
DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


def script_of(page: str) -> str:
    """Return the script of a page, each line at its number in the page; "" if there is none."""
    lines = [""] * (page.count("\n") + 1)
    for block in FENCE.finditer(page):
        if page[: block.start()].rstrip().endswith(NOT_RUN):
            continue
        first = page.count("\n", 0, block.start("body"))
        body = textwrap.dedent(block["body"])
        if block["language"] == "console":
            body = COMMAND.sub(_call, _without_output(body))
        elif block["language"] != "python":
            continue
        code = body.splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines) if "".join(lines).strip() else ""


def _without_output(console: str) -> str:
    """Keep the commands of a console block; their output becomes empty lines."""
    kept = [" "] * len(console)
    for command in COMMAND.finditer(console):
        kept[command.start() : command.end()] = command[0]
    return "".join(new if old != "\n" else old for new, old in zip(kept, console, strict=True))


def _call(command: re.Match[str]) -> str:
    """Return Python that runs a command of the shell, over as many lines as it had."""
    text = command["command"].replace("\\\n", " ")
    call = f"__import__('subprocess').run({text!r}, shell=True, check=True)"
    return call + "\n" * command["command"].count("\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_page_runs(page: Path, tmp_path: Path) -> None:
    script = tmp_path / page.name
    script.write_text(script_of(page.read_text(encoding="utf-8")), encoding="utf-8")
    folder = tmp_path / "empty"
    folder.mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_the_examples_of_docstrings_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ">>> " not in source.read_text(encoding="utf-8"):
        return
    monkeypatch.chdir(tmp_path)
    parts = source.relative_to(ROOT / "src").with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    report = doctest.testmod(importlib.import_module(name), optionflags=DOCTEST_OPTIONS)
    assert report.attempted > 0, f"{name}: the examples are where doctest does not find them"
    assert report.failed == 0, f"{name}: see the captured output"


PAGE = """# A page

```python
x = 1
```

1. In a list:

   ```python
   if x:
       y = 2
   ```

<!-- not run -->
```python
never(
```

```console
$ backpass train \\
    digits
test accuracy 0.97
$ make demo
$ backpass info
```

````text
```python
neither(
```
````
"""


def test_a_page_becomes_a_script_line_by_line() -> None:
    expected = [""] * (PAGE.count("\n") + 1)
    expected[3] = "x = 1"
    expected[9:11] = ["if x:", "    y = 2"]
    run = "__import__('subprocess').run({!r}, shell=True, check=True)"
    expected[19] = run.format("backpass train      digits")
    expected[23] = run.format("backpass info")
    lines = [line.rstrip() for line in script_of(PAGE).split("\n")]
    assert lines == expected


def test_a_page_without_code_has_no_script() -> None:
    assert script_of("# Title\n\n```console\n$ make demo\n```\n") == ""
