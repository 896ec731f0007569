"""Writes a file whole or not at all: readers and a killed writer leave the old bytes or the new.

The bytes go into a fresh file of the target's folder, created with O_EXCL so that no link is
followed, are forced to disk and renamed. Two writers never share it. The writer holds a lock on it,
so what a killed one left behind is told from what is being written, and removed by the next.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quarl.errors import InputError
from quarl.files.system import (
    MOVES_OPEN_FILES,
    NEW,
    NO_LINK,
    NO_WAIT,
    READ,
    force,
    force_folder,
    hold,
)

SCRATCH = ".quarl-"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never half of either.

    Raises:
        InputError: it cannot be written; nothing was changed. A device or a pipe, or a link to one,
            is not replaced by a file.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():  # root may rename a file onto /dev/null
            raise OSError(errno.EINVAL, "it is a device or a pipe")
        with _scratch_file(path) as (scratch, descriptor):
            write_all(descriptor, data)
            force(descriptor)
            if not MOVES_OPEN_FILES:
                os.close(descriptor)
            scratch.replace(path)
        force_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}): free space or name "
            "another place"
        ) from error


def new_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file that is not there yet and force it to disk. Permissions: `mode`, less the
    umask's.
    """
    descriptor = os.open(path, NEW, mode)
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


def scratch_prefix(name: str) -> str:
    """Return how scratch names for a target begin. Short for any name, and different for each."""
    return f"{SCRATCH}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}-"


@contextmanager
def _scratch_file(path: Path) -> Iterator[tuple[Path, int]]:
    sweep_files(path)
    while True:
        scratch = path.with_name(f"{scratch_prefix(path.name)}{secrets.token_hex(4)}")
        descriptor = os.open(scratch, NEW, 0o666)
        hold(descriptor)
        if os.fstat(descriptor).st_nlink:  # else another writer took it for a leftover just now
            break
        os.close(descriptor)
    try:
        yield scratch, descriptor
    finally:
        if not MOVES_OPEN_FILES:
            with suppress(OSError):  # closed already where it was moved
                os.close(descriptor)
        with suppress(FileNotFoundError):
            scratch.unlink()
        if MOVES_OPEN_FILES:
            os.close(descriptor)


def sweep_files(path: Path) -> None:
    """Remove what killed writers of this file left beside it."""
    for left in path.parent.glob(f"{scratch_prefix(path.name)}*"):
        with suppress(OSError):
            descriptor = os.open(left, READ | NO_LINK | NO_WAIT)
            try:
                if hold(descriptor):
                    left.unlink()
            finally:
                os.close(descriptor)
