"""A chaotic policy is held against its source's own spread where the limits say so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quarl.evidence.closed_loop import PairedEpisodes
from quarl.evidence.evidence import Evidence
from quarl.verdict.formats.wording import headline
from quarl.verdict.judge import judge
from quarl.verdict.verdict import Outcome
from tests.support.release import COUNT, GOOD, LIMITS, episodes, pairs


def chaotic(loss: float = 0.0) -> Evidence:
    """Every player takes its own course: 400 episodes prove no margin of 9.6."""
    rng = np.random.default_rng(5)
    drawn = rng.normal(0, 1, (3, COUNT))
    centred = drawn - drawn.mean(axis=1, keepdims=True)  # the same mean, to the last digit
    source, control, int8 = 500 + 100 * centred
    paired = PairedEpisodes("Chaos-v0", *map(episodes, (source, int8 - loss, control)))
    return replace(GOOD, paired=paired)


RELATIVE = replace(LIMITS, chaos_margin=0.2, failure_return=0.0, source_return=None)


@pytest.mark.long
def test_what_is_as_chaotic_as_its_source_says_so_and_asks_for_limits_that_do() -> None:
    verdict = judge(chaotic(), replace(RELATIVE, chaos_margin=None), policy="p")
    assert verdict.answer is Outcome.NOT_PROVEN
    assert headline(verdict) == ("NOT PROVEN (as chaotic as its source): p must not be released")
    mean = next(check for check in verdict.checks if check.name == "mean_return")
    assert "int8 is as chaotic as its source" in mean.advice
    assert "chaos_margin = 0.2" in mean.advice


@pytest.mark.parametrize(
    ("loss", "answer"), [(0, Outcome.PASS), (20, Outcome.NOT_PROVEN), (60, Outcome.FAIL)]
)
def test_relative_to_the_control_a_fifth_of_its_spread_may_be_lost(
    loss: float, answer: Outcome
) -> None:
    verdict = judge(chaotic(loss), RELATIVE, policy="p")
    loop = verdict.closed_loop
    assert loop is not None
    assert verdict.answer is answer
    assert loop.chaos.control_spread == pytest.approx(141, abs=10)
    assert 20 < loop.mean.margin < 0.2 * loop.chaos.control_spread
    assert loop.mean.alpha == pytest.approx(0.04)
    assert "(as chaotic as its source)" in headline(verdict)


def test_a_control_that_never_moves_grants_nothing() -> None:
    paired = replace(pairs(), control=pairs().source)
    loop = judge(replace(GOOD, paired=paired), RELATIVE, policy="p").closed_loop
    assert loop is not None
    assert loop.mean.margin == pytest.approx(9.6, abs=0.01)
    assert not loop.is_chaotic
