"""Opens files that are not quarl's own: regular files only, within a bound, and no link inside a
folder that a stranger may have filled.

Goes in: a path that the user named, or the name of a file inside a bundle. Comes out: an opened
file, its bytes, or its SHA-256. What is checked is what was opened: never the path a second time.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from quarl.errors import InputError, UntrustedFileError
from quarl.files.system import NO_WAIT, READ, open_beneath

# A policy for a small board has kilobytes to megabytes; this leaves room for optimiser state.
MAX_FILE_BYTES = 1 << 30
MAX_DOCUMENT_BYTES = 1 << 20  # JSON, TOML and other text written by people or by quarl
CHUNK_BYTES = 1 << 20
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_file(path: Path, most_bytes: int | None = None) -> BinaryIO:
    """Return the opened file that the user named; links are followed.

    Raises:
        InputError: there is none, it is no regular file or may not be read.
        UntrustedFileError: it is larger than `most_bytes`, `MAX_FILE_BYTES` unless given.
    """
    return _checked(path, lambda: os.open(path, READ | NO_WAIT), most_bytes)


def open_member(folder: Path, name: str, most_bytes: int | None = None) -> BinaryIO:
    """Return the opened file `name` inside a folder; a link on the way to it is refused.

    Raises:
        InputError, UntrustedFileError: as `open_file`; or the name leads outside the folder.
    """
    return _checked(folder / name, lambda: _open_beneath(folder, name), most_bytes)


def read_file(path: Path, most_bytes: int | None = None) -> bytes:
    """Return the bytes of the file that the user named, checked as in `open_file`."""
    with open_file(path, most_bytes) as file:
        return read_open(file, path, most_bytes)


def read_member(folder: Path, name: str, most_bytes: int | None = None) -> bytes:
    """Return the bytes of the file `name` inside a folder, checked as in `open_member`."""
    with open_member(folder, name, most_bytes) as file:
        return read_open(file, folder / name, most_bytes)


def read_open(file: BinaryIO, path: Path, most_bytes: int | None = None) -> bytes:
    """Return the rest of an opened file; one that grows while it is read is refused.

    Raises:
        InputError: it cannot be read. UntrustedFileError: more than `most_bytes`.
    """
    most = MAX_FILE_BYTES if most_bytes is None else most_bytes
    try:
        data = file.read(most + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > most:
        raise _too_large(path, len(data), most)
    return data


def digest_of(file: BinaryIO) -> str:
    """Return the SHA-256 of an opened file in hexadecimal."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def source_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's relative names and contents in sorted order,
    in hexadecimal.
    """
    if not path.is_dir():
        with open_file(path) as file:
            return digest_of(file)
    digest = hashlib.sha256()
    for member in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{member.relative_to(path).as_posix()}\0{source_digest(member)}\n".encode())
    return digest.hexdigest()


def is_inside(name: str) -> bool:
    """Return whether a relative name stays inside the folder it is resolved in."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name


def _open_beneath(folder: Path, name: str) -> int:
    if not is_inside(name):
        raise UntrustedFileError(f"{folder}: {name!r} lies outside the folder: do not trust it")
    return open_beneath(folder, name)


def _checked(path: Path, opened: Callable[[], int], most_bytes: int | None) -> BinaryIO:
    most = MAX_FILE_BYTES if most_bytes is None else most_bytes
    try:
        descriptor = opened()
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file: check the path") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(path, status.st_mode)
        if status.st_size > most:
            raise _too_large(path, status.st_size, most)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _not_regular(path: Path, mode: int) -> InputError:
    if stat.S_ISDIR(mode):
        return InputError(f"{path}: is a folder, a file is needed: name the policy file inside it")
    kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "something else")
    return UntrustedFileError(f"{path}: is {kind}, a regular file is needed: copy its content")


def _too_large(path: Path, size: int, most: int) -> UntrustedFileError:
    return UntrustedFileError(
        f"{path}: {size:,} bytes, at most {most:,} are read: this is not a policy file for a "
        "small board"
    )


def _unreadable(path: Path, error: OSError) -> InputError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return UntrustedFileError(
            f"{path}: is a link or lies behind one, and links are not followed inside a bundle: "
            "copy the file itself"
        )
    return InputError(f"{path}: cannot be read ({error.strerror or error}): check the path")
