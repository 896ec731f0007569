"""The page: its types, and HTML made of them.

In: sections of text, tables and figures. Out: one HTML document that loads nothing: styles and
script are in it, allowed by their hashes, and everything else is forbidden (Content Security Policy
Level 3, W3C). Text is escaped by the template; only drawings are markup.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, ClassVar, Literal, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from quarl.files.text import printable

State: TypeAlias = Literal["pass", "fail", "open", "unjudged"]


@dataclass(frozen=True, slots=True)
class Tag:
    """A word that says how a figure was made, or how a check went."""

    word: str
    css: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: a line of text or a drawing, with a smaller line below it."""

    text: str | Markup = ""
    note: str = ""
    tag: Tag | None = None
    strip: Markup | None = None  # a small bar beside the number
    code: str = ""  # an identifier, set in a fixed pitch


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title and how its cells are set."""

    title: str
    css: Literal["text", "number", "wide"] = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns; the first cell of a row names it."""

    form: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]  # a row of one cell is the heading of those below it
    is_folded: bool = False  # shown when the reader opens it
    css: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing, what it shows in words, and its numbers as a table that can be opened."""

    form: ClassVar[str] = "figure"
    title: str
    drawing: Markup
    caption: str
    table: Table | None = None
    kind: Tag | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, one a line."""

    form: ClassVar[str] = "facts"
    title: str
    rows: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Figures and facts side by side where there is room, with one key for all of them."""

    form: ClassVar[str] = "gallery"
    items: tuple[Figure | Facts, ...]
    key: tuple[tuple[Markup, str], ...] = ()  # a sample of each mark, and what it means


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph; `is_absent` says that something is missing from the page, and why."""

    form: ClassVar[str] = "note"
    text: str
    is_absent: bool = False


Part: TypeAlias = Table | Figure | Gallery | Note | Facts


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page, reached from its index."""

    name: str  # the anchor
    title: str
    lead: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A number of the summary."""

    label: str
    value: str
    note: str
    kind: Tag


@dataclass(frozen=True, slots=True)
class Finding:
    """Why the release fails: what was found and what to do next."""

    title: str
    code: str
    detail: str
    advice: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The top of the page."""

    policy: str
    state: State
    word: str  # PASS, FAIL, ...
    sentence: str
    facts: tuple[str, ...]
    findings: tuple[Finding, ...]
    hints: tuple[str, ...]  # changes that were measured to help
    key_figures: tuple[KeyFigure, ...]
    lines: tuple[tuple[str, str], ...] = ()  # the word's two: what it rests on, what is next


def render_page(summary: Summary, sections: tuple[Section, ...], version: str) -> str:
    """Return the HTML document; the same arguments give the same text."""
    styles, script = (_shipped(name) for name in ("report.css", "report.js"))
    values: dict[str, Any] = {
        "summary": summary,
        "sections": sections,
        "version": version,
        "styles": Markup(styles),  # our own file
        "script": Markup(script),
        "styles_hash": _csp_hash(styles),
        "script_hash": _csp_hash(script),
    }
    return _environment().get_template("report.html.j2").render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("quarl.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """Return text without what a page must not hold; drawings are escaped already."""
    return printable(value, keep="\n") if type(value) is str else value


def _shipped(name: str) -> str:
    return resources.files("quarl.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
