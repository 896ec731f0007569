"""Text from files: checked where it is read."""

from __future__ import annotations

import re

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
    text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= most else f"{text[:most]}..."
