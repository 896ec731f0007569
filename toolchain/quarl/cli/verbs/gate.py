"""`quarl gate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.options import (
    BundleArgument,
    HistoryOption,
    JsonOption,
    JunitOption,
    LimitsOption,
    MarkdownOption,
    NoHistoryOption,
    SarifOption,
    limits_from,
)
from quarl.cli.result import Destinations, conclude


def gate(
    bundle: BundleArgument,
    limits: LimitsOption = None,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    sarif: SarifOption = None,
    baseline: Annotated[Path | None, typer.Option("--baseline", metavar="FILE", help="A verdict.json not to fall behind.")] = None,
    history: HistoryOption = None,
    no_history: NoHistoryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle against its limits; exit code 1 when it must not be released."""
    from quarl import pipeline
    from quarl.archives import read_file
    from quarl.bundle import read_bundle

    opened = read_bundle(bundle)
    earlier = None if baseline is None else read_file(baseline).decode(errors="replace")
    verdict = pipeline.gate(opened, limits=limits_from(limits, opened), baseline=earlier)
    conclude(verdict, opened, Destinations(junit, markdown, sarif, history, no_history), as_json)
