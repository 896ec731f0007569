"""A folder that work goes on in: made before any work, so that an hour is not lost for want of a
place to write.
"""

from __future__ import annotations

import os
from pathlib import Path

from quarl.errors import InputError


def work_folder(path: Path) -> Path:
    """Return the folder, made with its parents where it is not there.

    Raises:
        InputError: it is a file, or cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: no folder can be made there ({error.strerror or error}): name another place"
        ) from error
    if not os.access(path, os.W_OK):
        raise InputError(f"{path}: cannot be written: name a folder of your own")
    return path
