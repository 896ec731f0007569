"""Choose the integers: the most faithful candidate that costs the device no more than is allowed,
proven by play.

Cost and decision error on held-out observations are known without playing. The most faithful
candidate within the board's budgets, or within a factor of the cheapest, plays first; what its
episodes refuse is followed by the next. The episodes that choose are other ones than the gate's, so
the verdict is not flattered by the choice; they are judged as the gate judges its own, at the same
looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from quarl.bundle.limits import Limits
from quarl.bundle.rung_result import RungResult
from quarl.emitters import emit_tflite
from quarl.errors import InputError, QuantizationError
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.exporter.weighing import Candidate, Choice, Examiner, weigh
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import (
    TRAINED_RUNG,
    decision_error,
    quantize_on_rung,
    rung_name,
)
from quarl.quantize.widths import INT8, Widths
from quarl.rollouts.actors import artifact_actor, source_actor
from quarl.rollouts.episodes import Episodes, join_episodes
from quarl.rollouts.shares import Field, Maker, play_episodes
from quarl.stats.seeds import SELECTION_SEED
from quarl.verdict.closed_loop_checks import closed_loop_checks, closed_loop_of, loop_is_settled
from quarl.verdict.limits import looks_of
from quarl.verdict.verdict import Outcome
from quarl.workers.progress import Progress, part_of

Tried = Callable[["RungResult"], None]


def choose_rung(
    choice: Choice,
    tried: Tried = lambda result: None,
    progress: Progress | None = None,
) -> tuple[QuantPolicy, tuple[RungResult, ...]]:
    """Return the integers to take, and what was measured on every candidate.

    The most faithful of those within the cost plays first. Where play refuses all of them, dearer
    ones follow, the cheapest first, and at last integers that learn, if the choice says how. Where
    none holds at all, the one whose mean return was best is taken, or the most faithful where none
    was played: the gate has the last word.

    Args:
        progress: called with (episodes, most episodes) of the source or of what plays.
    Raises:
        QuantizationError: nothing is possible.
        InputError: the environment cannot be played, or the policy plays no better than random.
    """
    episodes = choice.limits.episodes
    source = _Player(choice.field, partial(source_actor, choice.policy), episodes, progress)
    candidates = weigh(choice)
    results = [one.result for one in candidates]
    best: tuple[tuple[float, float], int, QuantPolicy] | None = None
    for place, candidate in _in_order(choice, candidates):
        if place == len(results):
            results.append(candidate.result)
        result = candidate.result
        if candidate.policy is None:
            tried(result)
            continue
        if not result.missed:
            make = partial(artifact_actor, candidate.policy, emit_tflite(candidate.policy))
            int8 = _Player(choice.field, make, episodes, progress)
            result = results[place] = _judge_play(result, source, int8, choice.limits)
        tried(result)
        faithful = -math.inf if result.differing is None else -result.differing
        kept = (-math.inf if result.mean is None else result.mean.lower, faithful)
        if not result.missed or best is None or kept > best[0]:
            best = kept, place, candidate.policy
        if not result.missed:
            break
    if best is None:
        raise QuantizationError(f"no rung of the ladder is possible: {results[-1].missed[0]}")
    results[best[1]] = replace(results[best[1]], taken=True)
    return best[2], tuple(results)


def _in_order(choice: Choice, candidates: list[Candidate]) -> Iterator[tuple[int, Candidate]]:
    """Yield the candidates with their places: those within the cost, most faithful first; dearer
    ones, cheapest first; what cannot be taken; integers that learned, at the place after the last.
    """

    def rank(place: int) -> tuple[Any, ...]:
        candidate, result = candidates[place], candidates[place].result
        if candidate.policy is None:
            return 2, place
        faithful = (
            math.inf if result.differing is None else result.differing,
            result.decision_error,
        )
        if candidate.is_affordable:
            return 0, *faithful, result.cost or 0.0, place
        return 1, result.cost or 0.0, *faithful, place

    for place in sorted(range(len(candidates)), key=rank):
        yield place, candidates[place]
    if choice.learn is not None:
        try:
            learned = choice.learn()
        except QuantizationError as error:
            missed = (f"not possible: {error}",)
            name = rung_name(TRAINED_RUNG)
            yield (
                len(candidates),
                Candidate(None, RungResult(TRAINED_RUNG, name, 0, 0.0, missed=missed)),
            )
            return
        assert learned.rung is not None, "trained, or the best rung where training gained nothing"
        yield (
            len(candidates),
            Candidate(learned, Examiner(choice).examine(learned, rung_name(learned.rung))),
        )


class NothingToChooseError(InputError):
    """The source plays no better than random, so that no rung's return says anything."""


