"""Paired episodes are the same however many are played at once and whenever they are looked at; a
certain answer ends them.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv

from quarl import pipeline
from quarl.bundle.limits import Limits
from quarl.bundle.release import Release
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.evidence.evidence import evidence_from_json
from quarl.evidence.gather import PARITY
from quarl.evidence.plan import Schedule
from quarl.evidence.play import play_pairs, play_robustness
from quarl.exporter.export import ExportRequest
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.rollouts.robustness import DISTURBANCES
from quarl.rollouts.shares import Field
from quarl.stats.sequential import Look
from quarl.verdict.assess import ParityRequest
from quarl.verdict.closed_loop_checks import is_settled
from quarl.verdict.limits import looks_of
from quarl.verdict.planning import AutoEpisodes
from quarl.workers import open_workers
from quarl.workers.processes import Processes

ENV = EnvSpec("Pendulum-v1")
LIMITS = Limits(
    episodes=32, margin=0.3, random_return=-1230.0, failure_return=-1200.0, failure_margin=0.3
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return pipeline.export(
        pipeline.import_source("pendulum_sac"),
        tmp_path_factory.mktemp("parity") / "p",
        ExportRequest(rung=3, limits=LIMITS),
    )


@pytest.fixture(scope="module")
def source(bundle: Release) -> Policy:
    policy = bundle.source
    assert policy is not None
    return policy


def same(a: PairedEpisodes, b: PairedEpisodes) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in ("source", "candidate", "control")]
    equal = all(
        np.array_equal(x.returns, y.returns)
        and np.array_equal(x.lengths, y.lengths)
        and x.seeds == y.seeds
        for x, y in pairs
    )
    assert a.divergence is not None
    assert b.divergence is not None
    return equal and np.array_equal(a.divergence, b.divergence)


@pytest.mark.long
def test_pairs_depend_on_neither_lanes_nor_looks(bundle: Release, source: Policy) -> None:
    once, clipped = play_pairs(bundle, Field(ENV), Schedule((Look(9, 1.0),)))
    for looks, lanes in (
        ((Look(9, 1.0),), 2),
        ((Look(2, 0.1), Look(5, 0.2), Look(9, 0.7)), 64),
        ((Look(4, 0.5), Look(9, 0.5)), 3),
    ):
        again, counted = play_pairs(bundle, Field(ENV, lanes=lanes), Schedule(looks))
        assert same(once, again)
        assert counted == clipped
        assert again.looks == looks


def test_episodes_stop_at_the_first_look_that_settles_it(bundle: Release, source: Policy) -> None:
    looks = looks_of(LIMITS, 32)
    asked: list[int] = []

    def settled(paired: PairedEpisodes) -> bool:
        asked.append(len(paired.source.seeds))
        return len(asked) == 2

    paired, _ = play_pairs(bundle, Field(ENV), Schedule(looks, settled))
    assert asked == [8, 16]
    assert len(paired.candidate.seeds) == 16
    assert paired.looks == looks


@pytest.mark.long
def test_a_clear_pass_needs_fewer_episodes_than_were_allowed_and_says_so(
    bundle: Release, source: Policy
) -> None:
    wide = Limits(
        episodes=64, margin=0.3, random_return=-1230.0, failure_return=-1200.0, failure_margin=0.3
    )
    paired, _ = play_pairs(
        bundle, Field(ENV), Schedule(looks_of(wide, 64), partial(is_settled, limits=wide))
    )
    assert len(paired.source.seeds) < 64


@pytest.mark.long
def test_the_whole_evidence_of_a_bundle_survives_its_file(bundle: Release) -> None:
    evidence = pipeline.parity(bundle, ParityRequest(episodes=16, robustness=True))
    text = (bundle.folder / PARITY).read_text()
    assert evidence_from_json(text).to_json() == text == evidence.to_json()
    assert [disturbed.disturbance for disturbed in evidence.robustness] == list(DISTURBANCES)
    checks = {check.name for check in pipeline.gate(bundle).checks}
    assert {f"robust_{name}" for name in DISTURBANCES} <= checks
    assert "clipped_inputs" in checks


def test_disturbed_pairs_are_the_same_every_time(bundle: Release, source: Policy) -> None:
    first, second = (play_robustness(bundle, Field(ENV), 3) for _ in range(2))
    assert [d.candidate.returns.tolist() for d in first] == [
        d.candidate.returns.tolist() for d in second
    ]


def test_the_progress_of_all_actors_and_looks_rises_to_the_end(
    bundle: Release, source: Policy
) -> None:
    seen: list[tuple[int, int]] = []
    play_pairs(
        bundle,
        Field(ENV),
        Schedule((Look(2, 0.5), Look(5, 0.5))),
        progress=lambda done, count: seen.append((done, count)),
    )
    assert {count for _, count in seen} == {15}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (15, 15)


def test_the_first_look_chooses_how_many_are_played(bundle: Release, source: Policy) -> None:
    told: list[tuple[int, float]] = []

    def after_first(paired: PairedEpisodes, seconds: float) -> tuple[Look, ...]:
        told.append((len(paired.source.seeds), seconds))
        return (Look(3, 0.1), Look(5, 0.9))

    ticks = iter([10.0, 12.5])
    schedule = Schedule(
        (Look(3, 0.1), Look(1000, 0.9)), after_first=after_first, clock=lambda: next(ticks)
    )
    paired, _ = play_pairs(bundle, Field(ENV), schedule)
    assert told == [(3, 2.5)]
    assert (len(paired.source.seeds), paired.looks) == (5, (Look(3, 0.1), Look(5, 0.9)))
    assert same(paired, play_pairs(bundle, Field(ENV), Schedule((Look(5, 1.0),)))[0])


@pytest.mark.long
def test_auto_plays_to_a_verdict_and_keeps_its_plan(bundle: Release) -> None:
    said: list[str] = []
    request = ParityRequest(episodes=AutoEpisodes(1.0), tell=said.append)
    evidence = pipeline.parity(bundle, request)
    assert evidence.plan is not None
    assert evidence.paired is not None
    assert evidence.plan.budget_minutes == 1.0
    assert evidence.plan.most == evidence.paired.looks[-1].episodes
    assert said == [evidence.plan.sentence()]


def test_a_bundle_path_is_no_part_of_the_evidence(bundle: Release, tmp_path: Path) -> None:
    assert str(bundle.folder) not in pipeline.parity(bundle, ParityRequest(episodes=8)).to_json()


@pytest.mark.long
def test_the_evidence_is_the_same_bytes_whatever_the_number_of_workers(bundle: Release) -> None:
    texts = []
    for count in (1, 3):
        with open_workers(count, None) as workers:
            request = ParityRequest(episodes=16, robustness=True, workers=workers)
            evidence = pipeline.parity(bundle, request)
            assert evidence.plan is not None
            plan = replace(evidence.plan, seconds_per_pair=0.0)  # it alone is a matter of time
            texts.append(replace(evidence, plan=plan).to_json())
    assert texts[0] == texts[1]


@pytest.mark.long
def test_a_control_plays_all_pairs_where_any_share_meets_chance(bundle: Release) -> None:
    """The first share alone asks whether the environment repeats itself."""
    workers = Processes(2)
    env = EnvSpec("tests.evidence.test_gather:Drifting-v0")
    for looks in ((Look(12, 1.0),), (Look(6, 0.5), Look(12, 0.5))):
        paired, _ = play_pairs(bundle, Field(env, workers), Schedule(looks))
        assert len(paired.source.returns) == 12
        assert (paired.source.returns != paired.control.returns).all()
    workers.close()


class Drifting(PendulumEnv):
    """A pendulum that begins elsewhere every time, whatever its seed."""

    def reset(self, **kwargs: object) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=int(time.monotonic_ns() % 2**31))


if "Drifting-v0" not in gymnasium.registry:
    gymnasium.register("Drifting-v0", Drifting, max_episode_steps=20)  # type: ignore[arg-type]
