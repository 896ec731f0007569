"""Names that a shell completes; file names are the shell's own."""

from __future__ import annotations

from pathlib import Path


def boards_like(incomplete: str) -> list[str]:
    """Return the boards that begin so."""
    from quarl.resources import targets_dir

    return _beginning(targets_dir(), "board.toml", incomplete)


def policies_like(incomplete: str) -> list[str]:
    """Return the shipped policies that begin so."""
    from quarl.resources import models_dir

    return _beginning(models_dir(), "recipe.toml", incomplete)


def _beginning(root: Path, file: str, incomplete: str) -> list[str]:
    folders = (path.parent.name for path in root.glob(f"*/{file}"))
    return sorted(name for name in folders if name.startswith(incomplete))
