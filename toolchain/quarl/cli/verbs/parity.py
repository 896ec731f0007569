"""`quarl parity`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from quarl.cli.command import takes
from quarl.cli.env_options import EnvOptions
from quarl.cli.episodes import BudgetOption, EpisodesOption
from quarl.cli.options import (
    BundleArgument,
    JsonOption,
    LimitsOption,
    LinkOption,
    TrustOption,
    gate_file_from,
)
from quarl.cli.progress import TERMINAL
from quarl.cli.result import print_result
from quarl.cli.workers_options import WorkersOptions


@dataclass(frozen=True, kw_only=True)
class ParityOptions(WorkersOptions, EnvOptions):
    """What to compare, and where."""

    bundle: BundleArgument
    episodes: EpisodesOption = None
    budget: BudgetOption = None
    limits: LimitsOption = None
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Play under noise, drops and delay of observations too."),
    ] = False
    link: LinkOption = None
    trust: TrustOption = False
    as_json: JsonOption = False


@takes(ParityOptions)
def parity(options: ParityOptions) -> None:
    """Gather the evidence: equality of backends, agreement, paired episodes of source and int8.

    The episodes stop as soon as the answer is certain; the limits say when that is.
    """
    from quarl import pipeline
    from quarl.bundle.release import open_bundle
    from quarl.cli.show_verdict import evidence_text
    from quarl.verdict.assess import ParityRequest, limits_asked, own_target, plan_of
    from quarl.verdict.planning import asked_episodes

    release = open_bundle(options.bundle)
    asked = gate_file_from(options.limits)
    own = release.manifest.limits
    request = ParityRequest(
        env=options.env_spec(release.manifest.env),
        episodes=asked_episodes(options.episodes, options.budget),
        limits=own if asked is None else asked.beside(own),
        robustness=options.robustness,
        target=own_target(release, options.link, trust=options.trust),
        tell=TERMINAL.line,
    )
    plan = plan_of(release, request)
    if plan is not None:
        TERMINAL.line(plan)
    what = f"comparing {release.manifest.name} with its source"
    with options.open_workers() as workers, TERMINAL.stage(what) as progress:
        evidence = pipeline.parity(release, replace(request, workers=workers), progress)
    if options.as_json:
        print_result(json.loads(evidence.to_json()), options.as_json)
    else:
        print_result(
            evidence_text(evidence, release, limits_asked(asked, release, evidence)),
            options.as_json,
        )
