"""Hostile text in every place of the report's page, in drawings and in tables of notebooks: nothing
but text comes out.
"""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given, settings
from markupsafe import Markup

from quarl.files.html_table import html_table
from quarl.reports import svg
from quarl.reports.page import (
    Cell,
    Column,
    Facts,
    Figure,
    Finding,
    Gallery,
    KeyFigure,
    Note,
    Part,
    Section,
    Summary,
    Table,
    Tag,
    render_page,
)
from tests.files.test_text import CONTROLS, anything


class Outline(HTMLParser):
    """The tags of a page with the names of their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_decl(self, decl: str) -> None:
        self.found.append((decl, ()))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", ()))


def page(text: str) -> str:
    """Return a page that shows the text wherever a page can show any."""
    tag = Tag(text, "measured")
    cell = Cell(text, text, tag, svg.strip(10, 10, [svg.text(1, 1, text)]), text)
    table = Table(text, (Column(text), Column(text)), ((cell, cell), (cell,)), is_folded=True)
    drawing = svg.drawing(10, 10, text, [svg.element("title", text, aria_label=text)])
    figure = Figure(text, drawing, text, table, tag)
    gallery = Gallery((figure, Facts(text, ((text, cell),))), ((Markup("<b>x</b>"), text),))
    parts: tuple[Part, ...] = (table, figure, gallery, Note(text, is_absent=True), Note(text))
    finding, key = Finding(text, text, text, text), KeyFigure(text, text, text, tag)
    summary = Summary(text, "fail", text, text, (text,), (finding,), (text,), (key,))
    return render_page(summary, (Section("anchor", text, text, parts),), text)


@settings(max_examples=40)
@given(anything)
def test_a_page_holds_no_markup_of_a_name(text: str) -> None:
    hostile, plain = page(f"x{text}x"), page("xx")
    assert Outline(hostile).found == Outline(plain).found
    assert not set(hostile) & (set(CONTROLS) - set("\t\n"))
    hostile.encode()


@given(anything)
def test_a_table_of_a_notebook_holds_no_markup_of_a_name(text: str) -> None:
    found, plain = (html_table(words, [(words, words)]) for words in (text, "x"))
    assert Outline(found).found == Outline(plain).found
