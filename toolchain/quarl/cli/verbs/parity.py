"""`quarl parity`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from quarl.cli.options import (
    BundleArgument,
    EnvArgOption,
    EnvOption,
    EpisodesOption,
    JsonOption,
    LimitsOption,
    LinkOption,
    check_link,
    env_spec,
    limits_from,
)
from quarl.cli.progress import progress_bar
from quarl.cli.result import print_result


def parity(
    bundle: BundleArgument,
    env: EnvOption = None,
    env_arg: EnvArgOption = None,
    episodes: EpisodesOption = None,
    limits: LimitsOption = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Play under noise, drops and delay of observations too."),
    ] = False,
    link: LinkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Gather the evidence: equality of backends, agreement, paired episodes of source and int8.

    The episodes stop as soon as the answer is certain; the limits say when that is.
    """
    from quarl import pipeline
    from quarl.bundle.bundle import read_bundle
    from quarl.cli import show

    opened = read_bundle(bundle)
    check_link(link, pipeline.bundle_board(opened))
    asked = limits_from(limits, opened)
    with progress_bar(f"comparing {opened.manifest.name} with its source") as progress:
        evidence = pipeline.parity(
            opened,
            env=env_spec(env, env_arg),
            episodes=episodes,
            limits=asked,
            robustness=robustness,
            link=link,
            progress=progress,
        )
    print_result(
        json.loads(evidence.to_json()) if as_json else show.evidence_text(evidence, opened, asked),
        as_json,
    )
