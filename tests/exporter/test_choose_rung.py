"""The ladder, and which rung the measured return chooses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quarl import pipeline
from quarl.bundle.limits import DEFAULT_LIMITS, Limits
from quarl.errors import InputError
from quarl.evidence.agreement import BoxAgreement, compare_decisions
from quarl.exporter.choose_rung import Choice, choose_rung, fixed_rung
from quarl.graph import reference as integer
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import (
    LADDER,
    TRAINED_RUNG,
    decision_error,
    quantize_on_rung,
    rung_numbered,
)
from quarl.rollouts.actors import Actor
from quarl.rollouts.episodes import Episodes, run_episodes
from quarl.rollouts.shares import Field
from quarl.sources.observations import observations_of
from quarl.sources.source import Source
from quarl.stats.seeds import SELECTION_SEED
from quarl.verdict.limits import looks_of

pytestmark = pytest.mark.play


@pytest.fixture(scope="module")
def pendulum() -> tuple[Source, Calibration]:
    source = pipeline.import_source("pendulum_sac")
    return source, observations_of(source, None)[0]


def limits(**changes: object) -> Limits:
    return replace(
        DEFAULT_LIMITS,
        episodes=40,
        random_return=-1200.0,
        margin=0.05,
        failure_margin=0.2,
        **changes,
    )  # type: ignore[arg-type]


def test_the_rungs_are_numbered_in_order_and_each_adds_to_the_one_below() -> None:
    assert [rung.number for rung in LADDER] == list(range(len(LADDER)))
    assert len({rung.settings for rung in LADDER}) == len(LADDER)


def test_an_unknown_rung_is_refused() -> None:
    with pytest.raises(InputError, match="rung 6"):
        rung_numbered(6)


def test_the_lowest_rung_that_keeps_the_return_is_taken(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    quantized, tried = choose_rung(Choice(source.policy, calibration, Field(source.env), limits()))
    assert quantized.rung == 0
    assert [result.rung for result in tried] == [0]
    assert tried[0].mean is not None
    assert tried[0].mean.passed


def test_a_rung_that_misses_what_is_asked_of_decisions_is_left_unplayed(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    quantized, tried = choose_rung(
        Choice(source.policy, calibration, Field(source.env), limits(max_action_error=0.008))
    )
    assert quantized.rung == 1
    assert tried[0].mean is None
    assert "off by" in tried[0].missed[0]
    assert not tried[1].missed


def test_a_rung_that_the_gate_would_refuse_for_its_held_out_decisions_is_left_unplayed(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    assert isinstance(source.policy, Policy)
    plain = quantize_on_rung(source.policy, calibration, 0)
    fitted = compare_decisions(source.policy, plain, calibration.obs)
    assert isinstance(fitted, BoxAgreement)
    assert fitted.mean_share is not None
    asked = limits(max_action_error=1.05 * fitted.mean_share)
    made = integer.act(plain, calibration.obs)
    worst = np.abs(made - source.policy.act(calibration.obs)).max(axis=1).argsort()[-200:]
    _, tried = choose_rung(
        Choice(source.policy, calibration, Field(source.env), asked, held=calibration.obs[worst])
    )
    assert tried[0].mean is None
    assert "off by" in tried[0].missed[0]
    assert [
        result.rung
        for result in choose_rung(Choice(source.policy, calibration, Field(source.env), asked))[1]
    ] == [0]


def test_where_no_rung_holds_the_highest_is_returned_and_every_line_says_why(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    quantized, tried = choose_rung(
        Choice(source.policy, calibration, Field(source.env), limits(max_action_error=0.0))
    )
    assert quantized.rung == LADDER[-1].number
    assert all(result.missed for result in tried)


def test_integers_learn_only_where_no_rung_holds_and_stand_above_the_highest(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    learned = replace(quantize_on_rung(source.policy, calibration, 3), rung=TRAINED_RUNG)
    lessons: list[QuantPolicy] = []

    def learn() -> QuantPolicy:
        lessons.append(learned)
        return learned

    choice = Choice(source.policy, calibration, Field(source.env), limits(), learn=learn)
    quantized, tried = choose_rung(choice)
    assert (quantized.rung, lessons) == (0, [])
    hard = replace(choice, limits=limits(max_action_error=0.0))
    quantized, tried = choose_rung(hard)
    assert lessons == [learned]
    assert quantized is learned
    assert [(r.rung, r.name) for r in tried[-2:]] == [(5, "wide activations"), (6, "trained")]


def test_where_rungs_were_played_and_none_holds_the_best_mean_is_taken(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    quantized, tried = choose_rung(
        Choice(
            source.policy,
            calibration,
            Field(source.env),
            replace(limits(), failure_margin=0.001, episodes=20),
        )
    )
    kept = {result.rung: result.mean.lower for result in tried if result.mean is not None}
    assert all(result.missed for result in tried)
    assert quantized.rung is not None
    assert kept[quantized.rung] == max(kept.values())


def test_a_rung_is_played_as_far_as_it_takes_and_the_source_once(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    told: list[tuple[int, int]] = []
    generous = replace(limits(max_action_error=0.008), episodes=400, margin=0.2)
    _, tried = choose_rung(
        Choice(source.policy, calibration, Field(source.env), generous),
        progress=lambda *done: told.append(done),
    )
    counts = [result.mean.episodes for result in tried if result.mean is not None]
    assert counts == [50], "the first look at which a flawless release can pass"
    assert told.count((50, 400)) == 2, "once by the source, once by the rung"
    assert max(done for done, _ in told) == 50


def test_a_ruined_rung_is_given_up_early(
    pendulum: tuple[Source, Calibration], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, calibration = pendulum
    assert source.env is not None

    def still(policy: QuantPolicy, model: bytes) -> Actor:
        return lambda obs: np.zeros((len(obs), 1), np.float32)

    monkeypatch.setattr("quarl.exporter.choose_rung.artifact_actor", still)
    _, tried = choose_rung(
        Choice(source.policy, calibration, Field(source.env), replace(limits(), episodes=400))
    )
    assert [result.mean.episodes for result in tried if result.mean is not None] == [50] * len(
        LADDER
    )
    assert all("mean_return" in result.missed[0] for result in tried)


def test_a_policy_no_better_than_random_play_cannot_be_chosen_by_its_return(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    with pytest.raises(InputError, match="no better than random"):
        choose_rung(
            Choice(
                source.policy, calibration, Field(source.env), replace(limits(), random_return=0.0)
            )
        )


def test_a_source_that_plays_like_random_is_refused_at_the_first_look(
    pendulum: tuple[Source, Calibration], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    played: list[int] = []

    def watched(env: EnvSpec, actor: Actor, seeds: range, **more: Any) -> Episodes:
        played.extend(seeds)
        return run_episodes(env, actor, seeds, **more)

    monkeypatch.setattr("quarl.exporter.choose_rung.run_episodes", watched)
    close = replace(limits(), random_return=-160.0, episodes=400)  # the source has -150 +- 80
    with pytest.raises(InputError, match="cannot be told from random play"):
        choose_rung(Choice(source.policy, calibration, Field(source.env), close))
    assert max(played) < SELECTION_SEED + looks_of(close, 400)[0].episodes


def test_a_fixed_rung_is_quantised_and_not_played(pendulum: tuple[Source, Calibration]) -> None:
    source, calibration = pendulum
    quantized, tried = fixed_rung(source.policy, calibration, 3)
    assert quantized.rung == 3
    assert tried[0].mean is None
    assert tried[0].decision_error == decision_error(source.policy, quantized, calibration)


def test_the_highest_rung_decides_better_than_the_lowest(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    errors = [
        decision_error(
            source.policy, quantize_on_rung(source.policy, calibration, rung), calibration
        )
        for rung in (0, 5)
    ]
    assert errors[1] < errors[0] / 4
