"""Where the files that ship with quarl lie, in the checkout or in the installed package, and where
it keeps what it built.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from importlib import resources
from pathlib import Path

from quarl.errors import InputError

VERSION = "0.2.0"  # of quarl


def models_dir() -> Path:
    """Return the folder of the shipped policies."""
    return _package_dir("quarl.models")


def targets_dir() -> Path:
    """Return the folder of the boards."""
    return _package_dir("quarl.targets")


def firmware_dir() -> Path:
    """Return the folder of the C runtime."""
    return _package_dir("quarl.firmware_harness")


def default_cache_dir() -> Path:
    """Return where built images are kept: $XDG_CACHE_HOME/quarl, or ~/.cache/quarl; for a user
    without a home folder, as in a container with a user id of its own, one in the temporary folder.

    Raises:
        InputError: the latter belongs to somebody else.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    if root:
        return Path(root) / "quarl"
    home = home_dir()
    return _private_temporary_dir() if home is None else home / ".cache" / "quarl"


def home_dir() -> Path | None:
    """Return the user's home folder, None where there is none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _private_temporary_dir() -> Path:
    getuid = getattr(os, "getuid", None)
    if getuid is None:  # Windows, where the temporary folder is the user's own
        return Path(tempfile.gettempdir()) / "quarl"
    folder = Path(tempfile.gettempdir()) / f"quarl-{getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != getuid() or status.st_mode & 0o077:
        raise InputError(
            f"{folder}: is not a private folder of this user, and there is no home folder: set "
            "HOME or XDG_CACHE_HOME"
        )
    return folder


def _package_dir(package: str) -> Path:
    with resources.as_file(resources.files(package)) as path:
        return path
