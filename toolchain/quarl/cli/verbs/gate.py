"""`quarl gate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.bundle.release import open_bundle
from quarl.cli.options import (
    BaselineOption,
    HistoryOption,
    JsonOption,
    JunitOption,
    LimitsOption,
    MarkdownOption,
    NoHistoryOption,
    SarifOption,
    VerdictOptions,
    limits_from,
)
from quarl.cli.result import conclude, print_result
from quarl.verdict.assess import VERDICT


def gate(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Folder written by quarl export or quarl ship."),
    ] = None,
    limits: LimitsOption = None,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    sarif: SarifOption = None,
    baseline: BaselineOption = None,
    no_baseline: Annotated[
        bool, typer.Option("--no-baseline", help="Do not look for a baseline beside the bundle.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain", metavar="CHECK", help="Say what a check means, and judge nothing."
        ),
    ] = None,
    history: HistoryOption = None,
    no_history: NoHistoryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle against its limits; exit code 1 when it must not be released.

    A baseline set with quarl baseline set is found beside the bundle: this release must not fall
    behind it.
    """
    from quarl.errors import InputError

    if explain is not None:
        _explain(explain, bundle, as_json)
        return
    if bundle is None:
        raise InputError(
            "quarl gate needs a BUNDLE, the folder that quarl export or quarl ship has "
            "written; or --explain CHECK"
        )

    from quarl import pipeline
    from quarl.verdict.baseline import find_baseline

    opened = open_bundle(bundle)
    accepted = None if no_baseline else find_baseline(opened, baseline)
    verdict = pipeline.gate(
        opened,
        limits=limits_from(limits, opened.manifest.limits),
        baseline=None if accepted is None else accepted.checks,
    )
    conclude(
        verdict,
        opened,
        VerdictOptions(
            junit=junit, markdown=markdown, sarif=sarif, history=history, no_history=no_history
        ),
        as_json,
    )


def _explain(check: str, bundle: Path | None, as_json: bool) -> None:
    """Print what the check means, and what was found of it in the bundle's last verdict where a
    bundle is named.
    """
    from dataclasses import asdict

    from quarl.cli import show_verdict
    from quarl.files.open import read_file
    from quarl.verdict.explanations import explain
    from quarl.verdict.formats.verdict_json import read_checks

    found = explain(check)
    made = []
    if bundle is not None:
        path = bundle / VERDICT
        made = [
            made
            for made in read_checks(read_file(path).decode(errors="replace"), str(path))
            if found.covers(made.name)
        ]
    if as_json:
        print_result({**asdict(found), "checks": [asdict(entry) for entry in made]}, as_json)
    else:
        print_result(show_verdict.explanation_text(found, made), as_json)
