"""The whole chain of one policy: export, profile, parity, gate, and the next candidate where the
gate refuses; at last the report.

In: a `Source` and what is asked of it. Out: a `Shipment`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from quarl.bundle.release import Release
from quarl.bundle.writing import bundle_bytes, write_bundle
from quarl.errors import QuarlError
from quarl.evidence.evidence import ImportProof
from quarl.exporter.export import Exporting, ExportRequest
from quarl.graph.policy import Policy
from quarl.profiles.host import Profile, Started, started_runtimes
from quarl.profiles.measure import measure_board, measure_host, read_measurements
from quarl.profiles.platform import BoardProfile
from quarl.reports.writing import REPORT_PAGE, write_report
from quarl.sources.proof import proving
from quarl.sources.source import Source
from quarl.verdict.assess import (
    Judging,
    ParityRequest,
    check_plan,
    compare,
    decide,
    keep_evidence,
    own_target,
    plan_of,
    share_of_first,
)
from quarl.verdict.baseline import find_baseline
from quarl.verdict.refusal import refusal_of
from quarl.verdict.verdict import Outcome, Verdict
from quarl.workers.progress import QUIET, Reporter


@dataclass(frozen=True, slots=True)
class Shipment:
    """What the whole chain has made."""

    release: Release
    profile: Profile
    on_board: BoardProfile | None  # None: for no board
    verdict: Verdict


def ship_release(
    source: Source,
    out: Path,
    request: ExportRequest | None = None,
    play: ParityRequest | None = None,
    reporter: Reporter = QUIET,
    *,
    trust: bool = False,
) -> Shipment:
    """Return the bundle, its figures and its verdict: the whole chain in one go.

    Where play chooses the integers and the gate refuses them, the next candidate follows, on seeds
    of its own. Where it refuses all of them, the bundle is the first of those that were shown
    nothing worse than NOT PROVEN, or the first of all. A baseline that lies beside the bundle is
    held against it. A report that cannot be written is reported and loses no verdict.
    """
    request, play = request or ExportRequest(), play or ParityRequest()
    check_plan(source, request.limits, play)
    share = share_of_first(source, request.limits, play)
    exporting = Exporting(source, out, request, reporter, share)
    has_source = isinstance(source.policy, Policy)
    with proving(source, trust=trust) as proof:  # beside what is exported and played
        release = exporting.write()
        with started_runtimes(with_source=has_source) as started:  # beside what is played
            beside = _Beside(proof, started)
            kept = shipment = _shipped(release, play, beside, reporter)
    play = replace(play, proof=beside.found)
    files: dict[str, bytes] | None = (
        None  # of the bundle that is kept, where another one lies there
    )
    while why := refusal_of(shipment.verdict):
        if not exporting.refuse(why):
            break
        reporter.line(f"the gate refuses {_name_of(shipment)} ({why}): the next candidate follows")
        lies_there = bundle_bytes(out) if files is None else files
        following = exporting.write_next()
        if following is None:
            break
        files = lies_there
        shipment = _shipped(following, play, None, reporter)
        if _rank(shipment) > _rank(kept):
            kept, files = shipment, None
    if files is not None:
        reporter.line(f"no candidate passes: the bundle holds {_name_of(kept)}")
        write_bundle(out, files)
    try:
        write_report(kept.release)
    except QuarlError as error:  # a verdict is not lost for want of a picture
        reporter.line(f"{REPORT_PAGE} was not written: {error}")
    return kept


@dataclass(slots=True)
class _Beside:
    """What runs in other processes while this one exports and plays."""

    proof: Callable[[], ImportProof]
    started: Started
    found: ImportProof | None = None


def _shipped(
    release: Release, play: ParityRequest, beside: _Beside | None, reporter: Reporter
) -> Shipment:
    """Return the release with its figures and its verdict."""
    with reporter.stage(f"comparing {release.manifest.name} with its source") as progress:
        plan = plan_of(release, play)
        if plan is not None:
            reporter.line(plan)
        target = play.target or own_target(release)
        play = replace(play, target=target, tell=reporter.line)
        evidence = compare(release, play, progress)
    with reporter.stage(f"profiling {release.manifest.name}"):
        if beside is not None:  # nothing runs beside what is timed
            beside.found = beside.proof()
            play = replace(play, proof=beside.found)
        host = measure_host(release, None if beside is None else beside.started)
        on_board = None if target is None else measure_board(release, target.emulated())
    evidence = keep_evidence(release, evidence, play)
    accepted = find_baseline(release)
    judging = Judging(baseline=None if accepted is None else accepted.checks, run=play.run)
    verdict = decide(release, evidence, read_measurements(release), judging)
    return Shipment(release, host, on_board, verdict)


def _rank(shipment: Shipment) -> int:
    """Return how good an answer is, to choose the bundle that is kept."""
    verdict = shipment.verdict
    return 2 if verdict.may_ship else int(verdict.answer is Outcome.NOT_PROVEN)


def _name_of(shipment: Shipment) -> str:
    manifest = shipment.release.manifest
    name = next((one.name for one in manifest.ladder if one.taken), "")
    return f"try {manifest.attempt.number}, rung {manifest.rung} ({name})"
