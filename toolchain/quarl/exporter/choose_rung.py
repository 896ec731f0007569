"""Choose the rung: the lowest one on which the policy, played in its environment, keeps its mean
return and its tail.

The episodes that choose are other ones than the gate's, so the verdict on the chosen rung is not
flattered by the choice.
They are judged as the gate judges its own, at the same looks: a rung that is clearly good or
clearly ruined costs a part of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from quarl.bundle.limits import Limits
from quarl.bundle.rung_result import RungResult
from quarl.emitters import emit_tflite
from quarl.errors import InputError, QuantizationError
from quarl.evidence.agreement import DiscreteAgreement, compare_decisions
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import (
    LADDER,
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


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What a rung is chosen for.

    Attributes:
        held: held-out observations [n, *shape] that the gate will ask; they only refuse rungs that
            it would refuse. None: the calibration's alone are asked, which fitted rounding fits
            best.
        learn: makes integers that were trained, for where no rung holds; None: nothing is trained.
    """

    policy: Policy
    calibration: Calibration
    field: Field
    limits: Limits
    widths: Widths = INT8
    held: NDArray[Any] | None = None
    learn: Callable[[], QuantPolicy] | None = None


def choose_rung(
    choice: Choice,
    tried: Tried = lambda result: None,
    progress: Progress | None = None,
) -> tuple[QuantPolicy, tuple[RungResult, ...]]:
    """Return the policy on the lowest rung that holds the limits, and what was measured on every
    rung tried.

    A rung whose decisions miss the limits is not played. Where no rung holds, integers learn, if
    the choice says how. Where none holds at all, the one whose mean return was best is taken, or
    the highest where none was played: the gate has the last word.

    Args:
        progress: called with (episodes, most episodes) of the source or of the rung that plays.
    Raises:
        QuantizationError: no rung is possible.
        InputError: the environment cannot be played, or the policy plays no better than random.
    """
    episodes = choice.limits.episodes
    source = _Player(choice.field, partial(source_actor, choice.policy), episodes, progress)
    results: list[RungResult] = []
    best: tuple[float, QuantPolicy] | None = None
    for candidate, result in _candidates(choice):
        if candidate is not None and not result.missed:
            make = partial(artifact_actor, candidate, emit_tflite(candidate))
            int8 = _Player(choice.field, make, episodes, progress)
            result = _judge_play(result, source, int8, choice.limits)
        results.append(result)
        tried(result)
        if candidate is None:
            continue
        if not result.missed:
            return candidate, tuple(results)
        kept = -math.inf if result.mean is None else result.mean.lower
        if best is None or kept >= best[0]:
            best = kept, candidate
    if best is None:
        raise QuantizationError(f"no rung of the ladder is possible: {results[-1].missed[0]}")
    return best[1], tuple(results)


def _candidates(choice: Choice) -> Iterator[tuple[QuantPolicy | None, RungResult]]:
    """Yield the policy on each rung, None where that is not possible, and what its decisions are
    found to be; at last the integers that learned.
    """
    makers: list[tuple[int, Callable[[], QuantPolicy]]] = [
        (
            rung.number,
            partial(
                quantize_on_rung, choice.policy, choice.calibration, rung.number, choice.widths
            ),
        )
        for rung in LADDER
    ]
    if choice.learn is not None:
        makers.append((TRAINED_RUNG, choice.learn))
    for number, make in makers:
        try:
            candidate = make()
        except QuantizationError as error:
            missed = (f"not possible: {error}",)
            yield None, RungResult(number, rung_name(number), 0, 0.0, missed=missed)
            continue
        yield candidate, _decided(choice, candidate)


def _decided(choice: Choice, candidate: QuantPolicy) -> RungResult:
    """Return what the decisions of a candidate are found to be."""
    policy, calibration, limits = choice.policy, choice.calibration, choice.limits
    missed = decisions_missed(policy, candidate, calibration.obs, limits)
    if choice.held is not None and not missed:
        missed = decisions_missed(policy, candidate, choice.held, limits)
    error_found = decision_error(policy, candidate, calibration)
    assert candidate.rung is not None, "the ladder's, or trained"
    name = rung_name(candidate.rung)
    return RungResult(candidate.rung, name, candidate.parameter_bytes, error_found, missed=missed)


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


def decisions_missed(
    policy: Policy, candidate: QuantPolicy, obs: NDArray[Any], limits: Limits
) -> tuple[str, ...]:
    """Return what the limits ask of single decisions and the candidate does not hold on
    observations [n, *shape]; none or one line.
    """
    agreement = compare_decisions(policy, candidate, obs)
    if isinstance(agreement, DiscreteAgreement):
        least = limits.min_agreement
        return (
            (f"{agreement.agreement:.2%} of the actions agree, asked {least:.2%}",)
            if least and agreement.agreement < least
            else ()
        )
    most, share = limits.max_action_error, agreement.mean_share
    is_missed = most is not None and share is not None and share > most
    return (
        (f"actions are off by {share:.2%} of the range, allowed {most:.2%}",) if is_missed else ()
    )


def trained_rung(
    policy: Policy, calibration: Calibration, trained: QuantPolicy
) -> tuple[RungResult, ...]:
    """Return the result of integers that were trained; nothing is played."""
    error = decision_error(policy, trained, calibration)
    assert trained.rung is not None
    return (RungResult(trained.rung, rung_name(trained.rung), trained.parameter_bytes, error),)


def fixed_rung(
    policy: Policy, calibration: Calibration, number: int, widths: Widths = INT8
) -> tuple[QuantPolicy, tuple[RungResult, ...]]:
    """Return the policy on the rung, and its error on the calibration; nothing is played."""
    candidate = quantize_on_rung(policy, calibration, number, widths)
    error = decision_error(policy, candidate, calibration)
    return candidate, (RungResult(number, rung_name(number), candidate.parameter_bytes, error),)
