"""The chain: every verb as one function, in the order of travel.

    import_source -> export -> profile -> parity -> gate -> report      ship does all of them
Each takes values and returns the next value. Nothing here prints, decides or measures by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from quarl.bundle.release import Release
from quarl.errors import QuarlError
from quarl.exporter.export import ExportRequest, export_policy, finetune_policy
from quarl.exporter.reproduce import reproduce
from quarl.graph.env_spec import EnvSpec
from quarl.importers import ImportOptions
from quarl.profiles.host import Profile
from quarl.profiles.measure import measure_board, measure_host, read_measurements
from quarl.profiles.platform import BoardProfile
from quarl.reports.writing import REPORT_PAGE, write_report
from quarl.rollouts.first_steps import check_first_steps
from quarl.sources.proof import proving
from quarl.sources.source import Source, open_source
from quarl.verdict.assess import (
    Judging,
    ParityRequest,
    check_plan,
    decide,
    gather,
    judge_release,
    own_target,
    plan_of,
)
from quarl.verdict.attestation.sign import sign_release
from quarl.verdict.baseline import find_baseline
from quarl.verdict.verdict import Verdict
from quarl.workers.progress import QUIET, Reporter, Stage, quietly


def import_source(
    source: str,
    options: ImportOptions | None = None,
    env: EnvSpec | None = None,
    *,
    fetching: Stage = quietly,
) -> Source:
    """Return the policy that `source` names: a shipped one, a recipe's folder, or a file."""
    opened = open_source(source, options or ImportOptions(), env, fetching)
    if opened.env is not None:
        check_first_steps(opened.env, opened.policy.contract)
    return opened


export = export_policy
finetune = finetune_policy
profile = measure_host
profile_board = measure_board
parity = gather
gate = judge_release
report = write_report
sign = sign_release
verify = reproduce


@dataclass(frozen=True, slots=True)
class Shipment:
    """What the whole chain has made."""

    release: Release
    profile: Profile
    on_board: BoardProfile | None  # None: for no board
    verdict: Verdict


def ship(
    source: Source,
    out: Path,
    request: ExportRequest | None = None,
    play: ParityRequest | None = None,
    reporter: Reporter = QUIET,
    *,
    trust: bool = False,
) -> Shipment:
    """Return the bundle, its figures and its verdict: the whole chain in one go.

    A baseline that lies beside the bundle is held against it. A report that cannot be written is
    reported and loses no verdict.
    """
    request, play = request or ExportRequest(), play or ParityRequest()
    check_plan(source, request.limits, play)
    with proving(source, trust=trust) as proof:  # beside all that follows
        release = export(source, out, request, reporter)
        with reporter.stage(f"profiling {source.name}"):
            asked = replace(play, proof=proof())  # nothing runs beside what is timed
            host = profile(release)
            target = play.target or own_target(release)
            on_board = None if target is None else profile_board(release, target.emulated())
    with reporter.stage(f"comparing {source.name} with its source") as progress:
        plan = plan_of(release, play)
        if plan is not None:
            reporter.line(plan)
        asked = replace(asked, target=target, tell=reporter.line)
        evidence = parity(release, asked, progress)
    accepted = find_baseline(release)
    checks = None if accepted is None else accepted.checks
    judging = Judging(baseline=checks, run=play.run)
    verdict = decide(release, evidence, read_measurements(release), judging)
    try:
        report(release)
    except QuarlError as error:  # a verdict is not lost for want of a picture
        reporter.line(f"{REPORT_PAGE} was not written: {error}")
    return Shipment(release, host, on_board, verdict)
