"""How many episodes are played is said before, again after the first look, and kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quarl.bundle.limits import Limits
from quarl.errors import InputError
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.evidence.evidence import evidence_from_json
from quarl.evidence.plan import EpisodePlan, minutes_text
from quarl.stats.noninferiority import MOST_EPISODES
from quarl.verdict.judge import judge
from quarl.verdict.planning import (
    AutoEpisodes,
    asked_episodes,
    check_provable,
    first_looks,
    plan_after,
    plan_sentence,
)
from tests.support.release import GOOD, LIMITS, pairs

WIDE = Limits(random_return=0.0, failure_return=0.0)


def first_look(spread: float = 1.0) -> PairedEpisodes:
    count = first_looks(WIDE, AutoEpisodes())[0].episodes
    return replace(pairs(spread=spread, count=count), looks=first_looks(WIDE, AutoEpisodes()))


@pytest.mark.long
def test_auto_plays_what_the_spread_of_the_first_look_asks_for() -> None:
    narrow, looks = plan_after(first_look(), WIDE, AutoEpisodes(), 1.0)
    wide, more = plan_after(first_look(spread=200.0), WIDE, AutoEpisodes(), 1.0)
    assert looks[0].episodes == narrow.first_look == 38
    assert narrow.needed is not None
    assert wide.needed is not None
    assert narrow.most == narrow.needed == looks[-1].episodes < wide.needed == more[-1].episodes
    assert narrow.seconds_per_pair == pytest.approx(1 / 38)


@pytest.mark.long
@pytest.mark.parametrize(("budget", "most"), [(1.0, 60), (0.01, 39), (1e4, 762)])
def test_auto_stays_within_its_budget_and_says_what_that_means(budget: float, most: int) -> None:
    plan, looks = plan_after(first_look(), WIDE, AutoEpisodes(budget), 38.0)
    assert plan.needed == 762
    assert plan.most == looks[-1].episodes == most
    assert ("expect NOT PROVEN" in plan.sentence()) is (most < 762)
    assert "an equal policy needs about 762 (13 min)" in plan.sentence()


def test_a_given_number_is_kept_and_what_would_be_needed_is_said() -> None:
    asked = replace(first_look(), looks=first_looks(replace(WIDE, episodes=304), None))
    plan, looks = plan_after(asked, WIDE, None, 38.0)
    assert looks == asked.looks
    assert (plan.most, plan.budget_minutes) == (304, None)


def test_two_hundred_flawless_pairs_are_not_called_too_few() -> None:
    flawless = pairs(spread=0.0, count=25)
    plan, _ = plan_after(replace(flawless, looks=first_looks(WIDE, None)), WIDE, None, 5.0)
    assert plan.needed is not None
    assert 149 <= plan.needed <= 200
    assert "NOT PROVEN" not in plan.sentence()


@pytest.mark.long
def test_a_margin_that_no_number_proves_plays_the_budget_and_says_so() -> None:
    plan, _ = plan_after(first_look(200.0), replace(WIDE, margin=1e-6), AutoEpisodes(1), 38.0)
    assert (plan.needed, plan.most) == (None, 60)
    assert "no number of pairs proves the limits" in plan.sentence()


def test_what_is_planned_is_said_before() -> None:
    said = plan_sentence(WIDE, AutoEpisodes(5))
    assert "as many paired episodes as the limits need, in at most 5 minutes; 38 show how many" in (
        said
    )
    check_provable(replace(WIDE, episodes=2), AutoEpisodes())
    assert first_looks(WIDE, AutoEpisodes())[-1].episodes == MOST_EPISODES


def test_the_plan_is_kept_in_the_evidence_and_times_the_advice() -> None:
    plan = EpisodePlan(400, 50, 3.0, 1600, 1.5, None)
    evidence = replace(GOOD, plan=plan)
    assert evidence_from_json(evidence.to_json()).plan == plan
    tight = replace(LIMITS, margin=1e-4)
    advice = {c.name: c.advice for c in judge(evidence, tight, policy="p").unproven}["mean_return"]
    assert "at the speed of these" in advice
    assert " min at the speed of these" in advice
    untimed = {c.name: c.advice for c in judge(GOOD, tight, policy="p").unproven}["mean_return"]
    assert "at the speed of these" not in untimed


@pytest.mark.parametrize(("minutes", "text"), [(0.001, "1 s"), (1.5, "90 s"), (61, "61 min")])
def test_times_read_as_people_say_them(minutes: float, text: str) -> None:
    assert minutes_text(minutes) == text


def test_the_options_name_a_number_or_auto_with_its_budget() -> None:
    assert asked_episodes(None, None) is None
    assert asked_episodes("200", None) == 200
    assert asked_episodes("auto", None) == AutoEpisodes(10.0)
    assert asked_episodes("auto", 2.5) == AutoEpisodes(2.5)


@pytest.mark.parametrize(
    ("text", "budget"),
    [("1", None), ("0", None), ("-3", None), ("1000001", None), ("many", None), ("9" * 5000, None),
     ("auto", 0.0), ("auto", -1.0), ("auto", float("nan")), ("auto", 1e6), ("200", 5.0),
     (None, 5.0)],
)  # fmt: skip
def test_other_words_are_refused_in_one_sentence(text: str | None, budget: float | None) -> None:
    with pytest.raises(InputError) as refused:
        asked_episodes(text, budget)
    assert len(str(refused.value)) < 200
