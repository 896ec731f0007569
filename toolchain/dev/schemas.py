"""What is published of the TOML files people write, drawn from the classes that read them: their
JSON Schemas, and the table of keys in boards.md. `python -m toolchain.dev.schemas` writes the
files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quarl.boards.linux import LinuxBoard
from quarl.boards.microcontroller import Board, Probe
from quarl.boards.uart import Uart
from quarl.bundle.limits import Limits
from quarl.files.tables import key_rows, schema_of
from quarl.sources.recipe import Recipe

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "schemas"
BOARDS_PAGE = DOCS / "boards.md"
BEGIN, END = "<!-- keys, written by python -m toolchain.dev.schemas -->\n", "<!-- end of keys -->"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> Mapping[str, dict[str, Any]]:
    """Return the schema of each kind of file, by its name."""
    return {
        "board": _either(Board, LinuxBoard),
        "recipe": schema_of(Recipe),
        "gate": _under("gate", Limits),
    }


def schema_texts() -> dict[Path, str]:
    """Return path -> text of each schema."""
    return {
        FOLDER / f"{name}.schema.json": json.dumps(
            {"$schema": DIALECT, "title": f"quarl {name}.toml", **_without_title(schema)}, indent=1
        )
        + "\n"
        for name, schema in schemas().items()
    }


def _either(*kinds: type[Any]) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    for kind in kinds:
        schema = schema_of(kind)
        definitions |= schema.pop("$defs", {})
        definitions[kind.__name__] = schema
    references = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds]
    return {"anyOf": references, "$defs": definitions}


def _under(key: str, kind: type[Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: schema_of(kind)},
        "required": [key],
        "additionalProperties": False,
    }


def _without_title(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "title"}


def boards_page(page: str) -> str:
    """Return boards.md with its table of keys as the classes say."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{_key_tables()}{END}{after}"


def _key_tables() -> str:
    tables = {"board.toml": Board, "[uart]": Uart, "[probe]": Probe}
    tables |= {'board.toml with kind = "linux"': LinuxBoard}
    return "\n".join(
        f"**{name}**\n\n| key | allowed | what it is |\n|---|---|---|\n"
        + "".join(f"| {' | '.join(row)} |\n" for row in key_rows(kind))
        for name, kind in tables.items()
    )


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in schema_texts().items():
        path.write_text(text, encoding="utf-8")
    BOARDS_PAGE.write_text(boards_page(BOARDS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
