"""Choose the rung: the lowest one on which the policy, played in its environment, keeps its mean return and its tail.

The episodes that choose are other ones than the gate's, so the verdict on the chosen rung is not flattered by the choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from quarl.actors import artifact_actor, source_actor
from quarl.agreement import DiscreteAgreement, compare_decisions
from quarl.calibrate import Calibration
from quarl.closed_loop import failures_of
from quarl.emitters import emit_tflite
from quarl.errors import InputError, QuantizationError
from quarl.ladder import LADDER, decision_error, quantize_on_rung
from quarl.lanes import EnvSpec
from quarl.limits import Limits, failure_of, looks_of, margin_of
from quarl.noninferiority import FailureTest, MeanTest, compare_failures, compare_means
from quarl.policy import Policy
from quarl.quant_policy import QuantPolicy
from quarl.quantize import Weights
from quarl.rollouts import Episodes, run_episodes
from quarl.seeds import SELECTION_SEED

Tried = Callable[["RungResult"], None]


@dataclass(frozen=True, slots=True)
class RungResult:
    """What was measured on one rung; the closed loop is None where it was not played."""

    rung: int
    name: str
    parameter_bytes: int
    decision_error: float  # on the calibration: value lost per decision (discrete) or action error (box), in the policy's units
    mean: MeanTest | None = None
    failures: FailureTest | None = None
    missed: tuple[str, ...] = ()  # what the limits ask and the rung does not hold, in words


def choose_rung(
    policy: Policy,
    calibration: Calibration,
    env: EnvSpec,
    limits: Limits,
    tried: Tried = lambda result: None,
    weights: Weights = "int8",
) -> tuple[QuantPolicy, tuple[RungResult, ...]]:
    """Return the policy on the lowest rung that holds the limits, and what was measured on every rung tried.

    A rung whose decisions on the calibration observations miss the limits is not played. Where no rung holds, the one whose mean return
    was best is taken, or the highest where none was played: the gate has the last word.

    Raises:
        QuantizationError: no rung can be had at all.
        InputError: the environment cannot be played, or the policy plays no better than random.
    """
    seeds = range(SELECTION_SEED, SELECTION_SEED + limits.episodes)
    source = run_episodes(env, source_actor(policy), seeds)
    if margin_of(limits, float(source.returns.mean())) is None:
        mean = f"{source.returns.mean():.4g}"
        raise InputError(f"the policy's mean return {mean} in {env.id} is no better than random play: nothing can be chosen by it")
    results: list[RungResult] = []
    best: tuple[float, QuantPolicy] | None = None
    for rung in LADDER:
        try:
            candidate = quantize_on_rung(policy, calibration, rung.number, weights)
        except QuantizationError as error:
            results.append(RungResult(rung.number, rung.name, 0, 0.0, missed=(f"cannot be had: {error}",)))
            tried(results[-1])
            continue
        result = RungResult(rung.number, rung.name, candidate.parameter_bytes, decision_error(policy, candidate, calibration))
        missed = decisions_missed(policy, candidate, calibration, limits)
        result = replace(result, missed=missed) if missed else _judge_play(result, candidate, env, source, limits)
        results.append(result)
        tried(result)
        if not result.missed:
            return candidate, tuple(results)
        kept = -math.inf if result.mean is None else result.mean.lower
        if best is None or kept >= best[0]:
            best = kept, candidate
    if best is None:
        raise QuantizationError(f"no rung of the ladder can be had: {results[-1].missed[0]}")
    return best[1], tuple(results)


def _judge_play(result: RungResult, candidate: QuantPolicy, env: EnvSpec, source: Episodes, limits: Limits) -> RungResult:
    """Return the result with the candidate's episodes on the source's seeds judged."""
    played = run_episodes(env, artifact_actor(candidate, emit_tflite(candidate)), source.seeds)
    mean_source = float(source.returns.mean())
    margin = margin_of(limits, mean_source)
    assert margin is not None
    alpha = limits.alpha * looks_of(limits, limits.episodes)[-1].alpha_share  # what the gate's last look will have
    mean = compare_means(source.returns, played.returns, margin, alpha=alpha)
    missed = [] if mean.passed else [f"the mean may lose {-mean.lower:.4g}, allowed {margin:.4g}"]
    failure = failure_of(limits, mean_source)
    source_failed, failed = failures_of(source, failure), failures_of(played, failure)
    failures = None
    if source_failed is not None and failed is not None:
        failures = compare_failures(source_failed, failed, limits.failure_margin, alpha=alpha)
        if not failures.passed:
            missed.append(f"failures may rise by {100 * failures.upper:.2f} points, allowed {100 * limits.failure_margin:g}")
    return replace(result, mean=mean, failures=failures, missed=tuple(missed))


def decisions_missed(policy: Policy, candidate: QuantPolicy, calibration: Calibration, limits: Limits) -> tuple[str, ...]:
    """Return what the limits ask of single decisions and the candidate does not hold on the calibration observations; none or one line."""
    agreement = compare_decisions(policy, candidate, calibration.obs)
    if isinstance(agreement, DiscreteAgreement):
        least = limits.min_agreement
        return (f"{agreement.agreement:.2%} of the actions agree, asked {least:.2%}",) if least and agreement.agreement < least else ()
    most, share = limits.max_action_error, agreement.mean_share
    is_missed = most is not None and share is not None and share > most
    return (f"actions are off by {share:.2%} of the range, allowed {most:.2%}",) if is_missed else ()


def fixed_rung(
    policy: Policy, calibration: Calibration, number: int, weights: Weights = "int8"
) -> tuple[QuantPolicy, tuple[RungResult, ...]]:
    """Return the policy on the rung, and its error on the calibration; nothing is played."""
    candidate = quantize_on_rung(policy, calibration, number, weights)
    error = decision_error(policy, candidate, calibration)
    return candidate, (RungResult(number, LADDER[number].name, candidate.parameter_bytes, error),)
