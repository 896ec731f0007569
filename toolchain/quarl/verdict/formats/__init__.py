"""The forms a verdict is written in: one file each, all pure functions from a verdict to text."""

from __future__ import annotations

from collections.abc import Callable

from quarl.verdict.formats.junit import junit_text
from quarl.verdict.formats.markdown import markdown_text
from quarl.verdict.formats.sarif import sarif_text
from quarl.verdict.formats.verdict_json import json_text
from quarl.verdict.verdict import Verdict

OUTPUTS: dict[str, Callable[[Verdict], str]] = {
    "json": json_text,
    "junit": junit_text,
    "markdown": markdown_text,
    "sarif": sarif_text,
}
