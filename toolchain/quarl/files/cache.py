"""Files that were built once and are kept, each with its digest beside it.

In: where an entry lies. Out: its bytes or its path, or nothing where it is missing or is not what
was kept: a build that was cut off, a disk that failed, a file that somebody edited. A cache that
cannot be written costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import stat
from pathlib import Path

from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.open import digest_of, open_file, read_file


def kept_file(entry: Path) -> Path | None:
    """Return the path of an entry that is what was kept, None where it has to be built."""
    try:
        with open_file(entry) as file:
            found = digest_of(file)
        return entry if read_file(_beside(entry), 64) == found.encode() else None
    except InputError:
        return None


def kept_bytes(entry: Path) -> bytes | None:
    """Return the bytes of an entry that is what was kept, None where it has to be built."""
    try:
        data = read_file(entry)
        whole = read_file(_beside(entry), 64) == hashlib.sha256(data).hexdigest().encode()
    except InputError:
        return None
    return data if whole else None


def keep(entry: Path, data: bytes, *, executable: bool = False) -> None:
    """Keep the bytes as an entry, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        if entry.exists() and not entry.is_file():  # no entry of ours: moved out of the way
            entry.rename(entry.with_name(f"{entry.name}.{secrets.token_hex(4)}"))
    except OSError as error:
        raise InputError(f"{entry}: cannot be written ({error.strerror or error})") from error
    with contextlib.suppress(OSError):
        _beside(entry).unlink()  # until both are new, the entry counts as missing
    write_whole(entry, data)
    if executable:
        mode = stat.S_IMODE(entry.stat().st_mode)
        entry.chmod(mode | (mode & 0o444) >> 2)  # for whoever may read it
    write_whole(_beside(entry), hashlib.sha256(data).hexdigest().encode())


def _beside(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.sha256")
