"""Choose the integers: the most faithful candidate that costs the device no more than is allowed,
proven by play.

Cost and decision error on held-out observations are known without playing. The most faithful
candidate within the board's budgets, or within a factor of the cheapest, plays first; what its
episodes refuse is followed by the next. The episodes that choose are other ones than the gate's, so
the verdict is not flattered by the choice; they are judged as the gate judges its own, at the same
looks. Where a gate follows that is followed by the next candidate, a quarter of them screens: whose
returns and failures lie within the margins there goes before the gate, which does the proving. What
decides as its source does but for one observation in a hundred goes there at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from quarl.bundle.limits import Limits
from quarl.bundle.rung_result import Attempt, RungResult
from quarl.emitters import emit_tflite
from quarl.errors import QuantizationError
from quarl.evidence.closed_loop import ClosedLoop, PairedEpisodes
from quarl.exporter.fixed import NothingToChooseError
from quarl.exporter.weighing import Candidate, Choice, Examiner, weigh
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.ladder import (
    TRAINED_RUNG,
    rung_name,
)
from quarl.rollouts.actors import artifact_actor, source_actor
from quarl.rollouts.episodes import Episodes, join_episodes, some_of
from quarl.rollouts.shares import Field, Maker, play_each
from quarl.stats.seeds import SELECTION_SEED
from quarl.stats.tries import error_share
from quarl.verdict.closed_loop_checks import closed_loop_checks, closed_loop_of, loop_is_settled
from quarl.verdict.limits import looks_of
from quarl.verdict.verdict import Outcome
from quarl.workers.progress import Progress, part_of

SCREENED = 0.25  # of the episodes, where the gate follows
ALIKE = 0.01  # differing decisions, or action error: so like its source that nothing screens it

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
        progress: called with (episodes, most episodes) of the source and of what plays.
    Raises:
        QuantizationError: nothing is possible.
        InputError: the environment cannot be played, or the policy plays no better than random.
    """
    trials = Trials(choice, tried)
    quantized = trials.next(progress)
    assert quantized is not None, "nothing was refused by the gate yet"
    return quantized, trials.results


class Trials:
    """The candidates of a choice in the order in which play tries them, each once. What the gate
    refuses is followed by the next.

    Args:
        first_share: of the error, for the first candidate before the gate; 1: no other follows it.
    """

    def __init__(
        self, choice: Choice, tried: Tried = lambda result: None, first_share: float = 1.0
    ) -> None:
        self._choice, self._tried, self._first_share = choice, tried, first_share
        self._source = _Player(partial(source_actor, choice.policy))
        self._candidates = weigh(choice)
        self._results = [one.result for one in self._candidates]
        self._waiting = _in_order(self._candidates)
        self._learn = choice.learn
        self._refused = 0

    @property
    def results(self) -> tuple[RungResult, ...]:
        """What is known of every candidate."""
        return tuple(self._results)

    def next(self, progress: Progress | None = None) -> QuantPolicy | None:
        """Return the integers of the next candidate that holds; as `choose_rung` where none does.
        None: the gate has refused some, and none is left that holds.

        Raises:
            QuantizationError, InputError: as `choose_rung`.
        """
        best: tuple[tuple[float, float], int] | None = None
        last: RungResult | None = None
        while (place := self._draw()) is not None:
            last = result = self._played(place, progress)
            self._tried(result)
            if self._candidates[place].policy is None:
                continue
            if not result.missed:
                return self._take(place)
            faithful = -math.inf if result.differing is None else -result.differing
            kept = (-math.inf if result.mean is None else result.mean.lower, faithful)
            if best is None or kept > best[0]:
                best = kept, place
        if self._refused:
            return None
        if best is None:
            why = "there is none" if last is None else last.missed[0]
            raise QuantizationError(f"no rung of the ladder is possible: {why}")
        return self._take(best[1])

    def refuse(self, why: str) -> bool:
        """Take in that the gate refused what was taken; return whether another may follow it."""
        place = next(k for k, result in enumerate(self._results) if result.taken)
        result = self._results[place]
        if result.attempt is None or not self._has_more:
            return False
        self._refused += 1
        self._results[place] = replace(
            result,
            taken=False,
            attempt=replace(result.attempt, refused=why),
            missed=(f"the gate refused it: {why}",),
        )
        return True

    @property
    def _has_more(self) -> bool:
        """Whether a candidate is left that could hold."""
        waiting = (place for place in self._waiting if not self._results[place].missed)
        return self._learn is not None or any(self._candidates[p].policy for p in waiting)

    def _draw(self) -> int | None:
        """Return the place of the next candidate; integers that learn come last."""
        if self._waiting:
            return self._waiting.pop(0)
        if self._learn is None:
            return None
        self._candidates.append(_learned(self._choice, self._learn))
        self._results.append(self._candidates[-1].result)
        self._learn = None
        return len(self._results) - 1

    def _played(self, place: int, progress: Progress | None) -> RungResult:
        policy, result = self._candidates[place].policy, self._results[place]
        if policy is None or result.missed:
            return result
        limits, screens = self._choice.limits, self._first_share < 1
        if screens and result.differing is not None and result.differing <= ALIKE:
            return result
        make = partial(artifact_actor, policy, emit_tflite(policy))
        pair = _Pair(self._choice.field, self._source, _Player(make))
        result = _judge_play(result, pair, limits, progress, screens=screens)
        self._results[place] = result
        return result

    def _take(self, place: int) -> QuantPolicy:
        number, attempt = self._refused + 1, None
        if number > 1 or (self._first_share < 1 and self._has_more):
            attempt = Attempt(number, error_share(number))
        self._results[place] = replace(self._results[place], taken=True, attempt=attempt)
        policy = self._candidates[place].policy
        assert policy is not None
        return policy


