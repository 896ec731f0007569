"""`quarl policies`."""

from __future__ import annotations

from quarl.cli.options import JsonOption
from quarl.cli.result import print_result


def policies(as_json: JsonOption = False) -> None:
    """List the policies that ship with quarl."""
    from quarl.cli import show
    from quarl.recipe import list_recipes
    from quarl.resources import models_dir

    recipes = list_recipes(models_dir())
    print_result(show.policies_table(recipes) if as_json else show.policies_text(recipes), as_json)
