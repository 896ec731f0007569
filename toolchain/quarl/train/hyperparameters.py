"""The hyperparameters of a recipe, all there and none unknown."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from quarl.errors import InputError
from quarl.sources.recipe import Recipe


def hyperparameters_of(
    recipe: Recipe, needed: Collection[str], optional: Collection[str] = ()
) -> dict[str, Any]:
    """Return the recipe's hyperparameters by name.

    Raises:
        InputError: one that is needed is missing, or one is unknown; names them.
    """
    settings: dict[str, Any] = dict(recipe.train.hyperparameters)
    names = [*needed, *optional]
    missing = [name for name in needed if name not in settings]
    unknown = [name for name in settings if name not in names]
    if missing or unknown:
        raise InputError(
            f"{recipe.name}: [train.hyperparameters]: missing {missing}, unknown {unknown}; "
            f"allowed {names}"
        )
    return settings
