"""The closed loop judged: mean return, failure rate and tail, what is shown beside them, and the
same under disturbances.

In: paired episodes and limits. Out: checks. `is_settled`: True when more episodes cannot change the
verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quarl.bundle.limits import Limits
from quarl.evidence.closed_loop import (
    ClosedLoop,
    ClosedLoopQuestion,
    PairedEpisodes,
    compare_episodes,
)
from quarl.evidence.evidence import DisturbedEpisodes, OwnEpisodes
from quarl.evidence.plan import EpisodePlan
from quarl.rollouts.robustness import DISTURBANCES
from quarl.stats.noninferiority import compare_means
from quarl.stats.outcomes import FailureTest, MeanTest
from quarl.stats.ranks import MiddleChange, RankTest
from quarl.stats.sequential import failures_are_hopeless, mean_is_hopeless
from quarl.verdict.advice import SAME_LOSS, More, chaos_text, not_shown
from quarl.verdict.checks import SOFTER_INT8, Question, answered, judged, missing, reported
from quarl.verdict.limits import failure_of, margin_of, scale_of
from quarl.verdict.verdict import Check, Group, Outcome

TELLS_APART = 1.645  # standard errors above random play: one in twenty by chance
SURE = 3.09  # standard errors: one in a thousand by chance
_NORMAL_TAIL = 0.001
_MEAN = Question("mean_return", "closed loop", unit="return", kind="tested")
_FAILURES = Question("failure_rate", "closed loop", unit="points", kind="tested")


def is_settled(paired: PairedEpisodes, limits: Limits) -> bool:
    """Return whether these episodes pass at what their look may spend, or fail so clearly that no
    more of them can help.
    """
    loop, unusable = closed_loop_of(paired, limits)
    if loop is None or unusable is not None:
        return True  # the source plays like random: more episodes will not give it a scale
    return loop_is_settled(loop, limits)


def loop_is_settled(loop: ClosedLoop, limits: Limits) -> bool:
    """Return whether the comparison passes at what its look may spend, or fails so clearly that no
    more episodes can help.
    """
    if mean_is_hopeless(loop.mean) or failures_are_hopeless(loop.failures):
        return True
    outcomes = {check.name: check.outcome for check in closed_loop_checks(loop, limits)}
    if outcomes.get("source_return") is Outcome.FAIL:
        return True
    return {Outcome.FAIL, Outcome.NOT_PROVEN}.isdisjoint(outcomes.values())


def closed_loop_of(
    paired: PairedEpisodes | None, limits: Limits
) -> tuple[ClosedLoop | None, Check | None]:
    """Return the comparison of the episodes, or the check that says why there can be none."""
    if paired is None:
        return None, _no_mean("no paired episodes were played", "Run quarl parity BUNDLE --env ID")
    if limits.random_return is None:
        return None, _no_mean(
            "the mean return of random play is not known, so the margin has no scale",
            "Give random_return in [gate]",
        )
    mean_source = float(paired.source.returns.mean())
    margin, scale = margin_of(limits, mean_source), scale_of(limits, mean_source)
    if margin is None or not _plays_above_random(paired.source.returns, limits.random_return):
        return None, _like_random(paired.source.returns, limits.random_return)
    question = ClosedLoopQuestion(
        margin=margin,
        failure=failure_of(limits, mean_source),
        failure_margin=limits.failure_margin,
        alpha=limits.alpha,
        scale=scale,
        chaos_margin=limits.chaos_margin,
    )
    return compare_episodes(paired, question), None


def _plays_above_random(returns: NDArray[np.float64], random_return: float) -> bool:
    """Return whether the returns [n >= 2] of the source tell it from random play."""
    error = float(returns.std(ddof=1)) / math.sqrt(len(returns))
    return float(returns.mean()) - random_return > TELLS_APART * error


def _like_random(returns: NDArray[np.float64], random_return: float) -> Check:
    mean, count = float(returns.mean()), len(returns)
    told = (
        "is no better than random play"
        if mean <= random_return
        else f"over {count} episodes, +- {returns.std(ddof=1):.4g} each, cannot be told from "
        f"random "
        "play"
    )
    return _no_mean(
        f"the source's mean return {mean:.4g} {told} ({random_return:.4g})",
        "There is nothing to keep: train the policy, or check normaliser and environment",
    )


def closed_loop_checks(
    loop: ClosedLoop, limits: Limits, plan: EpisodePlan | None = None
) -> Iterator[Check]:
    """Yield the checks of the paired episodes.

    Args:
        plan: tells how long more of them take; None where that is not known.
    """
    more = More(loop, plan)
    if limits.source_return is not None:
        yield _source_check(loop, limits.source_return)
    yield _mean_check(loop, loop.mean, more)
    if loop.failures is None:
        advice = (
            'Report info["success"] in the environment, or set failure = "return" with '
            "failure_return"
        )
        question = replace(_FAILURES, kind="exact")
        detail = f"{loop.env_id} reports no success"
        yield missing(question, 100 * limits.failure_margin, detail, advice)
    else:
        yield _failure_check(loop, loop.failures, more)
    yield _tail_check(loop, limits)
    yield _equivalence_check(loop, limits, more)
    yield _rank_check(loop.ranks)
    yield _middle_check(loop.middle, limits)
    yield _control_check(loop)


def _of_return(name: str, group: Group = "closed loop") -> Question:
    return Question(name, group, unit="return", kind="tested")


def _tail_check(loop: ClosedLoop, limits: Limits) -> Check:
    change = loop.low_quantile
    detail = (
        f"the {change.share:.0%} quantile goes from {change.source:.4g} to "
        f"{change.candidate:.4g} ({change.difference:+.4g},"
        f" {1 - 2 * limits.alpha:.0%} interval {change.lower:.4g} to {change.upper:.4g}); "
        "fails when a loss beyond the margin is certain"
    )
    advice = f"The worst episodes have become worse. {SOFTER_INT8}"
    loss = 0.0 - change.upper  # never a negative zero
    return judged(_of_return("low_quantile"), loss, loop.mean.margin, detail, advice)


def _rank_check(ranks: RankTest) -> Check:
    detail = (
        f"int8 is better in {ranks.better}, worse in {ranks.worse}, equal in {ranks.equal} "
        "episodes; the differences lie around"
        f" {ranks.shift:+.4g} (Hodges-Lehmann); signed ranks "
        f"{'prove' if ranks.passed else 'do not prove'} a loss below the margin"
        f" (p = {ranks.p_value:.3g})"
    )
    return reported(_of_return("rank_test"), 0.0 - ranks.shift, detail)


def _middle_check(middle: MiddleChange, limits: Limits) -> Check:
    detail = (
        f"the mean of the middle half goes from {middle.source:.5g} to {middle.candidate:.5g} "
        f"({middle.difference:+.4g},"
        f" {1 - 2 * limits.alpha:.0%} interval {middle.lower:.4g} to {middle.upper:.4g})"
    )
    return reported(_of_return("interquartile_mean"), 0.0 - middle.difference, detail)


def _control_check(loop: ClosedLoop) -> Check:
    control, chaos = loop.control_mean, loop.chaos
    detail = f"a float64 copy of the source moves the mean return by {control.mean_difference:+.4g}"
    if loop.control_failures is not None:
        points = 100 * loop.control_failures.rate_difference
        detail += f" and the failure rate by {points:+.2f} points"
    detail += (
        f"; it moves {chaos.control_moved:.1%} of the episodes, by {chaos.control_spread:.4g} on "
        f"the whole, int8 by {chaos.candidate_spread:.4g}"
    )
    if loop.is_chaotic:
        detail += f": chaotic at the margin of {control.margin:.4g}"
    if chaos.widens:
        detail += (
            f"; chaos_margin allows {chaos.share:g} of the {chaos.certain_spread:.4g} that are "
            f"certain: {chaos.margin:.4g}"
        )
    return reported(_of_return("control"), abs(control.mean_difference), detail)


def own_checks(own: OwnEpisodes | None, limits: Limits) -> Iterator[Check]:
    """Yield what does not apply to a policy that came as an int8 file, and the return of its own
    episodes.
    """
    reason = (
        "agreement and paired episodes do not apply: the policy came as an int8 file, "
        "there is no full-precision source"
    )
    question = Question("source_comparison", "agreement", "at least")
    if limits.without_source:
        yield reported(question, None, reason)
    else:
        advice = (
            "Release a policy that has its source, or allow it: without_source = true in [gate]"
        )
        yield missing(question, None, reason, advice)
    for key, name in (("min_agreement", "action_agreement"), ("max_action_error", "action_error")):
        if getattr(limits, key) is not None:
            detail = f"{key} asks for what is not possible: {reason}"
            question = Question(name, "agreement")
            yield missing(question, None, detail, f"Remove {key} from [gate]")
    if own is not None:
        returns = own.episodes.returns
        detail = (
            f"mean return of the int8 policy over {len(returns)} episodes in "
            f"{own.env_id}: {returns.mean():.5g} +- {returns.std():.3g}"
        )
        question = Question("int8_return", "closed loop", "at least", "return")
        yield reported(question, float(returns.mean()), detail)


def robustness_checks(
    paired: PairedEpisodes | None, robustness: Sequence[DisturbedEpisodes], limits: Limits
) -> Iterator[Check]:
    """Yield one check for each disturbance: how much int8 loses against its source when both see
    the same disturbed observations.
    """
    if limits.robustness_margin is not None and not robustness:
        question = Question("robustness", "robustness", unit="return")
        detail = "robustness_margin is given, but no episodes were played under disturbances"
        yield missing(question, None, detail, "Run quarl parity BUNDLE --robustness")
        return
    if paired is None:
        return
    for disturbed in robustness:
        yield _disturbed_check(paired, disturbed, limits)


def _disturbed_check(paired: PairedEpisodes, disturbed: DisturbedEpisodes, limits: Limits) -> Check:
    count = len(disturbed.source.seeds)
    clean = [
        float(episodes.returns[:count].mean()) for episodes in (paired.source, paired.candidate)
    ]
    scale = scale_of(limits, float(paired.source.returns.mean()))
    share = limits.robustness_margin
    margin = None if share is None or scale is None else share * scale
    mean = compare_means(
        disturbed.source.returns, disturbed.candidate.returns, margin or 0.0, alpha=limits.alpha
    )
    losses = [clean[0] - mean.mean_source, clean[1] - mean.mean_candidate]
    shares = (
        ""
        if scale is None
        else f" ({losses[0] / scale:.1%} and {losses[1] / scale:.1%} of what is above random play)"
    )
    detail = (
        f"under {DISTURBANCES[disturbed.disturbance].title} over {count} episodes the "
        f"source goes from {clean[0]:.5g} to"
        f" {mean.mean_source:.5g}, int8 from {clean[1]:.5g} to {mean.mean_candidate:.5g}: "
        f"they lose {losses[0]:.4g} and"
        f" {losses[1]:.4g}{shares}"
    )
    question = _of_return(f"robust_{disturbed.disturbance}", "robustness")
    if margin is None:
        return reported(question, 0.0 - mean.mean_difference, detail)
    advice = f"int8 bears this disturbance worse than its source. {SOFTER_INT8}; or train with it"
    check = judged(question, 0.0 - mean.lower, margin, detail, advice)
    if check.outcome is Outcome.PASS or mean.loss_is_shown:
        return check
    advice = not_shown(mean.mean_difference >= -margin, count, mean.episodes_needed)
    return replace(check, outcome=Outcome.NOT_PROVEN, advice=advice)


def _no_mean(detail: str, advice: str) -> Check:
    return missing(replace(_MEAN, kind="exact"), None, detail, advice)


def _source_check(loop: ClosedLoop, known: float) -> Check:
    source, margin = loop.source, loop.mean.margin
    reach = SURE * source.std / math.sqrt(loop.episodes)
    least = known - margin - reach
    detail = (
        f"the source's mean return is {source.mean:.5g} over {loop.episodes} episodes, "
        f"{known:.5g} is known of it; it fails below"
        f" {least:.5g}, which is certainly ({_confidence(_NORMAL_TAIL)}) more than the margin"
    )
    advice = (
        "The source itself does not play as it should: check normaliser (--obs-norm), "
        "environment and weights"
    )
    question = Question("source_return", "closed loop", "at least", "return", "tested")
    return judged(question, source.mean, least, detail, advice)


def _mean_check(loop: ClosedLoop, mean: MeanTest, more: More) -> Check:
    unseen = (
        ""
        if mean.unseen_lower is None
        else f", with losses too rare to have been met {0 - mean.unseen_lower:.4g}"
    )
    detail = (
        f"mean return {mean.mean_source:.5g} -> {mean.mean_candidate:.5g} "
        f"({mean.mean_difference:+.4g}) over {mean.episodes} paired"
        f" episodes in {loop.env_id}{_look(loop)}; with {_confidence(mean.alpha)} confidence "
        "the loss is at most"
        f" {max(0 - mean.lower, 0):.4g}"
        f" (t {0 - mean.t_lower:.4g}, with skew {0 - mean.skew_lower:.4g}, BCa "
        f"{0 - mean.bootstrap_lower:.4g}{unseen});"
        f" these episodes can prove a margin of {mean.provable_margin:.4g}"
    )
    check = judged(_MEAN, 0.0 - mean.lower, mean.margin, detail, "")
    if mean.passed:
        return check
    if (
        failures_are_hopeless(loop.failures)
        and not mean_is_hopeless(mean)
        and loop.look < loop.looks
    ):
        return _open(check, "failure_rate")
    is_shown = mean.loss_is_shown or mean_is_hopeless(mean)
    if is_shown and loop.control_mean.loss_is_shown:
        return replace(check, outcome=Outcome.NOT_PROVEN, advice=f"{chaos_text(loop)}{SAME_LOSS}")
    if is_shown:
        return replace(check, advice=f"{chaos_text(loop)}The policy has lost return. {SOFTER_INT8}")
    within = mean.mean_difference >= -mean.margin
    advice = chaos_text(loop) + more.advice(mean.episodes_needed, within=within)
    return replace(check, outcome=Outcome.NOT_PROVEN, advice=advice)


def _failure_check(loop: ClosedLoop, test: FailureTest, more: More) -> Check:
    failure = (
        "no success"
        if loop.failure.rule == "success"
        else f"a return below {loop.failure.below:.5g}"
    )
    detail = (
        f"failed episodes ({failure}): {test.failures_source} -> {test.failures_candidate} of "
        f"{test.episodes};"
        f" {test.only_candidate} only int8 fails, {test.only_source} only the source fails;"
        f" with {_confidence(test.alpha)} confidence the rate rises by at most "
        f"{100 * max(test.upper, 0):.2f} points"
    )
    figures = 100 * test.upper, 100 * test.margin
    outcome = Outcome.PASS if test.passed else Outcome.NOT_PROVEN
    check = answered(_FAILURES, outcome, figures, detail, "")
    if test.passed:
        return check
    if mean_is_hopeless(loop.mean) and not failures_are_hopeless(test) and loop.look < loop.looks:
        return _open(check, "mean_return")
    if test.rise_is_shown or failures_are_hopeless(test):
        advice = f"{chaos_text(loop)}More episodes fail than before. {SOFTER_INT8}"
        return replace(check, outcome=Outcome.FAIL, advice=advice)
    within = test.rate_difference <= test.margin
    advice = chaos_text(loop) + more.advice(test.episodes_needed, within=within)
    return replace(check, advice=advice)


def _equivalence_check(loop: ClosedLoop, limits: Limits, more: More) -> Check:
    mean = loop.mean
    largest = max(0.0 - mean.lower, mean.upper)
    detail = (
        f"the difference of the mean returns lies between {mean.lower:+.4g} and "
        f"{mean.upper:+.4g} (two one-sided tests at"
        f" {_confidence(mean.alpha)}, p = {mean.equivalence_p_value:.3g}): "
        f"{'' if mean.equivalent else 'not '}proven to be within"
        f" {mean.margin:.4g} either way"
    )
    question = _of_return("equivalence")
    if not limits.equivalence:
        return reported(question, largest, detail)
    is_gain = mean.passed and mean.mean_difference > 0
    advice = (
        "int8 plays differently from its source, even if better: find out why"
        if is_gain
        else "See mean_return"
    )
    check = judged(question, largest, mean.margin, detail, advice)
    if check.outcome is Outcome.PASS or mean.loss_is_shown or mean.lower > mean.margin:
        return check
    within = abs(mean.mean_difference) <= mean.margin
    advice = more.advice(mean.episodes_needed, within=within)
    return replace(check, outcome=Outcome.NOT_PROVEN, advice=advice)


def _open(check: Check, failing: str) -> Check:
    detail = (
        f"left open: the episodes stopped early because {failing} certainly fails; so "
        f"far: {check.detail}"
    )
    return replace(check, outcome=Outcome.REPORTED, detail=detail)


def _look(loop: ClosedLoop) -> str:
    return (
        ""
        if loop.looks == 1
        else f" (look {loop.look} of {loop.looks}, at most {loop.planned_episodes} episodes)"
    )


def _confidence(alpha: float) -> str:
    return f"{100 * (1 - alpha):.4g}%"
