"""Where the files that ship with quarl lie, in the checkout or in the installed package, and where
it keeps what it built.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path


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
    """Return where built images are kept: $XDG_CACHE_HOME/quarl, or ~/.cache/quarl."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "quarl"


def _package_dir(package: str) -> Path:
    with resources.as_file(resources.files(package)) as path:
        return path
