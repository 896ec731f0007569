"""Writes a file whole or not at all."""

from __future__ import annotations

from pathlib import Path

from quarl.errors import InputError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it, so that a reader never sees half of it.

    Raises:
        InputError: it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}): free space or name "
            "another place"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
