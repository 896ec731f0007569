"""Writes models/weights.toml anew: the digests of the policies' files that the wheel leaves out.
`python -m toolchain.dev.write_weights`
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from quarl.importers import parameters_in
from quarl.sources.recipe import read_recipe
from quarl.sources.weights import WEIGHTS_FILE, stored_text

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"


def left_out() -> list[str]:
    """Return the files of the policies that pyproject.toml keeps out of the wheel, relative to
    models/.
    """
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = table["tool"]["setuptools"]["exclude-package-data"]["quarl.models"]
    finished = {path.parent.name for path in MODELS.glob("*/SOURCE.md")}
    found = {
        path
        for pattern in patterns
        for path in MODELS.glob(pattern)
        if path.parent.name in finished
    }
    return sorted(path.relative_to(MODELS).as_posix() for path in found)


def parameters_of(path: str) -> int | None:
    """Return the number of parameters of the policy whose weights the file holds; None for a file
    of observations.
    """
    file = MODELS / path
    if file.name != read_recipe(file.parent).source:
        return None
    return parameters_in(file)


if __name__ == "__main__":
    (MODELS / WEIGHTS_FILE).write_text(
        stored_text(MODELS, {path: parameters_of(path) for path in left_out()}), encoding="utf-8"
    )
