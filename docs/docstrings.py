"""Docstrings as reStructuredText: they are plain prose with code in single backquotes."""

import re
from typing import Any

CODE = re.compile(r"`[^`\n]+`(?:_+)?")
SPECIAL = re.compile(r"([*|\\])|(?<=\w)(_)(?=\W|$)")


def escape(text: str) -> str:
    """A line with what reStructuredText reads as markup escaped, outside of code."""
    out, at = [], 0
    for code in CODE.finditer(text):
        out += [SPECIAL.sub(r"\\\1\2", text[at : code.start()]), f"`{code[0]}`"]
        at = code.end()
    out.append(SPECIAL.sub(r"\\\1\2", text[at:]))
    return "".join(out)


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape prose; leave examples (`>>>` up to an empty line) and drawn blocks (after `::`)."""
    example, drawn_from = False, None
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            example = False
            continue
        if drawn_from is not None and indent <= drawn_from:
            drawn_from = None
        example = example or line.lstrip().startswith(">>>")
        if example or drawn_from is not None:
            continue
        if line.rstrip().endswith("::"):
            drawn_from = indent
        lines[i] = escape(line)
