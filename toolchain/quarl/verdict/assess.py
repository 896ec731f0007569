"""Assessing a release: evidence gathered as far as the limits need it, and the verdict on it.

In: a `Release`, limits, the profiles. Out: `Evidence`, stored as parity.json, and a `Verdict`,
stored as verdict.json.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from quarl.bundle.limits import Limits
from quarl.bundle.manifest import QUANTIZATION
from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.evidence.evidence import Evidence, ImportProof
from quarl.evidence.gather import (
    PARITY,
    PlayPlan,
    gather_evidence,
    refresh_evidence,
    stored_evidence,
)
from quarl.evidence.plan import EpisodePlan
from quarl.evidence.trials import try_changes
from quarl.graph.env_spec import EnvSpec
from quarl.graph.quant_policy import QuantPolicy
from quarl.links.target import Target
from quarl.profiles.measure import Measurements, read_measurements
from quarl.profiles.platforms import board_of, target_of
from quarl.quantize.error_report import QuantReport
from quarl.rollouts.first_steps import check_first_steps
from quarl.rollouts.shares import Field
from quarl.sources.source import Source
from quarl.stats.sequential import Look
from quarl.verdict.attestation.keys import PublicKey
from quarl.verdict.attestation.sign import signature_check
from quarl.verdict.budgets import figures_of, with_profiles
from quarl.verdict.closed_loop_checks import is_settled
from quarl.verdict.diagnosis import reasons
from quarl.verdict.formats import OUTPUTS
from quarl.verdict.judge import judge
from quarl.verdict.limits import GateFile, recipe_limits
from quarl.verdict.planning import (
    Asked,
    AutoEpisodes,
    check_provable,
    first_looks,
    first_share,
    plan_after,
    plan_sentence,
)
from quarl.verdict.regression import compare_with_baseline
from quarl.verdict.stored import VERDICT
from quarl.verdict.verdict import Check, Verdict
from quarl.workers import HERE, Workers
from quarl.workers.progress import Progress


@dataclass(frozen=True, slots=True)
class ParityRequest:
    """What is to be gathered; None: what the bundle says."""

    env: EnvSpec | None = None
    episodes: Asked = None  # most paired episodes; they stop as soon as the answer is certain
    limits: Limits | None = None  # what the gate will ask, which decides when that is
    robustness: bool = False  # play under disturbed observations even where no limit asks
    proof: ImportProof | None = None  # of the import, which only the original file can give
    target: Target | None = None  # the bundle's board and the way to it
    tell: Callable[[str], None] = lambda line: None  # told what the first look shows
    workers: Workers = HERE  # who plays the episodes
    run: str = ""  # told in the verdict of a shipment


def check_plan(source: Source, limits: Limits | None, request: ParityRequest) -> None:
    """Check, before any work, that the episodes of a ship can prove what its limits ask.

    Raises:
        InputError: as `check_provable`.
    """
    if source.env is None or isinstance(source.policy, QuantPolicy):
        return
    asked = limits or recipe_limits(source.recipe, source.env)
    check_provable(asked, request.episodes)


def share_of_first(source: Source, limits: Limits | None, request: ParityRequest) -> float:
    """Return the share of the error for the first candidate of a ship; as `first_share`."""
    return first_share(limits or recipe_limits(source.recipe, source.env), request.episodes)


def plan_of(release: Release, request: ParityRequest) -> str | None:
    """Return which paired episodes `gather` will play, for people; None where it plays none."""
    limits = request.limits or release.manifest.limits
    if release.source is None or (request.env or release.manifest.env) is None:
        return None
    return plan_sentence(limits, request.episodes, release.manifest.attempt)


def gather(
    release: Release, request: ParityRequest | None = None, progress: Progress | None = None
) -> Evidence:
    """Return the evidence that the int8 policy is its source's equal; writes parity.json."""
    request = request or ParityRequest()
    return keep_evidence(release, compare(release, request, progress), request)


def compare(release: Release, request: ParityRequest, progress: Progress | None = None) -> Evidence:
    """Return what playing and comparing show; nothing is written."""
    limits = request.limits or release.manifest.limits
    env = request.env or release.manifest.env
    plan = None
    if request.env is not None:
        check_first_steps(request.env, release.contract)
    if env is not None:
        plan = PlayPlan(
            Field(env, request.workers),
            _looks(release, limits, request),
            partial(is_settled, limits=limits),
            request.robustness or limits.robustness_margin is not None,
            partial(_after_first, limits=limits, request=request),
        )
    target = request.target or own_target(release)
    return gather_evidence(release, plan, target, progress)


def keep_evidence(release: Release, evidence: Evidence, request: ParityRequest) -> Evidence:
    """Return what was compared with the proof of the import and the figures that were measured;
    writes parity.json.
    """
    limits = request.limits or release.manifest.limits
    if request.proof is not None:
        evidence = replace(evidence, import_proof=request.proof)
    measurements = read_measurements(release)
    evidence = replace(evidence, figures=figures_of(release, measurements))
    if release.source is not None and _int8_is_blamed(release, evidence, limits):
        trials = try_changes(release.source, release.quantized, release.example.obs)
        evidence = replace(evidence, trials=trials)
    data = evidence.to_json().encode()
    release.store(PARITY, data)
    return replace(evidence, sha256=hashlib.sha256(data).hexdigest())


