"""The whole chain of one policy: export, profile, parity, gate, and the next candidate where the
gate refuses; at last the report.

In: a `Source` and what is asked of it. Out: a `Shipment`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from quarl.bundle.release import Release
from quarl.bundle.writing import bundle_bytes, write_bundle
from quarl.errors import QuarlError
from quarl.exporter.export import Exporting, ExportRequest
from quarl.profiles.host import Profile
from quarl.profiles.measure import measure_board, measure_host, read_measurements
from quarl.profiles.platform import BoardProfile
from quarl.reports.writing import REPORT_PAGE, write_report
from quarl.sources.proof import proving
from quarl.sources.source import Source
from quarl.verdict.assess import (
    Judging,
    ParityRequest,
    check_plan,
    decide,
    gather,
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
    with proving(source, trust=trust) as proof:  # beside all that follows
        release = exporting.write()
        with reporter.stage(f"profiling {source.name}"):
            play = replace(play, proof=proof())  # nothing runs beside what is timed
            shipment = _profiled(release, play)
    kept = shipment = _judged(shipment, play, reporter)
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
        with reporter.stage(f"profiling {source.name}"):
            shipment = _profiled(following, play)
        shipment = _judged(shipment, play, reporter)
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


def _profiled(release: Release, play: ParityRequest) -> Shipment:
    """Return the release with its figures; its verdict is still that of nothing gathered."""
    host, target = measure_host(release), play.target or own_target(release)
    on_board = None if target is None else measure_board(release, target.emulated())
    return Shipment(release, host, on_board, Verdict(release.manifest.name, ()))


def _judged(shipment: Shipment, play: ParityRequest, reporter: Reporter) -> Shipment:
    """Return the shipment with its verdict."""
    release = shipment.release
    with reporter.stage(f"comparing {release.manifest.name} with its source") as progress:
        plan = plan_of(release, play)
        if plan is not None:
            reporter.line(plan)
        target = play.target or own_target(release)
        evidence = gather(release, replace(play, target=target, tell=reporter.line), progress)
    accepted = find_baseline(release)
    judging = Judging(baseline=None if accepted is None else accepted.checks, run=play.run)
    verdict = decide(release, evidence, read_measurements(release), judging)
    return replace(shipment, verdict=verdict)


def _rank(shipment: Shipment) -> int:
    """Return how good an answer is, to choose the bundle that is kept."""
    verdict = shipment.verdict
    return 2 if verdict.may_ship else int(verdict.answer is Outcome.NOT_PROVEN)


def _name_of(shipment: Shipment) -> str:
    manifest = shipment.release.manifest
    name = next((one.name for one in manifest.ladder if one.taken), "")
    return f"try {manifest.attempt.number}, rung {manifest.rung} ({name})"
