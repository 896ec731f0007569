"""Does it still play: paired episodes of source, int8 candidate and float64 control become one
comparison.

In: the episodes of all three on the same seeds, and what counts as a failure. Out: a `ClosedLoop`
with every test and number.
The control has the source's weights in float64: what moves it is chaos of the environment, not a
loss by quantisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.rollouts.episodes import Episodes
from quarl.stats.chaos import (
    SPREAD_ERROR,
    Chaos,
    certain_rate_spread,
    certain_spread,
    chaotic_episodes_needed,
    remaining_alpha,
    spread_of,
)
from quarl.stats.intervals import quantile_interval, rate_interval
from quarl.stats.noninferiority import (
    ALPHA,
    QUANTILE_RESAMPLES,
    QuantileChange,
    compare_failures,
    compare_means,
    compare_quantiles,
)
from quarl.stats.outcomes import FailureTest, MeanTest
from quarl.stats.power import episodes_needed
from quarl.stats.ranks import (
    MiddleChange,
    RankTest,
    compare_middles,
    compare_ranks,
    interquartile_mean,
)
from quarl.stats.sequential import Look, alpha_share, is_early

LOW_SHARE = 0.1  # the tail that is watched beside the mean: the worst tenth of the episodes


@dataclass(frozen=True, slots=True, eq=False)
class PairedEpisodes:
    """Episodes of all three on the same seeds."""

    env_id: str
    source: Episodes
    candidate: Episodes
    control: Episodes
    looks: tuple[
        Look, ...
    ] = ()  # as planned before the first episode, whether reached or not; () is one look at the end
    # [n], first step at which source and candidate act otherwise; -1: never; None: not recorded
    divergence: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        count = len(self.source.seeds)
        if self.looks and (
            count not in {look.episodes for look in self.looks}
            or sum(look.alpha_share for look in self.looks) > 1 + 1e-9
        ):
            raise InputError(
                f"{self.env_id}: {count} episodes are none of the looks that were planned: "
                "run quarl parity again"
            )
        for name, episodes in (("candidate", self.candidate), ("control", self.control)):
            if episodes.seeds != self.source.seeds:
                raise InputError(
                    f"{self.env_id}: source and {name} did not play the same seeds: paired "
                    "episodes need equal ones"
                )
        if len(self.source.seeds) < 2:
            raise InputError(
                f"{self.env_id}: {len(self.source.seeds)} paired episodes: at least two are needed"
            )


@dataclass(frozen=True, slots=True)
class Failure:
    """What makes an episode a failed one: a return below `below`, or no success where the
    environment reports it.
    """

    rule: Literal["return", "success"]
    below: float | None = None  # return units, for the rule "return"


@dataclass(frozen=True, slots=True)
class ClosedLoopQuestion:
    """What is asked of a comparison.

    Attributes:
        margin: largest loss of the mean return, in return units.
        failure_margin: largest rise of the failure rate, 0..1.
        alpha: one-sided error of each test, over all looks together.
        scale: the source's mean return above random play, in return units: what an episode may lose
            that an early look did not meet.
        chaos_margin: share of the control's own spread that may be lost where that is more.
    """

    margin: float
    failure: Failure
    failure_margin: float
    alpha: float = ALPHA
    scale: float | None = None
    chaos_margin: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """One actor's episodes in numbers; returns in return units."""

    mean: float
    std: float
    median: float
    interquartile_mean: float
    low_quantile: float
    smallest: float
    largest: float
    low_quantile_interval: tuple[
        float | None, float | None
    ]  # exact, two-sided at 2 * alpha; None where so few episodes give no bound
    failure_rate: float | None  # 0..1; None where failures are unknown
    failure_interval: tuple[float, float] | None  # exact, two-sided at 2 * alpha
    mean_length: float  # steps


@dataclass(frozen=True, slots=True)
class Divergence:
    """When source and candidate part on the same seed; steps count from 0."""

    diverged: int  # episodes in which they act otherwise at least once
    first_step: int | None  # the earliest parting of all
    median_step: float | None
    lost: int  # diverged episodes whose return is smaller with the candidate
    gained: int


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """The comparison of candidate and source over paired episodes, and of the control beside it."""

    env_id: str
    episodes: int
    failure: Failure
    source: Summary
    candidate: Summary
    control: Summary
    equal_episodes: int  # episodes of equal return and length for source and candidate
    mean: MeanTest
    failures: FailureTest | None  # None where failures are unknown
    low_quantile: QuantileChange
    ranks: RankTest
    middle: MiddleChange
    planned_episodes: int  # the most that would have been played
    looks: int  # planned; 1: one test at the end
    look: int  # at which of them it stopped, from 1
    alpha: float  # error that this look may use
    divergence: Divergence | None  # None where actions were not recorded
    control_mean: MeanTest
    control_failures: FailureTest | None
    chaos: Chaos

    @property
    def is_chaotic(self) -> bool:
        """Whether the control itself moves so far that an equal policy could not prove the margin
        by these episodes, or by more than a margin.
        """
        control, failures = self.control_mean, self.control_failures
        moved = max(abs(control.mean_difference), control.provable_margin) > control.margin
        return moved or (failures is not None and abs(failures.rate_difference) > failures.margin)

    @property
    def is_as_chaotic_as_its_source(self) -> bool:
        """Whether int8 moves episodes no further than a float64 copy of the source does, where that
        copy moves them far.
        """
        return self.is_chaotic and self.chaos.is_of_the_source


