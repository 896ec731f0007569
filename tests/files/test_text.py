"""No text from a file gives orders to what shows it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.errors import InputError
from quarl.files.text import (
    digest_text,
    markdown_line,
    message_text,
    printable,
    sheet_text,
    shortened,
    terminal_text,
    xml_text,
)

CONTROLS = (
    "\0\a\b\t\v\f\r\x1b\x7f\x85\x9b\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff"
)
HOSTILE = [
    "\x1b[2J\x1b[H",
    "\x1b]8;;http://example.org\x1b\\click\x1b]8;;\x1b\\",
    "name\nPASS: nav_ppo may be released",
    "::error::forged",
    "  ::set-output name=passed::true",
    "##[add-mask]x",
    "a\u202eb",
    "<img src=x onerror=alert(1)>",
    "[click](http://example.org)",
    "![](http://example.org/x.png)",
    "# heading",
    "| a | b |",
    "&lt;b&gt;",
    "`code` **bold** ~~gone~~ $x$",
    "\ud800",
    "]]><x/>",
]
anything = (
    st.text(st.characters(codec=None)) | st.sampled_from(HOSTILE) | st.text(CONTROLS + "a:#\n")
)


@given(anything)
def test_printable_text_holds_nothing_that_has_no_picture(text: str) -> None:
    shown = printable(text)
    assert not set(shown) & set(CONTROLS)
    assert "\n" not in shown
    shown.encode()
    assert printable(shown) == shown


@given(anything)
def test_a_terminal_gets_lines_and_no_orders(text: str) -> None:
    lines = terminal_text(text).split("\n")
    assert len(lines) == len(text.split("\n"))
    for line in lines:
        assert not set(line) & set(CONTROLS)
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


@given(anything)
def test_only_the_first_line_of_a_message_begins_at_the_margin(text: str) -> None:
    assert all(line.startswith("  ") for line in message_text(f"quarl: {text}").split("\n")[1:])


@given(anything)
def test_markdown_gets_one_line_and_no_markup(text: str) -> None:
    line = markdown_line(text)
    assert "\n" not in line
    bare = re.sub(r"\\[\\`*_\[\]|~#!$]|&(amp|lt|gt);", "", line)
    assert not set(bare) & set("\\`*_[]|~#!$<>&" + CONTROLS) - {"\\"}
    assert not re.search(r"\\[\\`*_\[\]|~#!$]", bare)


class _Tags(HTMLParser):
    def handle_starttag(self, tag: str, attrs: object) -> None:
        pytest.fail(f"a tag: {tag}")


@given(anything)
def test_markdown_gets_no_html(text: str) -> None:
    _Tags().feed(markdown_line(text))


@given(anything)
def test_xml_gets_nothing_it_cannot_hold(text: str) -> None:
    assert all(c == "\n" or c.isprintable() or ord(c) >= 0x20 for c in xml_text(text))
    xml_text(text).encode()


def test_plain_text_stays_as_it_is() -> None:
    plain = "nav_ppo: 39.80 -> 39.89 (-0.50 to +0.67), ≥ µs ✅ ü\u00a0\u202f5"
    assert printable(plain) == terminal_text(plain) == xml_text(plain) == plain
    assert terminal_text("a: b\n  c::d") == "a: b\n  c::d"


@pytest.mark.parametrize(
    "digest", ["0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", 7, None, b"0" * 64]
)
def test_what_is_no_digest_is_refused(digest: object) -> None:
    with pytest.raises(InputError, match=r"origin.sha256 is .* 64 hexadecimal"):
        digest_text(digest, "origin.sha256")
    assert digest_text("0f" * 32, "x") == "0f" * 32


@given(anything | st.integers() | st.lists(st.text()))
def test_what_was_found_is_shown_short(value: object) -> None:
    assert len(shortened(value)) <= 63
    assert "\n" not in shortened(value)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1+1", "\\t=1+1"),
        ("  =1+1", "'  =1+1"),
        ("a\nb", "a\\nb"),
        ("-1", "'-1"),
        (-1, "-1"),
        (0.5, "0.5"),
        (None, ""),
        ("nav_ppo", "nav_ppo"),
    ],
)
def test_a_cell_is_no_formula_for_a_spreadsheet(value: object, cell: str) -> None:
    assert sheet_text(value) == cell
