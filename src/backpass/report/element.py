"""HTML as a tree, escaped by construction: text can only become text.

`tag` builds elements; `render` writes them. There is no way from data to markup: the one
unescaped kind of child, `Verbatim`, holds our own style sheet and script, and is refused anywhere
else. Characters that a page cannot hold or that change the direction of what follows (control
characters, lone surrogates, bidirectional overrides) become visible escapes such as \\x1b.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*\Z")
# C0 and C1 controls but tab and line feed, bidirectional marks and overrides, line separators, the
# byte-order mark, non-characters, lone surrogates.
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ufeff\ufffe\uffff\ud800-\udfff]"
)
_VOID = frozenset({"meta", "br", "col", "hr"})
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_LINES = frozenset({"html", "head", "body", "meta", "title", "style", "script", "header", "nav"})
_LINES |= {"main", "section", "footer", "h1", "h2", "h3", "p", "figure", "figcaption", "details"}
_LINES |= {"summary", "table", "thead", "tbody", "tr", "svg", "ul", "li", "div", "g", "dl"}


@dataclass(frozen=True, slots=True)
class Verbatim:
    """The text of our own style sheet or script; never anything that comes from data."""

    source: str


@dataclass(frozen=True, slots=True)
class Element:
    """An HTML or SVG element; made by `tag`, which checks it."""

    name: str
    attributes: tuple[tuple[str, str], ...]
    children: tuple["Node", ...]


Node: TypeAlias = "Element | Verbatim | str"
Child: TypeAlias = "Node | Iterable[Child] | None"


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Element:
    """An element; children are elements, text, None (left out) or iterables of them.

    Attributes lose a trailing underscore, and other underscores become hyphens: `class_="a"`,
    `text_anchor="end"`. None leaves an attribute out. Numbers are written with two decimals at
    most, which is plenty for pixels.

    >>> render(tag("p", "a < b", class_="note"))
    '<p class="note">a &lt; b</p>\\n'

    Raises:
        ValueError: for an event handler, a style attribute, a link that leaves the page, or
            verbatim text outside style and script.
    """
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is no element name.")
    nodes = tuple(_flatten(children))
    pairs = tuple(
        (_name(key), _value(value)) for key, value in attributes.items() if value is not None
    )
    for key, value in pairs:
        _refuse_active(key, value)
    if (name in ("style", "script")) != any(isinstance(node, Verbatim) for node in nodes):
        raise ValueError(f"<{name}>: verbatim text belongs into style and script, and only there.")
    if any(isinstance(node, Verbatim) and "</" in node.source for node in nodes):
        raise ValueError(f"<{name}>: the verbatim text would close its element.")
    return Element(name, pairs, nodes)


def render(root: Node) -> str:
    """The markup of a tree, as text that UTF-8 can encode."""
    out: list[str] = []
    waiting: list[Node | tuple[str]] = [root]
    while waiting:
        match waiting.pop():
            case (closing,):
                out.append(closing)
            case str() as text:
                out.append(_escape(text))
            case Verbatim(source):
                out.append(source)
            case Element(name, attributes, children):
                written = "".join(f' {key}="{_escape(value)}"' for key, value in attributes)
                out.append(f"<{name}{written}>")
                end = "\n" if name in _LINES else ""
                waiting.append(("" if name in _VOID else f"</{name}>{end}",))
                waiting.extend(reversed(children))
    return "".join(out)


def visible(text: str) -> str:
    """The text with unshowable characters written as escapes.

    >>> visible("a\\x00b")
    'a\\\\x00b'
    """
    return _UNSHOWABLE.sub(_as_escape, text)


def shorten(text: str, most: int) -> str:
    """The text in at most `most` characters; an ellipsis stands for what was cut from its middle.

    The end stays, because names that begin alike mostly differ there.

    >>> shorten("blocks.10.attention.weight", 16)
    'blocks.10.…eight'
    """
    text = visible(text)
    if len(text) <= most:
        return text
    tail = (most - 1) // 3
    return text[: most - 1 - tail] + "…" + text[len(text) - tail :]


def _escape(text: str) -> str:
    return re.sub("[&<>\"']", lambda found: _ENTITIES[found.group()], visible(text))


def _as_escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _flatten(children: Iterable[Child]) -> Iterable[Node]:
    for child in children:
        if isinstance(child, str | Element | Verbatim):
            yield child
        elif child is not None:
            yield from _flatten(child)


def _name(keyword: str) -> str:
    name = keyword.rstrip("_").replace("_", "-")
    if not _NAME.match(name):
        raise ValueError(f"{keyword!r} is no attribute name.")
    return name


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def _refuse_active(key: str, value: str) -> None:
    if key.lower().startswith("on") or key.lower() == "style":
        raise ValueError(
            f"attribute {key!r} is refused: pages carry no code or style in attributes."
        )
    if key.lower() in ("href", "src", "action", "formaction", "data") and not value.startswith("#"):
        raise ValueError(f"{key}={value!r} is refused: links stay inside the page.")