def _in_order(candidates: Sequence[Candidate]) -> list[int]:
    """Return the places of the candidates: those within the cost, most faithful first; dearer ones,
    cheapest first; what cannot be taken.
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

    return sorted(range(len(candidates)), key=rank)


def _learned(choice: Choice, learn: Callable[[], QuantPolicy]) -> Candidate:
    """Return integers that learned, or why there are none."""
    try:
        learned = learn()
    except QuantizationError as error:
        missed = (f"not possible: {error}",)
        name = rung_name(TRAINED_RUNG)
        return Candidate(None, RungResult(TRAINED_RUNG, name, 0, 0.0, missed=missed))
    assert learned.rung is not None, "trained, or the best rung where training gained nothing"
    return Candidate(learned, Examiner(choice).examine(learned, rung_name(learned.rung)))


class _Player:
    """An actor whose episodes are played as far as they are asked for, and once."""

    def __init__(self, make: Maker) -> None:
        self.make = make
        self._parts: list[Episodes] = []

    @property
    def played(self) -> int:
        """How many episodes it has played."""
        return sum(len(part.seeds) for part in self._parts)

    def take(self, episodes: Episodes) -> None:
        """Take in that it has played these too."""
        self._parts.append(episodes)

    def first(self, count: int) -> Episodes:
        """Return the first `count` of the episodes it has played."""
        return some_of(join_episodes(self._parts), 0, count)


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Source and int8 policy on the same seeds."""

    field: Field
    source: _Player
    int8: _Player

    def play(self, count: int, progress: Progress | None) -> tuple[Episodes, Episodes]:
        """Return the first `count` episodes of both, and play those that lack."""
        behind = [one for one in (self.source, self.int8) if one.played < count]
        while behind:
            start = min(one.played for one in behind)
            together = [one for one in behind if one.played == start]
            end = min([count, *(one.played for one in behind if one.played > start)])
            seeds = range(SELECTION_SEED + start, SELECTION_SEED + end)
            makers = [one.make for one in together]
            for one, episodes in zip(
                together, play_each(self.field, makers, seeds, progress), strict=True
            ):
                one.take(episodes)
            behind = [one for one in behind if one.played < count]
        return self.source.first(count), self.int8.first(count)


def _judge_play(
    result: RungResult,
    pair: _Pair,
    limits: Limits,
    progress: Progress | None,
    *,
    screens: bool,
) -> RungResult:
    """Return the result with the paired episodes judged, as many of them as it takes.

    Args:
        screens: a share of them is enough, and what they show on average decides.

    Raises:
        InputError: the source plays no better than random.
    """
    asked = replace(
        limits, source_return=None
    )  # whether the source plays as well as it should is the gate's question
    looks = looks_of(asked, limits.episodes)
    played = 0
    for look in looks:
        part = part_of(progress, 2 * played, 2 * looks[-1].episodes)
        # the source is its own control: chaos is the gate's question too
        source, int8 = pair.play(look.episodes, part)
        paired = PairedEpisodes(pair.field.env.id, source, int8, source, looks)
        played = look.episodes
        loop, unusable = closed_loop_of(paired, asked)
        if loop is None or loop_is_settled(loop, asked):
            break
        if screens and look.episodes >= SCREENED * looks[-1].episodes:
            return replace(result, mean=loop.mean, failures=loop.failures, missed=_lost(loop))
    if loop is None:
        assert unusable is not None, "a comparison, or why there is none"
        raise NothingToChooseError(
            f"{pair.field.env.id}: {unusable.detail}: nothing can be chosen by it"
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


def _lost(loop: ClosedLoop) -> tuple[str, ...]:
    """Return what the candidate lost beyond the margins on average; none, one line or two."""
    mean, failures = loop.mean, loop.failures
    lost = []
    if mean.mean_difference < -mean.margin:
        lost.append(
            f"mean_return {mean.mean_difference:.4g} over {mean.episodes} episodes, allowed "
            f"{-mean.margin:.4g}"
        )
    if failures is not None and failures.rate_difference > failures.margin:
        lost.append(
            f"failure_rate {100 * failures.rate_difference:+.4g} points over {failures.episodes} "
            f"episodes, allowed {100 * failures.margin:.4g}"
        )
    return tuple(lost)
