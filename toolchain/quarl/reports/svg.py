"""SVG as text: elements whose attributes and contents are escaped, coordinates with two decimals.

Colours and strokes are classes of report.css, so a drawing follows the theme and needs no style
attribute, which the page forbids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from quarl.files.text import printable

Point = tuple[float, float]


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Return one element. Attributes are written with underscores for hyphens, `class_` for class;
    None leaves one out.
    """
    written = "".join(
        f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None
    )
    inner = Markup("").join(
        escape(child if isinstance(child, Markup) else printable(child)) for child in children
    )
    return Markup(
        f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"
    )  # every part is escaped


def drawing(
    width: float, height: float, label: str, parts: Iterable[Markup], css: str = "chart"
) -> Markup:
    """Return a whole drawing in a box of width x height units; `label` says in words what it
    shows.
    """
    box = f"0 0 {coordinate(width)} {coordinate(height)}"
    return element("svg", *parts, class_=css, viewBox=box, role="img", aria_label=label)


def strip(width: float, height: float, parts: Iterable[Markup], css: str = "strip") -> Markup:
    """Return a drawing that stretches to its cell; the numbers it shows stand beside it as text, so
    it is hidden from screen readers.
    """
    box = f"0 0 {coordinate(width)} {coordinate(height)}"
    return element(
        "svg", *parts, class_=css, viewBox=box, preserveAspectRatio="none", aria_hidden="true"
    )


def text(x: float, y: float, words: str, css: str = "label", anchor: str = "start") -> Markup:
    """Return a line of text; `anchor` is start, middle or end."""
    return element(
        "text", words, x=x, y=y, class_=css, text_anchor=None if anchor == "start" else anchor
    )


def line(start: Point, end: Point, css: str) -> Markup:
    """Return a straight line."""
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=css)


def rectangle(
    x: float, y: float, width: float, height: float, css: str, title: str | None = None
) -> Markup:
    """Return a rectangle; a title is shown where the pointer rests on it."""
    return element(
        "rect", *_title(title), x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), class_=css
    )


def disc(center: Point, radius: float, css: str, title: str | None = None) -> Markup:
    """Return a circle."""
    return element("circle", *_title(title), cx=center[0], cy=center[1], r=radius, class_=css)


def cross(center: Point, reach: float, css: str, title: str | None = None) -> Markup:
    """Return two diagonal strokes through a point."""
    x, y = center
    a, b, c, d = (coordinate(value) for value in (x - reach, y - reach, x + reach, y + reach))
    return element("path", *_title(title), d=f"M{a} {b}L{c} {d}M{a} {d}L{c} {b}", class_=css)


def path(points: Sequence[Point], css: str, *, closed: bool = False) -> Markup:
    """Return straight lines through the points."""
    steps = "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
    return element("path", d=f"M{steps}{'Z' if closed else ''}", class_=css)


def group(*parts: Markup, css: str | None = None, transform: str | None = None) -> Markup:
    """Return parts that belong together."""
    return element("g", *parts, class_=css, transform=transform)


def coordinate(value: float) -> str:
    """Return a coordinate with at most two decimals."""
    rounded = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if rounded in ("-0", "") else rounded


def _title(words: str | None) -> tuple[Markup, ...]:
    return () if words is None else (element("title", words),)


def _name(key: str) -> str:
    return {"viewBox": key, "preserveAspectRatio": key}.get(key, key.rstrip("_").replace("_", "-"))


def _value(value: str | float | None) -> Markup:
    return escape(coordinate(value) if isinstance(value, int | float) else printable(value or ""))