def _looks(release: Release, limits: Limits, request: ParityRequest) -> tuple[Look, ...]:
    """Return the looks that are planned. A policy that came as an int8 file has nothing to prove
    against: "auto" plays what the limits say.
    """
    if release.source is None and isinstance(request.episodes, AutoEpisodes):
        return first_looks(limits, None)
    return first_looks(limits, request.episodes, release.manifest.attempt)


def _after_first(
    paired: PairedEpisodes, seconds: float, *, limits: Limits, request: ParityRequest
) -> tuple[EpisodePlan, tuple[Look, ...]]:
    """Return what the first look shows, and tell it; as `plan_after`."""
    plan, looks = plan_after(paired, limits, request.episodes, seconds)
    request.tell(plan.sentence())
    return plan, looks


def stored(release: Release) -> tuple[Evidence, Measurements]:
    """Return the stored evidence with all that this host can gather again, and the profiles.

    What speaks for other files is dropped and named, and fails `files_unchanged`.
    """
    measurements = read_measurements(release)
    evidence, stale = stored_evidence(release)
    return refresh_evidence(release, evidence, (*stale, *measurements.refused)), measurements


@dataclass(frozen=True, slots=True)
class Judging:
    """What a verdict is asked for by."""

    limits: Limits | GateFile | None = None  # None: those of the bundle
    baseline: Sequence[Check] | None = (
        None  # of an earlier release that this one must not fall behind
    )
    run: str = ""  # told in the verdict, so that it is known from that of another run
    # whose signature the bundle must have, any one of them; empty: it need not be signed
    trusted: tuple[PublicKey, ...] = ()


def limits_asked(limits: Limits | GateFile | None, release: Release, evidence: Evidence) -> Limits:
    """Return the limits a bundle is judged by; None: its own."""
    if not isinstance(limits, GateFile):
        return limits or release.manifest.limits
    paired = evidence.paired
    mean = None if paired is None else float(paired.source.returns.mean())
    return limits.beside(release.manifest.limits, mean)


def judge_release(
    release: Release,
    *,
    limits: Limits | GateFile | None = None,
    baseline: Sequence[Check] | None = None,
    run: str = "",
    trusted: Sequence[PublicKey] = (),
) -> Verdict:
    """Return the verdict on a bundle as it lay there; writes verdict.json.

    Its files are checked and its example is replayed on every backend of this host anew; the rest
    comes from the stored evidence.

    Args:
        limits: what is asked; None: what the bundle was exported with.
        baseline: checks of an earlier release that this one must not fall behind.
        run: stands in the verdict, so that it is known from that of another run.
        trusted: whose signature the bundle must have, any one of them; none: it need not be signed.
    """
    evidence, measurements = stored(release)
    return decide(release, evidence, measurements, Judging(limits, baseline, run, tuple(trusted)))


def decide(
    release: Release, evidence: Evidence, measurements: Measurements, judging: Judging
) -> Verdict:
    """Return the verdict on a release, and store it."""
    evidence = replace(evidence, figures=figures_of(release, measurements))
    limits = limits_asked(judging.limits, release, evidence)
    wanted = with_profiles(limits, release, measurements)
    verdict = judge(
        evidence,
        wanted,
        policy=release.manifest.name,
        can_play=release.manifest.env is not None,
    )
    why = reasons(evidence, verdict.closed_loop, _quant_report(release))
    verdict = replace(
        verdict,
        why=why,
        manifest_sha256=release.manifest_sha256,
        evidence_sha256=evidence.sha256,
        run=judging.run,
    )
    if judging.trusted:
        signed = signature_check(release, judging.trusted, release.manifest_sha256, evidence.sha256)
        verdict = replace(verdict, checks=(signed, *verdict.checks))
    if judging.baseline is not None:
        checks = (*verdict.checks, *compare_with_baseline(verdict, judging.baseline))
        verdict = replace(verdict, checks=checks)
    release.store(VERDICT, OUTPUTS["json"](verdict).encode())
    return verdict


def own_target(release: Release, link: str | None = None, *, trust: bool = False) -> Target | None:
    """Return the bundle's board and the way to it, None where it was exported for none.

    Raises:
        InputError, ToolMissingError: as `target_of`.
    """
    board = board_of(release)
    if board is None:
        if link is not None:
            raise InputError(f"--link {link}: the bundle is for no board: export it with --board")
        return None
    return target_of(board, link, trust=trust)


def _int8_is_blamed(release: Release, evidence: Evidence, limits: Limits) -> bool:
    return judge(
        evidence,
        limits,
        policy=release.manifest.name,
        can_play=release.manifest.env is not None,
    ).blames_int8


def _quant_report(release: Release) -> QuantReport | None:
    """Return the report of the layers; None where there is none, or a damaged one."""
    if QUANTIZATION not in release.files:
        return None
    try:
        return QuantReport.from_json(release.files[QUANTIZATION].decode(errors="replace"))
    except InputError:
        return None
