"""Where the recipe of a run is found: a TOML file, a policy's folder, or a shipped policy."""

from __future__ import annotations

from pathlib import Path

from quarl.files.open import MAX_DOCUMENT_BYTES, read_file
from quarl.sources.recipe import RECIPE_FILE, Recipe, parse_recipe
from quarl.sources.source import recipe_folder


def recipe_at(place: str) -> tuple[Recipe, str]:
    """Return the recipe and its text.

    Raises:
        InputError: there is none, or it is wrong; names every problem.
    """
    path = Path(place) if Path(place).is_file() else recipe_folder(place) / RECIPE_FILE
    text = read_file(path, MAX_DOCUMENT_BYTES).decode(errors="replace")
    return parse_recipe(text, str(path)), text
