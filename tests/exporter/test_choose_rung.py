"""The ladder, and which rung the measured return chooses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quarl import pipeline
from quarl.bundle.limits import DEFAULT_LIMITS, Limits
from quarl.bundle.rung_result import RungResult
from quarl.errors import InputError
from quarl.exporter.choose_rung import Trials, choose_rung
from quarl.exporter.cost import Cost, modelled
from quarl.exporter.fixed import fixed_rung
from quarl.exporter.weighing import Choice, weigh
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
from quarl.rollouts.actors import Actor, artifact_actor
from quarl.rollouts.episodes import Episodes, play_together
from quarl.rollouts.shares import Field
from quarl.sources.observations import observations_of
from quarl.sources.source import Source
from quarl.stats.seeds import SELECTION_SEED
from quarl.verdict.limits import looks_of
from tests.support.samples import sample

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


def test_the_most_faithful_within_the_cost_is_taken_and_alone_played(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    quantized, results = choose_rung(
        Choice(source.policy, calibration, Field(source.env), limits())
    )
    (taken,) = [result for result in results if result.taken]
    affordable = [
        result.differing
        for result in results
        if result.cost is not None and result.cost <= 1.05 and result.differing is not None
    ]
    assert taken.differing == min(affordable)
    assert quantized.rung == taken.rung
    assert [result for result in results if result.mean is not None] == [taken]
    assert len(results) == len(LADDER) + 4, "one of two activations wide, and both of fewer bits"
    assert min(result.cost or 2.0 for result in results) == 1.0


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_what_may_be_spent_decides_what_is_taken(
    pendulum: tuple[Source, Calibration], factor: float
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    choice = Choice(source.policy, calibration, Field(source.env), limits(), factor=factor)
    _, results = choose_rung(choice)
    (taken,) = [result for result in results if result.taken]
    assert taken.cost is not None
    assert taken.cost <= factor
    assert (taken.rung == 5) == (factor == 2.0)


def test_a_candidate_that_misses_what_is_asked_of_decisions_is_left_unplayed(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    _, results = choose_rung(
        Choice(source.policy, calibration, Field(source.env), limits(max_action_error=0.008))
    )
    assert results[0].mean is None
    assert "off by" in results[0].missed[0]
    assert [result.missed for result in results if result.taken] == [()]


def test_what_play_refuses_is_followed_by_the_next_until_one_holds(
    pendulum: tuple[Source, Calibration], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the last candidate that would be tried is let play as it is."""
    source, calibration = pendulum
    assert source.env is not None
    choice = Choice(source.policy, calibration, Field(source.env), limits())
    dearest = max(weigh(choice), key=lambda one: (one.result.cost, one.result.differing))
    assert dearest.policy is not None
    last = [node.output for node in dearest.policy.nodes]

    def only_the_last(policy: QuantPolicy, model: bytes) -> Actor:
        if [node.output for node in policy.nodes] == last:
            return artifact_actor(policy, model)
        return lambda obs: np.zeros((len(obs), 1), np.float32)

    monkeypatch.setattr("quarl.exporter.choose_rung.artifact_actor", only_the_last)
    tried: list[RungResult] = []
    _, results = choose_rung(choice, tried.append)
    assert len(tried) == len(results), "a release is not refused while something is untried"
    assert [bool(result.missed) for result in tried] == [True] * (len(tried) - 1) + [False]
    costs = [result.cost for result in tried if result.cost is not None and result.cost > 1.05]
    assert costs == sorted(costs), "dearer ones come last, the cheapest first"


