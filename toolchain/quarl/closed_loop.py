"""Does it still play: paired episodes of source, int8 candidate and float64 control become one comparison.

In: the episodes of all three on the same seeds, and what counts as a failure. Out: a `ClosedLoop` with every test and number.
The control has the source's weights in float64: what moves it is chaos of the environment, not a loss by quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.noninferiority import (
    ALPHA,
    FailureTest,
    MeanTest,
    QuantileChange,
    compare_failures,
    compare_means,
    compare_quantiles,
    interquartile_mean,
)
from quarl.rollouts import Episodes

LOW_SHARE = 0.1  # the tail that is watched beside the mean: the worst tenth of the episodes


@dataclass(frozen=True, slots=True, eq=False)
class PairedEpisodes:
    """Episodes of all three on the same seeds."""

    env_id: str
    source: Episodes
    candidate: Episodes
    control: Episodes

    def __post_init__(self) -> None:
        for name, episodes in (("candidate", self.candidate), ("control", self.control)):
            if episodes.seeds != self.source.seeds:
                raise InputError(f"{self.env_id}: source and {name} did not play the same seeds: paired episodes need equal ones")
        if len(self.source.seeds) < 2:
            raise InputError(f"{self.env_id}: {len(self.source.seeds)} paired episodes: at least two are needed")


@dataclass(frozen=True, slots=True)
class Failure:
    """What makes an episode a failed one: a return below `below`, or no success where the environment reports it."""

    rule: Literal["return", "success"]
    below: float | None = None  # return units, for the rule "return"


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
    failure_rate: float | None  # 0..1; None where failures are unknown
    mean_length: float  # steps


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
    control_mean: MeanTest
    control_failures: FailureTest | None

    @property
    def is_chaotic(self) -> bool:
        """Whether the control itself moves by more than a margin, so that a difference of that size says nothing about int8."""
        moved = abs(self.control_mean.mean_difference) > self.control_mean.margin
        failures = self.control_failures
        return moved or (failures is not None and abs(failures.rate_difference) > failures.margin)


def compare_episodes(paired: PairedEpisodes, *, margin: float, failure: Failure, failure_margin: float, alpha: float = ALPHA) -> ClosedLoop:
    """Return the tests of the candidate against the source.

    Args:
        margin: largest loss of the mean return, in return units.
        failure_margin: largest rise of the failure rate, 0..1.
    """
    source, candidate, control = paired.source, paired.candidate, paired.control
    failed = [failures_of(episodes, failure) for episodes in (source, candidate, control)]
    equal = (source.returns == candidate.returns) & (source.lengths == candidate.lengths)
    return ClosedLoop(
        env_id=paired.env_id,
        episodes=len(source.seeds),
        failure=failure,
        source=_summary(source, failed[0]),
        candidate=_summary(candidate, failed[1]),
        control=_summary(control, failed[2]),
        equal_episodes=int(equal.sum()),
        mean=compare_means(source.returns, candidate.returns, margin, alpha=alpha),
        failures=_compare_failures(failed[0], failed[1], failure_margin, alpha),
        low_quantile=compare_quantiles(source.returns, candidate.returns, LOW_SHARE, alpha=alpha),
        control_mean=compare_means(source.returns, control.returns, margin, alpha=alpha),
        control_failures=_compare_failures(failed[0], failed[2], failure_margin, alpha),
    )


def failures_of(episodes: Episodes, failure: Failure) -> NDArray[np.bool_] | None:
    """Return which episodes failed [n]; None where the environment reports no success or no bound is given."""
    if failure.rule == "success":
        return None if episodes.successes is None else ~episodes.successes
    return None if failure.below is None else episodes.returns < failure.below


def _compare_failures(
    source: NDArray[np.bool_] | None, candidate: NDArray[np.bool_] | None, margin: float, alpha: float
) -> FailureTest | None:
    return None if source is None or candidate is None else compare_failures(source, candidate, margin, alpha=alpha)


def _summary(episodes: Episodes, failed: NDArray[np.bool_] | None) -> Summary:
    returns = episodes.returns
    return Summary(
        mean=float(returns.mean()),
        std=float(returns.std(ddof=1)),
        median=float(np.median(returns)),
        interquartile_mean=interquartile_mean(returns),
        low_quantile=float(np.quantile(returns, LOW_SHARE)),
        smallest=float(returns.min()),
        largest=float(returns.max()),
        failure_rate=None if failed is None else float(failed.mean()),
        mean_length=float(episodes.lengths.mean()),
    )
