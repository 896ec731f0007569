"""Text from files: checked where it is read, escaped where it is written.

One function for each kind of output: `terminal_text`, `markdown_line`, `xml_text`, `sheet_text`;
HTML and JSON escape their own marks, and take `printable` text. C source has its own in
`quarl.firmware.render`.
"""

from __future__ import annotations

import re
import unicodedata

from quarl.errors import InputError

DIGEST = re.compile(r"[0-9a-f]{64}")


def digest_text(value: object, where: str) -> str:
    """Return a SHA-256 in hexadecimal; `where` names the field.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, str) or DIGEST.fullmatch(value) is None:
        raise InputError(f"{where} is {shortened(value)}, it must be 64 hexadecimal digits")
    return value


def shortened(value: object, most: int = 60) -> str:
    """Return what was found, quoted and cut, for a message."""
    if isinstance(value, int) and value.bit_length() > 4 * most:  # Python refuses to show it
        return f"a whole number of {value.bit_length():,} bits"
    text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= most else f"{text[:most]}..."


def printable(text: str, keep: str = "") -> str:
    """Return the text with every character that has no picture as its escape: control characters,
    marks of direction, halves of characters. The characters in `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep or unicodedata.category(c) == "Zs" else _escaped(c)
        for c in text
    )


def terminal_text(text: str) -> str:
    """Return lines that cannot move the cursor, change colours or give orders to a CI service, as
    lines that begin with `::` or hold `##[` do on GitHub.
    """
    return "\n".join(_harmless(printable(line)) for line in text.split("\n"))


def message_text(text: str) -> str:
    """Return an error's message for a terminal: lines after the first are indented, so that a name
    in it cannot begin a line that looks like a result.
    """
    first, *rest = terminal_text(text).split("\n")
    return "\n".join([first, *(line if line.startswith("  ") else f"  {line}" for line in rest)])


def markdown_line(text: str) -> str:
    """Return the text on one line, with nothing that Markdown or HTML would take for markup."""
    return " ".join(printable(" ".join(text.split())).translate(_MARKDOWN).split(" "))


def xml_text(text: str) -> str:
    """Return the text with nothing that XML 1.0 cannot hold; lines stay lines."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", printable(text, keep="\n"))


def sheet_text(value: object) -> str:
    """Return a value for a cell of CSV: text that a spreadsheet would take for a formula begins
    with an apostrophe, as text does there; numbers stay numbers.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


_MARKDOWN = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "\\`*_[]|~#!$"},
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
    }
)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # section 2.2


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _harmless(line: str) -> str:
    if line.lstrip().startswith("::"):
        line = line.replace("::", "\\x3a:", 1)
    return line.replace("##[", "#\\x23[")
