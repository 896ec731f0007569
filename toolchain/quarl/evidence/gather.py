"""Parity: gathers what the gate judges, from the bundle's own files.

Import proof, equality of every backend with the integer reference, the example played again,
agreement of decisions, paired episodes of source, int8 artifact and float64 control. Nothing is
decided here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from quarl.bundle.release import Release
from quarl.evidence.agreement import compare_decisions_and_worst
from quarl.evidence.backends import compare_backends, compare_on_board, replay_example
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.evidence.consistency import consistency_of
from quarl.evidence.drift import state_drift
from quarl.evidence.evidence import (
    BackendEquality,
    CalibratedOn,
    Evidence,
    ImportProof,
    evidence_from_json,
)
from quarl.evidence.plan import EpisodePlan, Schedule
from quarl.evidence.play import play_own, play_pairs, play_robustness
from quarl.graph.rows import split_rows
from quarl.links.target import Target
from quarl.profiles.platforms import platform_of
from quarl.profiles.workload import release_workload
from quarl.rollouts.clipping import ClipCounter, ClippedInputs
from quarl.rollouts.shares import Field
from quarl.stats.sequential import Look
from quarl.workers.progress import Progress

PARITY = "parity.json"
ROBUSTNESS_EPISODES = 100  # under each disturbance, at most


@dataclass(frozen=True, slots=True)
class PlayPlan:
    """Which episodes are played, and when they are enough.

    Attributes:
        after_first: as in `Schedule`, with the plan that parity.json keeps.
    """

    field: Field
    looks: tuple[Look, ...]  # the last one is the most that are played
    is_settled: Callable[[PairedEpisodes], bool]
    robustness: bool  # whether source and int8 policy are played under disturbances as well
    after_first: Callable[[PairedEpisodes, float], tuple[EpisodePlan, tuple[Look, ...]]]


def gather_evidence(
    release: Release,
    plan: PlayPlan | None,
    target: Target | None,
    progress: Progress | None = None,
) -> Evidence:
    """Return the evidence that the int8 policy is its source's equal.

    A policy that came as an int8 file has no source: its backends are compared, and its own
    episodes played.

    Args:
        plan: None: no episodes are played.
        target: the bundle's board; None: it is for none.
    """
    proof = ImportProof(  # only the original file can give one
        release.manifest.origin.framework,
        0,
        None,
        "parity of a bundle does not see the original file",
    )
    evidence = Evidence(
        manifest_sha256=release.manifest_sha256,
        env=None if plan is None else plan.field.env,
        import_proof=proof,
        backends=(*compare_backends(release), *compare_board(release, target)),
        example=replay_example(release),
        has_source=release.source is not None,
        calibration=calibrated_on(release),
        attempt=release.manifest.attempt,
        refused=release.manifest.refused,
    )
    if release.source is None:
        if plan is not None:
            own = play_own(release, plan.field, plan.looks[-1].episodes, progress)
            evidence = replace(evidence, own=own)
        return replace(evidence, consistency=consistency_of(release, evidence, None))
    agreement, worst = compare_decisions_and_worst(
        release.source, release.quantized, release.example.obs
    )
    drift = state_drift(release.source, release.quantized, release.example.obs)
    evidence = replace(evidence, agreement=agreement, worst=worst, drift=drift)
    if plan is None:
        evidence = replace(evidence, clipped=_held_out_clipped(release))
    else:
        evidence = _with_episodes(evidence, release, plan, progress)
    return replace(evidence, consistency=consistency_of(release, evidence, agreement))


def _held_out_clipped(release: Release) -> ClippedInputs | None:
    """Return how much of the held-out observations lies outside the calibrated ranges."""
    counter = ClipCounter(release.quantized)
    obs = split_rows(release.contract, release.example.obs)[0]
    places = np.arange(len(obs), dtype=np.int64)
    counter.observe(places, places, obs)
    return counter.result()


def compare_board(release: Release, target: Target | None) -> tuple[BackendEquality, ...]:
    """Return the runtimes of the bundle's board beside the integers recorded at export."""
    if target is None:
        return ()
    workload = release_workload(release, platform_of(target.board), trust=target.trust)
    return compare_on_board(workload, target, release.example.outputs)


def stored_evidence(release: Release) -> tuple[Evidence, tuple[str, ...]]:
    """Return what parity.json holds, nothing where it speaks of another export, and then why.

    Raises:
        InputError: it is not evidence.
    """
    data = release.stored(PARITY)
    if data is None:
        return Evidence(), ()
    where = str(release.folder / PARITY)
    evidence = evidence_from_json(data, where)
    if evidence.manifest_sha256 != release.manifest_sha256:
        return Evidence(), (
            f"{PARITY}: was gathered on another export than the manifest describes",
        )
    return replace(evidence, sha256=hashlib.sha256(data).hexdigest()), ()


def refresh_evidence(release: Release, evidence: Evidence, stale: tuple[str, ...]) -> Evidence:
    """Return stored evidence with all that this host can gather again in a moment: what the files
    say of each other, the example, the backends of this host, the decisions.

    Args:
        stale: what does not speak for these files, one line each.
    """
    agreement, worst = None, evidence.worst
    if release.source is not None:
        agreement, worst = compare_decisions_and_worst(
            release.source, release.quantized, release.example.obs
        )
    example = replay_example(release)
    here = compare_backends(release)
    names = {backend.backend for backend in here}
    on_board = tuple(backend for backend in evidence.backends if backend.backend not in names)
    return replace(
        evidence,
        backends=(*here, *on_board),
        example=replace(example, changed_files=(*example.changed_files, *stale)),
        agreement=agreement,
        worst=worst,
        has_source=release.source is not None,
        calibration=calibrated_on(release),
        attempt=release.manifest.attempt,
        refused=release.manifest.refused,
        consistency=consistency_of(release, evidence, agreement),
    )


def calibrated_on(release: Release) -> CalibratedOn | None:
    """Return what the integers' ranges were taken from, None where the policy came with them."""
    used = release.manifest.calibration
    return None if used is None else CalibratedOn(used.observations, used.episodes)


def _with_episodes(
    evidence: Evidence, release: Release, plan: PlayPlan, progress: Progress | None
) -> Evidence:
    assert release.source is not None, "a policy without a source plays alone"
    known: list[EpisodePlan] = []

    def after_first(paired: PairedEpisodes, seconds: float) -> tuple[Look, ...]:
        episodes, looks = plan.after_first(paired, seconds)
        known.append(episodes)
        return looks

    schedule = Schedule(plan.looks, plan.is_settled, after_first)
    paired, clipped = play_pairs(release, plan.field, schedule, progress)
    count = min(len(paired.source.seeds), ROBUSTNESS_EPISODES)
    disturbed = play_robustness(release, plan.field, count, progress) if plan.robustness else ()
    return replace(evidence, paired=paired, clipped=clipped, robustness=disturbed, plan=known[0])
