"""Choose the rung: the lowest one on which the policy, played in its environment, keeps its mean return and its tail.

The episodes that choose are other ones than the gate's, so the verdict on the chosen rung is not flattered by the choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from quarl import integer
from quarl.actors import source_actor
from quarl.agreement import DiscreteAgreement, compare_decisions
from quarl.calibrate import Calibration
from quarl.closed_loop import failures_of
from quarl.errors import InputError, QuantizationError
from quarl.ladder import LADDER, decision_error, quantize_on_rung
from quarl.lanes import EnvSpec
from quarl.limits import Limits, failure_of, margin_of
from quarl.noninferiority import compare_failures, compare_means
from quarl.policy import Policy
from quarl.quant_policy import QuantPolicy
from quarl.rollouts import run_episodes
from quarl.seeds import SELECTION_SEED

Tried = Callable[["RungResult"], None]


@dataclass(frozen=True, slots=True)
class RungResult:
    """What was measured on one rung; the closed loop on `episodes` paired episodes, 0 where it was not played."""

    rung: int
    name: str
    parameter_bytes: int
    decision_error: float  # on the calibration: value lost per decision (discrete) or action error (box), in the policy's units
    episodes: int
    mean_source: float | None
    mean_candidate: float | None
    mean_lower: float | None  # lower confidence bound of the mean difference
    failure_rise: float | None  # 0..1
    passed: bool | None
    refused: str  # why the rung cannot be had; empty where it can


def choose_rung(
    policy: Policy, calibration: Calibration, env: EnvSpec, limits: Limits, tried: Tried = lambda result: None
) -> tuple[QuantPolicy, tuple[RungResult, ...]]:
    """Return the policy on the lowest rung that holds the limits, and what was measured on every rung tried.

    Where none does, the rung whose lower bound of the mean is best is returned, and the gate has the last word.

    Raises:
        QuantizationError: no rung can be had at all.
        InputError: the environment cannot be played, or the policy plays no better than random.
    """
    seeds = range(SELECTION_SEED, SELECTION_SEED + limits.episodes)
    source = run_episodes(env, source_actor(policy), seeds)
    mean_source = float(source.returns.mean())
    margin = margin_of(limits, mean_source)
    if margin is None:
        raise InputError(
            f"the policy's mean return {mean_source:.4g} in {env.id} is no better than random play: nothing can be chosen by it"
        )
    failure = failure_of(limits, mean_source)
    source_failed = failures_of(source, failure)
    results: list[RungResult] = []
    best: tuple[float, QuantPolicy] | None = None
    for rung in LADDER:
        try:
            candidate = quantize_on_rung(policy, calibration, rung.number)
        except QuantizationError as error:
            results.append(RungResult(rung.number, rung.name, 0, 0.0, 0, None, None, None, None, None, str(error)))
            tried(results[-1])
            continue
        played = run_episodes(env, partial(integer.act, candidate), seeds)
        mean = compare_means(source.returns, played.returns, margin, alpha=limits.alpha)
        failed = failures_of(played, failure)
        failures = (
            None
            if source_failed is None or failed is None
            else compare_failures(source_failed, failed, limits.failure_margin, alpha=limits.alpha)
        )
        agrees = decisions_hold(policy, candidate, calibration, limits)
        passed = mean.passed and (failures is None or failures.passed) and agrees
        results.append(
            RungResult(
                rung.number,
                rung.name,
                candidate.parameter_bytes,
                decision_error(policy, candidate, calibration),
                limits.episodes,
                mean.mean_source,
                mean.mean_candidate,
                mean.lower,
                None if failures is None else failures.rate_difference,
                passed,
                "",
            )
        )
        tried(results[-1])
        if best is None or mean.lower > best[0]:
            best = (mean.lower, candidate)
        if passed:
            return candidate, tuple(results)
    if best is None:
        raise QuantizationError(f"no rung of the ladder can be had: {results[-1].refused}")
    return best[1], tuple(results)


def decisions_hold(policy: Policy, candidate: QuantPolicy, calibration: Calibration, limits: Limits) -> bool:
    """Return whether the decisions on the calibration observations are as close as the limits ask."""
    agreement = compare_decisions(policy, candidate, calibration.obs)
    if isinstance(agreement, DiscreteAgreement):
        return limits.min_agreement is None or agreement.agreement >= limits.min_agreement
    return limits.max_action_error is None or agreement.mean_share is None or agreement.mean_share <= limits.max_action_error


def fixed_rung(policy: Policy, calibration: Calibration, number: int) -> tuple[QuantPolicy, tuple[RungResult, ...]]:
    """Return the policy on the rung, and its error on the calibration; nothing is played."""
    candidate = quantize_on_rung(policy, calibration, number)
    error = decision_error(policy, candidate, calibration)
    name = LADDER[number].name
    return candidate, (RungResult(number, name, candidate.parameter_bytes, error, 0, None, None, None, None, None, ""),)
