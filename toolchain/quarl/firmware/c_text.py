"""C text: whatever comes from a policy becomes a literal, a comment or a name, and nothing else.

Names and digests of an untrusted bundle are data. They enter C through these functions alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

COLUMNS = 100  # of a line of C, as .clang-format has it
COMMENT_CHARACTERS = 60  # of a name within a comment
NAME_CHARACTERS = 40
PLAIN = frozenset("_.,:;- []()+=<>")


def c_string(text: str) -> str:
    """Return a C string literal of exactly this text in UTF-8, whatever it holds.

    Octal escapes end after three digits, so the next character stays its own; `?` is escaped
    because of trigraphs.
    """
    return '"' + "".join(map(_string_byte, text.encode("utf-8", "surrogatepass"))) + '"'


def c_comment(text: str) -> str:
    """Return the text for use within a comment: nothing in it can end the comment or the line."""
    shown = "".join(c if (c.isascii() and c.isalnum()) or c in PLAIN else "_" for c in text)
    return shown[:COMMENT_CHARACTERS]


def c_names(texts: Iterable[str]) -> dict[str, str]:
    """Return text -> C identifier in capitals, each one its own."""
    different = list(dict.fromkeys(texts))
    return dict(zip(different, c_enumerators(different), strict=True))


def c_enumerators(texts: Iterable[str]) -> list[str]:
    """Return one C identifier in capitals per text, no two of them the same."""
    names: list[str] = []
    taken: set[str] = set()
    for text in texts:
        stem = "".join(c.upper() if c.isascii() and c.isalnum() else "_" for c in text)
        name = stem = stem[:NAME_CHARACTERS]
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names.append(name)
    return names


def c_float(value: np.float32) -> str:
    """Return a C literal of exactly this finite float32."""
    mantissa, _, exponent = float(value).hex().partition("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}F"


def c_int(value: int) -> str:
    """Return a C literal of this int32; -2147483648 is not a constant of type int in C."""
    return str(value) if value != -(2**31) else "INT32_MIN"


def c_define(name: str, text: str) -> str:
    """Return the definition of a macro, over two lines where one would be too long."""
    line = f"#define {name} {text}"
    return line if len(line) <= COLUMNS else f"#define {name} \\\n    {text}"


def c_list(head: str, parts: Sequence[str], tail: str) -> str:
    """Return `head` + parts separated by commas + `tail`, wrapped under the first part.

    clang-format breaks a list of parameters or arguments so.
    """
    lines = [head]
    for index, part in enumerate(parts):
        text = part + (tail if index == len(parts) - 1 else ",")
        spaced = f"{lines[-1]}{'' if index == 0 else ' '}{text}"
        if index and len(spaced) > COLUMNS:
            lines.append(" " * len(head) + text)
        else:
            lines[-1] = spaced
    return "\n".join(lines) if parts else head + tail


def _string_byte(byte: int) -> str:
    if byte in b'"\\?':
        return "\\" + chr(byte)
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
