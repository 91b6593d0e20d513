"""The marks that charts are made of: the svg frame, axes, lines, points, text.

Colours are CSS classes, never values, so that one picture serves the light and the dark page.
Every chart is an image with a title and a description for those who don't see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backpass.report.element import Child, Element, shorten, tag, visible
from backpass.report.scales import Scale


@dataclass(frozen=True, slots=True)
class Plot:
    """A plotting area in an svg of width x height, with room for labels around it (pixels)."""

    width: float
    height: float
    left: float = 46
    right: float = 14
    top: float = 18
    bottom: float = 30

    @property
    def x_range(self) -> tuple[float, float]:
        """Left and right edge."""
        return self.left, self.width - self.right

    @property
    def y_range(self) -> tuple[float, float]:
        """Bottom and top edge: y grows upwards."""
        return self.height - self.bottom, self.top


def picture(
    ident: str,
    title: str,
    description: str,
    size: tuple[float, float],
    *marks: Child,
    data: str | None = None,
    class_: str = "chart",
) -> Element:
    """An svg image. `data` is what the hover script reads, as JSON."""
    return tag(
        "svg",
        tag("title", title, id=f"{ident}-title"),
        tag("desc", description, id=f"{ident}-desc"),
        *marks,
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
        class_=class_,
        id=ident,
        data_hover=data,
    )


def label(
    x: float, y: float, text: str, *, anchor: str = "middle", class_: str = "tick", most: int = 40
) -> Element:
    """Text at a point. Text that had to be cut shows in full when pointed at."""
    short = shorten(text, most)
    full = tag("title", text) if short != visible(text) else None
    return tag("text", full, short, x=x, y=y, text_anchor=anchor, class_=class_)


def segment(x1: float, y1: float, x2: float, y2: float, class_: str) -> Element:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def box(x: float, y: float, width: float, height: float, class_: str, *children: Child) -> Element:
    """A rectangle."""
    return tag("rect", *children, x=x, y=y, width=width, height=height, class_=class_)


def dot(x: float, y: float, radius: float, class_: str) -> Element:
    """A filled circle."""
    return tag("circle", cx=x, cy=y, r=radius, class_=class_)


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Element:
    """An open line through points."""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", d=path, class_=class_)


def y_axis(plot: Plot, scale: Scale, *, count: int = 5) -> list[Element]:
    """Horizontal grid lines with labels to their left."""
    left, right = plot.x_range
    marks = []
    for value, text in scale.ticks(count):
        y = scale(value)
        marks.append(segment(left, y, right, y, "grid"))
        marks.append(label(left - 6, y + 3.5, text, anchor="end"))
    return marks


def x_axis(
    plot: Plot, scale: Scale, ticks: Sequence[tuple[float, str]], name: str
) -> list[Element]:
    """The base line, tick labels below it, and the axis name at the right end."""
    left, right = plot.x_range
    base = plot.height - plot.bottom
    marks = [segment(left, base, right, base, "axis")]
    for value, text in ticks:
        x = scale(value)
        marks.append(segment(x, base, x, base + 4, "axis"))
        marks.append(label(x, base + 15, text))
    marks.append(label((left + right) / 2, plot.height - 3, name, class_="axis-name"))
    return marks
