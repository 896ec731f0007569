"""Digests of files that are held in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file in hexadecimal, by name, sorted."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
