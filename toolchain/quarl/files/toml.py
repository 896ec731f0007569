"""Reads TOML within bounds: a small file cannot ask for much memory or time.

In: the bytes or the path of a TOML file. Out: a dict of plain values. `tomllib` takes memory that
grows with the square of a key's parts and recurses into nested values, so both are counted before.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from quarl.errors import InputError, UntrustedFileError
from quarl.files.numbers import bounded
from quarl.files.open import read_file
from quarl.files.text import shortened

MOST_BYTES = 256 << 10
MOST_LEVELS = 64  # of nested values, and of the parts of a key
_INT64 = 1 << 63
# Strings and comments are skipped; what is left tells how deep keys and values are.
_TOKEN = re.compile("\"\"\"|'''|[\"'#\\n\\[\\]{}=,.]")
_ENDS = {
    '"""': re.compile(r'(?:\\.|(?!""")[^\\])*+"""', re.DOTALL),
    "'''": re.compile(r"(?:(?!''').)*+'''", re.DOTALL),
    '"': re.compile(r'(?:\\.|[^"\\\n])*+["\n]'),
    "'": re.compile(r"[^'\n]*+['\n]"),
    "#": re.compile(r"[^\n]*+\n"),
}


def read_toml(path: Path) -> dict[str, Any]:
    """Return the table of a TOML file.

    Raises:
        InputError: as `open_file` and `parse_toml`.
    """
    return parse_toml(read_file(path, MOST_BYTES), str(path))


def parse_toml(text: bytes | str, where: str) -> dict[str, Any]:
    """Return the table in a TOML text; `where` names it in errors.

    Raises:
        InputError: not UTF-8, not TOML, or an integer of more than 64 bits.
        UntrustedFileError: larger or deeper than any file of quarl's users.
    """
    if len(text) > MOST_BYTES:
        raise UntrustedFileError(f"{where}: {len(text):,} bytes, at most {MOST_BYTES:,} are read")
    try:
        decoded = text if isinstance(text, str) else text.decode()
        levels = _levels(decoded)
        if levels > MOST_LEVELS:
            raise UntrustedFileError(
                f"{where}: a key or a value is {levels} levels deep, at most {MOST_LEVELS} are read"
            )
        table = tomllib.loads(decoded, parse_float=lambda digits: bounded(float(digits)))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: cannot be read: not UTF-8 text ({error.reason}): save it as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; a number of 5,000 digits
        raise InputError(f"{where}: not a TOML file: {error}") from error
    _check_integers(table, where)
    return table


def _levels(text: str) -> int:
    """Return how deep the deepest key or value is, without parsing. Every character is seen
    once.
    """
    deepest = parts = brackets = at = 0
    while (match := _TOKEN.search(text, at)) is not None:
        token, at = match.group(), match.end()
        if token in _ENDS:
            end = _ENDS[token].match(text, at)
            at = len(text) if end is None else end.end()
            continue
        if token == ".":
            parts += 1
        else:
            parts = 0
            brackets += (token in "[{") - (token in "]}")
        deepest = max(deepest, parts + 1, brackets)
    return deepest


def _check_integers(table: dict[str, Any], where: str) -> None:
    """Check that integers have the 64 bits that TOML promises: larger ones are no float either."""
    pending: list[tuple[str, Any]] = list(table.items())
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{key}.{inner}", entry) for inner, entry in value.items()]
        elif isinstance(value, list):
            pending += [(key, entry) for entry in value]
        elif isinstance(value, int) and not -_INT64 <= value < _INT64:
            raise InputError(f"{where}: {shortened(key)}: an integer of more than 64 bits")
