"""`quarl gate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.options import (
    BaselineOption,
    HistoryOption,
    JsonOption,
    JunitOption,
    LimitsOption,
    MarkdownOption,
    NoHistoryOption,
    SarifOption,
    limits_from,
)
from quarl.cli.result import Destinations, conclude, print_result


def gate(
    bundle: Annotated[Path | None, typer.Argument(metavar="BUNDLE", help="Folder written by quarl export or quarl ship.")] = None,
    limits: LimitsOption = None,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    sarif: SarifOption = None,
    baseline: BaselineOption = None,
    no_baseline: Annotated[bool, typer.Option("--no-baseline", help="Do not look for a baseline beside the bundle.")] = False,
    explain: Annotated[str | None, typer.Option("--explain", metavar="CHECK", help="Say what a check means, and judge nothing.")] = None,
    history: HistoryOption = None,
    no_history: NoHistoryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle against its limits; exit code 1 when it must not be released.

    A baseline set with quarl baseline set is found beside the bundle: this release must not fall behind it.
    """
    from quarl.errors import InputError

    if explain is not None:
        _explain(explain, as_json)
        return
    if bundle is None:
        raise InputError("quarl gate needs a BUNDLE, the folder that quarl export or quarl ship has written; or --explain CHECK")

    from quarl import pipeline
    from quarl.baseline import baseline_path, read_baseline
    from quarl.bundle import read_bundle

    opened = read_bundle(bundle)
    path = baseline or baseline_path(opened)
    earlier = None if no_baseline or (baseline is None and not path.is_file()) else read_baseline(path).checks
    verdict = pipeline.gate(opened, limits=limits_from(limits, opened), baseline=earlier)
    conclude(verdict, opened, Destinations(junit, markdown, sarif, history, no_history), as_json)


def _explain(check: str, as_json: bool) -> None:
    from dataclasses import asdict

    from quarl.cli import show
    from quarl.explain import explain

    found = explain(check)
    print_result(asdict(found) if as_json else show.explanation_text(found), as_json)