class _Player:
    """An actor whose episodes are played as far as they are asked for, and once."""

    def __init__(self, field: Field, make: Maker, most: int, progress: Progress | None) -> None:
        self.field = field
        self._make, self._most, self._progress = make, most, progress
        self._parts: list[Episodes] = []

    def first(self, count: int) -> Episodes:
        """Return the first `count` episodes."""
        played = sum(len(part.seeds) for part in self._parts)
        if played < count:
            seeds = range(SELECTION_SEED + played, SELECTION_SEED + count)
            progress = part_of(self._progress, played, self._most)
            self._parts.append(play_episodes(self.field, self._make, seeds, progress))
        whole = join_episodes(self._parts)
        successes = None if whole.successes is None else whole.successes[:count]
        return Episodes(
            whole.seeds[:count], whole.returns[:count], whole.lengths[:count], successes
        )


def _judge_play(result: RungResult, source: _Player, int8: _Player, limits: Limits) -> RungResult:
    """Return the result with the paired episodes judged, as many of them as it takes.

    Raises:
        InputError: the source plays no better than random.
    """
    asked = replace(
        limits, source_return=None
    )  # whether the source plays as well as it should is the gate's question
    looks = looks_of(asked, limits.episodes)
    for look in looks:
        reference = source.first(look.episodes)  # its own control: chaos is the gate's question too
        paired = PairedEpisodes(
            source.field.env.id, reference, int8.first(look.episodes), reference, looks
        )
        loop, unusable = closed_loop_of(paired, asked)
        if loop is None or loop_is_settled(loop, asked):
            break
    if loop is None:
        assert unusable is not None, "a comparison, or why there is none"
        raise NothingToChooseError(
            f"{source.field.env.id}: {unusable.detail}: nothing can be chosen by it"
        )
    failed = [
        check
        for check in closed_loop_checks(loop, asked)
        if check.outcome not in (Outcome.PASS, Outcome.REPORTED)
    ]
    missed = tuple(
        f"{check.name} {check.found:.4g} {check.unit}, allowed {check.allowed:.4g}"
        for check in failed
        if check.found is not None
    )
    return replace(result, mean=loop.mean, failures=loop.failures, missed=missed)


def trained_rung(
    policy: Policy, calibration: Calibration, trained: QuantPolicy
) -> tuple[RungResult, ...]:
    """Return the result of integers that were trained; nothing is played."""
    error = decision_error(policy, trained, calibration)
    assert trained.rung is not None
    name = rung_name(trained.rung)
    return (RungResult(trained.rung, name, trained.parameter_bytes, error, taken=True),)


def fixed_rung(
    policy: Policy, calibration: Calibration, number: int, widths: Widths = INT8
) -> tuple[QuantPolicy, tuple[RungResult, ...]]:
    """Return the policy on the rung, and its error on the calibration; nothing is played."""
    candidate = quantize_on_rung(policy, calibration, number, widths)
    error = decision_error(policy, candidate, calibration)
    size = candidate.parameter_bytes
    return candidate, (RungResult(number, rung_name(number), size, error, taken=True),)
