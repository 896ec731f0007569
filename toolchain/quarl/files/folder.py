"""Writes a folder whole or not at all, in the place of an older one.

The new folder is built beside the target, in a scratch folder `.quarl-<digest of its name>-*`:
    list    the names of the files of `new`, there until all of them are written
    new     the new folder; after the exchange the old one
    old     the old folder, only where the system cannot exchange two folders in one call
`recover` finishes what a killed writer left there. Only files are removed that `list` names, or
that the owner of the old folder names; anything else is never touched.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from quarl.errors import InputError
from quarl.files.atomic import new_file, scratch_prefix
from quarl.files.system import OPENS_FOLDERS, close, force_folder, hold, open_folder

LIST, NEW, OLD = "list", "new", "old"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}

Listing = Callable[[Path], Iterable[str]]
"""Returns the names of the files in a folder that may be removed, last the one by which it knows
the folder; raises `InputError` where there is any other.
"""


def replace_folder(target: Path, files: Mapping[str, bytes], owned: Listing) -> None:
    """Write the files as the folder `target`, an absolute path; an older folder there is replaced.

    Raises:
        OSError: it cannot be written. What `owned` raises. Nothing was changed then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target, owned)
    scratch, lock = _scratch_folder(target)
    try:
        new_file(scratch / LIST, "\0".join(files).encode())
        _fill(scratch / NEW, files)
        (scratch / LIST).unlink()
        force_folder(scratch)
        _put(scratch, target, owned)
        force_folder(target.parent)
    finally:
        with suppress(OSError, InputError):
            _recover_from(scratch, target, owned)
        close(lock)


def recover(target: Path, owned: Listing) -> None:
    """Put the folder back under its name where a writer was killed before it could, and remove
    what killed writers left.
    """
    for scratch in sorted(target.parent.glob(f"{scratch_prefix(target.name)}*")):
        with suppress(OSError, InputError):
            lock = open_folder(scratch, follow=False)
            try:
                if lock is not None and hold(lock):
                    _recover_from(scratch, target, owned)
            finally:
                close(lock)


def exchange(scratch: Path, target: Path) -> None:
    """Let scratch/new and `target` change places."""
    new = scratch / NEW
    if not _exchange_at_once(new, target):
        target.rename(scratch / OLD)
        new.rename(target)
        (scratch / OLD).rename(new)


def _exchange_at_once(one: Path, other: Path) -> bool:
    """Return False where the system or the file system cannot."""
    if not OPENS_FOLDERS:
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _fill(new: Path, files: Mapping[str, bytes]) -> None:
    new.mkdir()
    for name, data in files.items():
        path = new / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new_file(path, data)
    for folder in sorted({new, *(path for path in new.rglob("*") if path.is_dir())}):
        force_folder(folder)


def _put(scratch: Path, target: Path, owned: Listing) -> None:
    """Move scratch/new to the target; what lay there is then in scratch/new."""
    if not target.exists():
        (scratch / NEW).rename(target)
    else:
        exchange(scratch, target)
        try:
            owned(scratch / NEW)  # checked where nobody adds to it any more
        except BaseException:
            exchange(scratch, target)
            raise


def _scratch_folder(target: Path) -> tuple[Path, int | None]:
    """Return a fresh folder beside the target, and the descriptor that holds its lock; None where
    the system opens no folders.
    """
    while True:
        scratch = target.with_name(f"{scratch_prefix(target.name)}{secrets.token_hex(4)}")
        scratch.mkdir(0o700)
        lock = open_folder(scratch, follow=False)
        if lock is not None:
            hold(lock)
        if scratch.exists():  # else another writer took it for a leftover just now
            return scratch, lock
        close(lock)


def _recover_from(scratch: Path, target: Path, owned: Listing) -> None:
    new, old = scratch / NEW, scratch / OLD
    if old.exists() and new.exists() and not target.exists():
        new.rename(target)  # it was complete before the old one was moved away
    if (scratch / LIST).exists():
        _remove(new, (scratch / LIST).read_text().split("\0"))
        _remove(scratch, [LIST])
    for left in (old, new):
        if left.exists():
            _remove(left, owned(left))
    _remove(scratch, [])


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove these files of a folder and every folder that is then empty. The last one goes last:
    by it the owner knows a folder that was removed in part.
    """
    *most, last = [*names] or [""]
    for name in most:
        with suppress(FileNotFoundError, NotADirectoryError):
            (folder / name).unlink()
    for inner, _, _ in os.walk(folder, topdown=False):
        if Path(inner) != folder:
            with suppress(OSError):
                Path(inner).rmdir()
    if last:
        with suppress(FileNotFoundError, NotADirectoryError):
            (folder / last).unlink()
    with suppress(OSError):
        folder.rmdir()
