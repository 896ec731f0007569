"""The published schemas: as the classes say, right for every file of the repository, and every key
is on its page of the docs.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from toolchain.dev.schemas import BOARDS_PAGE, FOLDER, boards_page, schema_texts, schemas

ROOT = Path(__file__).parents[2]
FILES = {
    "board": sorted(ROOT.glob("targets/*/board.toml")),
    "recipe": sorted(ROOT.glob("models/*/recipe.toml")),
}
PAGES = {"board": "boards.md", "recipe": "recipe.md", "gate": "gate.md"}


@pytest.mark.parametrize("path", schema_texts(), ids=lambda path: path.stem)
def test_a_published_schema_is_the_one_of_the_classes(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == schema_texts()[path], (
        "write them again with: python -m toolchain.dev.schemas"
    )


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, paths in FILES.items() for path in paths]
)
def test_every_file_of_the_repository_fits_its_schema(name: str, path: Path) -> None:
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(tomllib.loads(path.read_text()))


def keys_of(node: Any) -> set[str]:
    """Return every key that a schema names, at any depth."""
    if isinstance(node, list):
        return set().union(*(keys_of(item) for item in node), set())
    if not isinstance(node, dict):
        return set()
    return set(node.get("properties", ())) | keys_of(list(node.values()))


@pytest.mark.parametrize("name", PAGES)
def test_every_key_is_described_on_its_page(name: str) -> None:
    page = re.sub(r"(?s)```.*?```", "", (FOLDER.parent / PAGES[name]).read_text(encoding="utf-8"))
    named = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`[^`]+`", page))))
    assert keys_of(schemas()[name]) - named == set()


def test_the_table_of_keys_is_the_one_of_the_classes() -> None:
    page = BOARDS_PAGE.read_text(encoding="utf-8")
    assert page == boards_page(page), "write it again with: python -m toolchain.dev.schemas"
