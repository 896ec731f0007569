"""What this operating system has: flags of `open`, locks, folders that can be opened.

Out: constants and small functions that work on Linux, macOS and Windows. The rest of quarl asks
here and never for the system's name. Where a system lacks something, this is said at its function.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]


def _flag(name: str) -> int:
    """Return a flag of `open`, 0 where the system has none of that name."""
    return int(getattr(os, name, 0))


# Windows would change the ends of lines without O_BINARY.
READ = os.O_RDONLY | _flag("O_CLOEXEC") | _flag("O_BINARY") | _flag("O_NOINHERIT")
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _flag("O_NOFOLLOW")
NEW |= _flag("O_CLOEXEC") | _flag("O_BINARY") | _flag("O_NOINHERIT")
# A FIFO must not make the open wait, and no device may become the controlling terminal.
NO_WAIT = _flag("O_NONBLOCK") | _flag("O_NOCTTY")
NO_LINK = _flag("O_NOFOLLOW")
FOLDER = READ | _flag("O_DIRECTORY")
OPENS_FOLDERS = hasattr(os, "O_DIRECTORY")
"""Whether a folder can be opened, held and forced to disk."""
MOVES_OPEN_FILES = OPENS_FOLDERS
"""Whether a file can be renamed and removed while it is open; Windows refuses."""


HAS_LOCKS = fcntl is not None


def hold(descriptor: int) -> bool:
    """Lock an opened file or folder until it is closed; return False where another process has
    it. A file system or a system without locks counts as held by another, so nothing is removed
    there.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def open_folder(path: Path, *, follow: bool = True) -> int | None:
    """Return the descriptor of a folder, None where the system opens none.

    Raises:
        OSError: there is no such folder, or it is a link and `follow` says no.
    """
    return os.open(path, FOLDER | (0 if follow else NO_LINK)) if OPENS_FOLDERS else None


def close(descriptor: int | None) -> None:
    """Close what `open_folder` returned."""
    if descriptor is not None:
        os.close(descriptor)


def open_beneath(folder: Path, name: str) -> int:
    """Return the descriptor of the file `name`, opened for reading inside a folder; no link on the
    way is followed.

    Without descriptors of folders each step is looked at, and the opened file is compared with
    what was looked at last.

    Raises:
        OSError: there is none, or it lies behind a link.
    """
    *folders, last = PurePosixPath(name).parts
    if not OPENS_FOLDERS or os.open not in os.supports_dir_fd:
        return _open_looked_at(folder, [*folders, last])
    here = os.open(folder, FOLDER)
    try:
        for part in folders:
            inner = os.open(part, FOLDER | NO_LINK, dir_fd=here)
            os.close(here)
            here = inner
        return os.open(last, READ | NO_WAIT | NO_LINK, dir_fd=here)
    finally:
        os.close(here)


def _open_looked_at(folder: Path, parts: list[str]) -> int:
    path, seen = folder, folder.stat()
    for part in parts:
        path = path / part
        seen = path.lstat()
        if stat.S_ISLNK(seen.st_mode) or _is_junction(seen):
            raise NotADirectoryError(20, "is a link", str(path))
    descriptor = os.open(path, READ | NO_WAIT)
    found = os.fstat(descriptor)
    if (found.st_dev, found.st_ino) != (seen.st_dev, seen.st_ino):
        os.close(descriptor)
        raise NotADirectoryError(20, "was replaced", str(path))
    return descriptor


def _is_junction(status: os.stat_result) -> bool:
    """Return whether a path of Windows is a junction, a link of another kind."""
    reparse = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0x400)
    return bool(getattr(status, "st_file_attributes", 0) & reparse)


def force_folder(folder: Path) -> None:
    """Force a folder's names to disk, where the system and its file system can."""
    descriptor = open_folder(folder)
    if descriptor is None:
        return
    try:
        force(descriptor)
    finally:
        os.close(descriptor)


def force(descriptor: int) -> None:
    """Force a file's bytes to disk, where its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
