"""What the tests of paired episodes found: values alone, which a bundle keeps. Who only reads or
writes one imports no statistics.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeanTest:
    """Paired non-inferiority of the mean return; all in units of the return."""

    episodes: int
    mean_source: float
    mean_candidate: float
    mean_difference: float  # candidate - source
    std_difference: float  # of one pair
    margin: float  # largest loss of the mean that is allowed
    alpha: float
    t_lower: float  # lower bounds of the true difference, one-sided at alpha
    skew_lower: float
    bootstrap_lower: float
    unseen_lower: (
        float | None
    )  # with losses too rare to have been met; None where that is not asked
    lower: float  # the smallest of these: what decides
    upper: float  # the largest of the three upper bounds, one-sided at alpha
    p_value: float  # paired t, of "the loss is the margin or more"
    equivalence_p_value: (
        float  # two one-sided t tests, of "the difference is the margin or more, up or down"
    )
    # smallest margin an equal candidate would prove with POWER, at this spread and number of
    # episodes
    provable_margin: float
    episodes_needed: (
        int | None
        # for an equal candidate to prove `margin` with POWER, by t at this spread; None: a million
        # are
        # too few
    )
    passed: bool

    @property
    def loss_is_shown(self) -> bool:
        """Whether the whole interval lies beyond the margin, at alpha."""
        return self.upper < -self.margin

    @property
    def equivalent(self) -> bool:
        """Whether gains are proven to stay within the margin as well (two one-sided tests, at alpha
        each).
        """
        return self.passed and self.upper <= self.margin


@dataclass(frozen=True, slots=True)
class FailureTest:
    """Paired non-inferiority of the failure rate; rates are 0..1, one point is 0.01."""

    episodes: int
    failures_source: int
    failures_candidate: int
    only_candidate: int  # episodes that only the candidate fails
    only_source: int  # episodes that only the source fails
    rate_difference: float  # candidate - source
    margin: float  # largest rise that is allowed
    alpha: float
    # upper bound of the true rise, one-sided at alpha: the smallest margin this would have proven
    upper: float
    p_value: float  # of "the rise is the margin or more"
    rise_p_value: float  # of "the rise is the margin or less"
    episodes_needed: (
        int | None
    )  # for a candidate that fails equally often, at this share of discordant pairs, with POWER
    passed: bool

    @property
    def rise_is_shown(self) -> bool:
        """Whether the rate rises by more than the margin, with one-sided error alpha."""
        return self.rise_p_value < self.alpha
