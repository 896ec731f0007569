"""What a verb ends with: a printed result, or a verdict with its files and exit code."""

from __future__ import annotations

import json
import os
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from quarl.verdict import Verdict


class Exit(IntEnum):
    """Exit codes of verdicts; errors bring their own."""

    PASS = 0
    GATE_SAYS_NO = 1


def conclude(verdict: Verdict, junit: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Write the verdict where it was asked for, print it, and exit with its code."""
    from quarl.bundle import write_whole
    from quarl.cli import show
    from quarl.outputs import OUTPUTS
    from quarl.outputs.markdown import append_summary

    for kind, path in (("junit", junit), ("markdown", markdown)):
        if path is not None:
            write_whole(path, OUTPUTS[kind](verdict).encode())
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        append_summary(verdict, Path(summary))
    print_result(json.loads(OUTPUTS["json"](verdict)) if as_json else show.verdict_text(verdict), as_json)
    raise typer.Exit(Exit.PASS if verdict.passed else Exit.GATE_SAYS_NO)


def print_result(result: Any, as_json: bool) -> None:
    """Print the result: one JSON document, or the text it is."""
    print(json.dumps(result, indent=2, sort_keys=True) if as_json else result)
