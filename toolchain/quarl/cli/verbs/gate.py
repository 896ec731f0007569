"""`quarl gate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.command import takes
from quarl.cli.option_groups import VerdictOptions
from quarl.cli.options import (
    BaselineOption,
    JsonOption,
    LimitsOption,
    gate_file_from,
)
from quarl.cli.result import conclude, print_result


@dataclass(frozen=True, kw_only=True)
class GateOptions(VerdictOptions):
    """What to judge, by which limits."""

    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Folder written by quarl export or quarl ship."),
    ] = None
    limits: LimitsOption = None
    baseline: BaselineOption = None
    no_baseline: Annotated[
        bool, typer.Option("--no-baseline", help="Do not look for a baseline beside the bundle.")
    ] = False
    trusted_key: Annotated[
        list[Path] | None,
        typer.Option(
            "--trusted-key",
            metavar="KEY.pub",
            help="Say no unless the holder of this key has signed the bundle; may be given again: "
            "any one is enough.",
        ),
    ] = None
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain", metavar="CHECK", help="Say what a check means, and judge nothing."
        ),
    ] = None
    as_json: JsonOption = False


@takes(GateOptions)
def gate(options: GateOptions) -> None:
    """Judge a bundle against its limits; exit code 1 where a limit is broken, 5 where it is
    not proven to hold.

    A baseline set with quarl baseline set is found beside the bundle: this release must not fall
    behind it.
    """
    from quarl.errors import InputError

    if options.explain is not None:
        _explain(options.explain, options.bundle, options.as_json)
        return
    if options.bundle is None:
        raise InputError(
            "quarl gate needs a BUNDLE, the folder that quarl export or quarl ship has "
            "written; or --explain CHECK"
        )

    from quarl import pipeline
    from quarl.bundle.release import open_bundle
    from quarl.verdict.attestation.keys import read_public_key
    from quarl.verdict.baseline import find_baseline

    release = open_bundle(options.bundle)
    baseline = None if options.no_baseline else find_baseline(release, options.baseline)
    verdict = pipeline.gate(
        release,
        limits=gate_file_from(options.limits),
        baseline=None if baseline is None else baseline.checks,
        run=options.run_id,
        trusted=[read_public_key(path) for path in options.trusted_key or ()],
    )
    conclude(verdict, release, options, options.as_json)


def _explain(name: str, bundle: Path | None, as_json: bool) -> None:
    """Print what the check of that name means, and its result in the bundle's last verdict where a
    bundle is named.
    """
    from dataclasses import asdict

    from quarl.cli import show_verdict
    from quarl.files.open import read_member
    from quarl.verdict.explanations import explain
    from quarl.verdict.formats.verdict_json import read_checks
    from quarl.verdict.stored import VERDICT

    explanation = explain(name)
    checks = []
    if bundle is not None:
        text = read_member(bundle, VERDICT).decode(errors="replace")
        stored = read_checks(text, str(bundle / VERDICT))
        checks = [check for check in stored if explanation.covers(check.name)]
    if as_json:
        table = {**asdict(explanation), "checks": [asdict(check) for check in checks]}
        print_result(table, as_json)
    else:
        print_result(show_verdict.explanation_text(explanation, checks), as_json)
