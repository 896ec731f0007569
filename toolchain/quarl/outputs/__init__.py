"""The forms a verdict is written in: one file each, all pure functions from a verdict to text."""

from __future__ import annotations

from collections.abc import Callable

from quarl.outputs.junit import junit_text
from quarl.outputs.markdown import markdown_text
from quarl.outputs.sarif import sarif_text
from quarl.outputs.verdict_json import json_text
from quarl.verdict import Verdict

OUTPUTS: dict[str, Callable[[Verdict], str]] = {"json": json_text, "junit": junit_text, "markdown": markdown_text, "sarif": sarif_text}
