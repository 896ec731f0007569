"""Writes a file whole or not at all: readers and a killed writer leave the old bytes or the new.

The bytes go into a fresh file of the target's folder, created with O_EXCL so that no link is
followed, are forced to disk and renamed. Two writers never share it. The writer holds a lock on it,
so what a killed one left behind is told from what is being written, and removed by the next.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quarl.errors import InputError

SCRATCH = ".quarl-"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_NO_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # what some file systems say instead


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never half of either.

    Raises:
        InputError: it cannot be written; nothing was changed.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with _scratch_file(path) as (scratch, descriptor):
            write_all(descriptor, data)
            force(descriptor)
            scratch.replace(path)
        force_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}): free space or name "
            "another place"
        ) from error


def new_file(path: Path, data: bytes) -> None:
    """Write a file that is not there yet and force it to disk. Permissions: the umask's."""
    descriptor = os.open(path, _NEW, 0o666)
    try:
        write_all(descriptor, data)
        force(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes; a system call may take fewer."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def force(descriptor: int) -> None:
    """Force a file's bytes to disk, where its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def force_folder(folder: Path) -> None:
    """Force a folder's names to disk, where its file system can."""
    descriptor = os.open(folder, _FOLDER)
    try:
        force(descriptor)
    finally:
        os.close(descriptor)


def scratch_prefix(name: str) -> str:
    """Return how scratch names for a target begin. Short for any name, and different for each."""
    return f"{SCRATCH}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}-"


def hold(descriptor: int) -> bool:
    """Lock an opened file or folder until it is closed; return False where another process has
    it. A file system without locks counts as held by another, so nothing is removed there.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def _scratch_file(path: Path) -> Iterator[tuple[Path, int]]:
    sweep_files(path)
    while True:
        scratch = path.with_name(f"{scratch_prefix(path.name)}{secrets.token_hex(4)}")
        descriptor = os.open(scratch, _NEW, 0o666)
        hold(descriptor)
        if os.fstat(descriptor).st_nlink:  # else another writer took it for a leftover just now
            break
        os.close(descriptor)
    try:
        yield scratch, descriptor
    finally:
        with suppress(FileNotFoundError):
            scratch.unlink()
        os.close(descriptor)


def sweep_files(path: Path) -> None:
    """Remove what killed writers of this file left beside it."""
    for left in path.parent.glob(f"{scratch_prefix(path.name)}*"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if hold(descriptor):
                    left.unlink()
            finally:
                os.close(descriptor)
