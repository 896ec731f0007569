"""The published JSON Schema of verdict.json, drawn from the types it is written from: `python -m
toolchain.dev.verdict_schema` writes the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import quarl.verdict.formats
from quarl.verdict.formats.verdict_json import SCHEMA_VERSION
from quarl.verdict.verdict import Outcome, Verdict

SCHEMA = Path(quarl.verdict.formats.__file__).parent / "verdict.schema.json"


def schema_text() -> str:
    """Return the text of the schema."""
    from pydantic import TypeAdapter

    schema: dict[str, Any] = TypeAdapter(Verdict).json_schema(mode="serialization")
    definitions = schema["$defs"]
    for table in (schema, *definitions.values()):
        if table.get("type") == "object":  # everything is always written, and nothing else
            table["required"] = sorted(table["properties"])
            table["additionalProperties"] = False
        if "description" in table:  # however the docstring is filled
            table["description"] = " ".join(table["description"].split())
    answers = [outcome.value for outcome in Outcome if outcome.is_judged]
    _add(schema, "answer", {"enum": answers, "description": "What is known of the release."})
    _add(schema, "may_ship", {"type": "boolean", "description": "Whether it may go out."})
    _add(schema, "schema_version", {"const": SCHEMA_VERSION})
    _add(
        definitions["Check"],
        "margin",
        {"type": ["number", "null"], "description": "What is left up to the limit, in `unit`."},
    )
    _add(
        definitions["ClosedLoop"],
        "is_chaotic",
        {"type": "boolean", "description": "Whether the control hides the margin."},
    )
    _add(
        definitions["ClosedLoop"],
        "is_as_chaotic_as_its_source",
        {"type": "boolean", "description": "Whether int8 moves episodes no further than that."},
    )
    left = "What is left up to the limit, in `unit`; negative: how far beyond it."
    _add(
        definitions["Check"],
        "margin",
        {"anyOf": [{"type": "number"}, {"type": "null"}], "description": left},
    )
    schema["title"] = "Verdict of quarl gate"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def _add(table: dict[str, Any], name: str, value: dict[str, Any]) -> None:
    table["properties"][name] = value
    table["required"] = sorted({*table["required"], name})


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