@lru_cache(maxsize=2)  # the last look, the diagnosis and the verdict ask it of the same episodes
def compare_episodes(paired: PairedEpisodes, question: ClosedLoopQuestion) -> ClosedLoop:
    """Return the tests of the candidate against the source."""
    source, candidate, control = paired.source, paired.candidate, paired.control
    failed = [failures_of(episodes, question.failure) for episodes in (source, candidate, control)]
    equal = (source.returns == candidate.returns) & (source.lengths == candidate.lengths)
    count, alpha = len(source.seeds), question.alpha
    spent = alpha * alpha_share(paired.looks, count)
    chaos = _chaos(paired, failed, question, spent)
    own = remaining_alpha(spent, question.chaos_margin)
    return ClosedLoop(
        env_id=paired.env_id,
        episodes=count,
        failure=question.failure,
        source=_summary(source, failed[0], alpha),
        candidate=_summary(candidate, failed[1], alpha),
        control=_summary(control, failed[2], alpha),
        equal_episodes=int(equal.sum()),
        mean=_compare_means(paired, question, chaos.margin, own),
        failures=_compare_failures(failed[0], failed[1], chaos.failure_margin, own),
        low_quantile=compare_quantiles(source.returns, candidate.returns, LOW_SHARE, alpha=alpha),
        ranks=compare_ranks(source.returns, candidate.returns, chaos.margin, alpha=own),
        middle=compare_middles(source.returns, candidate.returns, alpha=alpha),
        planned_episodes=paired.looks[-1].episodes if paired.looks else count,
        looks=max(1, len(paired.looks)),
        look=1 + sum(look.episodes < count for look in paired.looks),
        alpha=own,
        divergence=_divergence(paired),
        control_mean=compare_means(
            source.returns,
            control.returns,
            question.margin,
            alpha=spent,
            resamples=QUANTILE_RESAMPLES,
        ),
        control_failures=_compare_failures(failed[0], failed[2], question.failure_margin, spent),
        chaos=chaos,
    )


def _compare_means(
    paired: PairedEpisodes, question: ClosedLoopQuestion, margin: float, alpha: float
) -> MeanTest:
    """Return the test of the mean return, with the episodes that an equal policy needs.

    Args:
        margin: what is allowed, chaos included.
        alpha: what this look's test may err by.
    """
    source, candidate = paired.source.returns, paired.candidate.returns
    early = is_early(paired.looks, len(source))
    mean = compare_means(
        source, candidate, margin, alpha=alpha, largest_loss=question.scale if early else None
    )
    last = question.alpha * (paired.looks[-1].alpha_share if paired.looks else 1.0)
    share = question.chaos_margin
    if share is None:
        needed = episodes_needed(candidate - source, question.margin, last)
    else:
        moves = paired.control.returns - source
        needed = chaotic_episodes_needed(candidate - source, moves, question.margin, share, last)
    return replace(mean, episodes_needed=needed)


def _chaos(
    paired: PairedEpisodes,
    failed: Sequence[NDArray[np.bool_] | None],
    question: ClosedLoopQuestion,
    alpha: float,
) -> Chaos:
    """Return how far control and int8 move the episodes, and the margins that grants.

    Args:
        failed: of source, candidate and control.
        alpha: what this look may err by.
    """
    moves = paired.control.returns - paired.source.returns
    share, error = question.chaos_margin, SPREAD_ERROR * alpha
    certain = certain_spread(moves, error)
    failure_margin = question.failure_margin
    if share is not None and failed[0] is not None and failed[2] is not None:
        moved = int((failed[0] != failed[2]).sum())
        spread = certain_rate_spread(moved, len(moves), error)
        failure_margin = max(failure_margin, min(share * spread, 1.0))
    return Chaos(
        control_moved=float((moves != 0).mean()),
        control_spread=spread_of(moves),
        candidate_spread=spread_of(paired.candidate.returns - paired.source.returns),
        certain_spread=certain,
        share=share,
        margin=question.margin if share is None else max(question.margin, share * certain),
        failure_margin=failure_margin,
        plain_margin=question.margin,
    )


def failures_of(episodes: Episodes, failure: Failure) -> NDArray[np.bool_] | None:
    """Return which episodes failed [n]; None where the environment reports no success or no bound
    is given.
    """
    if failure.rule == "success":
        return None if episodes.successes is None else ~episodes.successes
    return None if failure.below is None else episodes.returns < failure.below


def _compare_failures(
    source: NDArray[np.bool_] | None,
    candidate: NDArray[np.bool_] | None,
    margin: float,
    alpha: float,
) -> FailureTest | None:
    return (
        None
        if source is None or candidate is None
        else compare_failures(source, candidate, margin, alpha=alpha)
    )


def _divergence(paired: PairedEpisodes) -> Divergence | None:
    steps = paired.divergence
    if steps is None:
        return None
    is_parted = steps >= 0
    change = (paired.candidate.returns - paired.source.returns)[is_parted]
    parted = steps[is_parted]
    first, median = (int(parted.min()), float(np.median(parted))) if parted.size else (None, None)
    return Divergence(
        int(parted.size), first, median, int((change < 0).sum()), int((change > 0).sum())
    )


def _summary(episodes: Episodes, failed: NDArray[np.bool_] | None, alpha: float) -> Summary:
    returns = episodes.returns
    return Summary(
        mean=float(returns.mean()),
        std=float(returns.std(ddof=1)),
        median=float(np.median(returns)),
        interquartile_mean=interquartile_mean(returns),
        low_quantile=float(np.quantile(returns, LOW_SHARE)),
        low_quantile_interval=quantile_interval(returns, LOW_SHARE, alpha),
        smallest=float(returns.min()),
        largest=float(returns.max()),
        failure_rate=None if failed is None else float(failed.mean()),
        failure_interval=None
        if failed is None
        else rate_interval(int(failed.sum()), len(failed), alpha),
        mean_length=float(episodes.lengths.mean()),
    )
