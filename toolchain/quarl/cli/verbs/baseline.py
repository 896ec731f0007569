"""`quarl baseline`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from quarl.cli.options import (
    BaselineOption,
    BundleArgument,
    JsonOption,
    LimitsOption,
    gate_file_from,
)
from quarl.cli.result import print_result


class Action(StrEnum):
    """What is done with a baseline."""

    SET = "set"
    SHOW = "show"


def baseline(
    action: Annotated[
        Action,
        typer.Argument(
            metavar="set|show",
            help="Accept this release as the one to be held against, or show it.",
        ),
    ],
    bundle: BundleArgument,
    baseline: BaselineOption = None,
    limits: LimitsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accept a passing release as the one later releases must not fall behind, or show the one that
    was accepted.

    It is one file beside the bundle, BUNDLE.baseline.json, to be kept under version control; quarl
    gate finds it there.
    """
    from dataclasses import asdict

    from quarl import pipeline
    from quarl.bundle.release import open_bundle
    from quarl.cli import show_verdict
    from quarl.verdict.baseline import baseline_path, read_baseline, set_baseline

    opened = open_bundle(bundle)
    path = baseline or baseline_path(opened)
    if action is Action.SET:
        set_baseline(opened, pipeline.gate(opened, limits=gate_file_from(limits)), path)
    accepted = read_baseline(path)
    print_result(
        asdict(accepted) if as_json else show_verdict.baseline_text(accepted, path), as_json
    )