def test_a_budget_of_the_board_keeps_a_candidate_out(
    pendulum: tuple[Source, Calibration], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, calibration = pendulum
    assert source.env is not None

    def emulated(policy: QuantPolicy) -> Cost:
        """A core on which each bit of the activations is dear."""
        tops = (node.output.qmax for node in policy.nodes if node.output is not None)
        wide = sum(min(top, 4095) for top in tops)
        instructions = modelled(policy).instructions ** 3 // 10**8 + wide // 10
        latency = {"firmware_latency_us": instructions / 10}
        return Cost(instructions, 1000, "emulated", latency)

    monkeypatch.setattr("quarl.exporter.weighing.CostModel.of", lambda self, made: emulated(made))
    choice = Choice(source.policy, calibration, Field(source.env), limits())
    costs = {one.result.instructions or 0 for one in weigh(choice)}
    *_, most, _ = sorted(costs)
    choice = replace(choice, limits=limits(budgets={"firmware_latency_us": most / 10}))
    _, results = choose_rung(choice)
    over = [result for result in results if "firmware_latency_us" in "".join(result.missed)]
    (taken,) = [result for result in results if result.taken]
    fits = [one for one in results if (one.instructions or 0) <= most]
    assert [result.mean for result in over] == [None] * len(over)
    assert 0 < len(over) < len(results)
    assert taken.differing == min(one.differing for one in fits if one.differing is not None)
    assert taken.cost is not None
    assert taken.cost > 1.05, "a deadline that holds is all that is asked of the cost"


def test_where_nothing_holds_the_most_faithful_is_returned_and_every_line_says_why(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    _, results = choose_rung(
        Choice(source.policy, calibration, Field(source.env), limits(max_action_error=0.0))
    )
    assert all(result.missed for result in results)
    assert sum(result.taken for result in results) == 1


def test_the_model_of_the_cost_is_near_what_an_emulator_counts() -> None:
    """Emulated instructions of one decision of nav_ppo and nav_dqn_small on an nRF52840."""
    counted = {
        "nav_ppo": {0: 11_084, 3: 11_015, 4: 10_783, 5: 11_045},
        "nav_dqn_small": {0: 16_709, 3: 16_733, 4: 16_506, 5: 17_784},
    }
    for name, by_rung in counted.items():
        source = pipeline.import_source(name)
        calibration = observations_of(source, None)[0]
        assert isinstance(source.policy, Policy)
        few = replace(calibration, obs=calibration.obs[:200], episode=calibration.episode[:200])
        for rung, instructions in by_rung.items():
            found = modelled(quantize_on_rung(source.policy, few, rung)).instructions
            assert found == pytest.approx(instructions, rel=0.05)


@pytest.mark.parametrize(("weights", "instructions"), [("int4", 82_135), ("int2", 56_170)])
def test_the_model_knows_what_packed_weights_cost(weights: str, instructions: int) -> None:
    """Emulated instructions of one decision of mlp256 on a Cortex-M4F; 74,661 with int8."""
    int8, packed = (modelled(sample("mlp256", 0, weights=name)[1]) for name in ("int8", weights))
    assert packed.instructions / int8.instructions == pytest.approx(instructions / 74_661, rel=0.05)
    assert packed.flash_bytes < int8.flash_bytes


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
    _, tried = choose_rung(choice)
    assert lessons == []
    hard = replace(choice, limits=limits(max_action_error=0.0))
    _, tried = choose_rung(hard)
    assert lessons == [learned]
    assert all(result.missed for result in tried)
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
    kept = [result.mean.lower for result in tried if result.mean is not None]
    (taken,) = [result for result in tried if result.taken]
    assert all(result.missed for result in tried)
    assert quantized.rung == taken.rung
    assert taken.mean is not None
    assert taken.mean.lower == max(kept)


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
    assert max(told) == (100, 800), "once by the source, once by the rung"


@pytest.mark.parametrize(("share", "played"), [(1.0, 400), (0.5, 100)])
def test_a_quarter_of_the_episodes_screens_where_a_gate_follows(
    pendulum: tuple[Source, Calibration],
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    played: int,
) -> None:
    monkeypatch.setattr("quarl.exporter.choose_rung.ALIKE", 0.0)
    source, calibration = pendulum
    assert source.env is not None
    strict = replace(limits(), episodes=400, margin=1e-4)  # nothing can pass by so little
    choice = Choice(source.policy, calibration, Field(source.env), strict)
    trials = Trials(choice, first_share=share)
    assert trials.next() is not None
    counts = {result.mean.episodes for result in trials.results if result.mean is not None}
    assert counts == {played}
    lost = {result.missed for result in trials.results if result.missed and result.mean}
    assert all("mean_return" in line for line, *_ in lost)


def test_what_decides_as_its_source_goes_before_the_gate_at_once(
    pendulum: tuple[Source, Calibration],
) -> None:
    source, calibration = pendulum
    assert source.env is not None
    trials = Trials(
        Choice(source.policy, calibration, Field(source.env), limits()), first_share=0.5
    )
    assert trials.next() is not None
    (taken,) = [result for result in trials.results if result.taken]
    assert taken.mean is None, "not played: its actions are alike enough"
    assert taken.differing is not None
    assert taken.differing <= 0.01
    unlike = [one for one in trials.results if (one.differing or 0) > 0.01]
    assert unlike, "some candidates would be screened"


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
        tried
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

    def watched(env: EnvSpec, players: Any, seeds: range, **more: Any) -> list[Episodes]:
        played.extend(seeds)
        return play_together(env, players, seeds, **more)

    monkeypatch.setattr("quarl.rollouts.shares.play_together", watched)
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
