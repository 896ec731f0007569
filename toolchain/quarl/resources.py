"""Where the files that ship with quarl lie: in the checkout, or in the installed package."""

from __future__ import annotations

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


def _package_dir(package: str) -> Path:
    with resources.as_file(resources.files(package)) as path:
        return path
