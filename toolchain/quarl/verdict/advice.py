"""What to do where the paired episodes cannot decide, and what to think of chaos.

In: a comparison, and the plan its episodes were played by. Out: sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

from quarl.evidence.closed_loop import ClosedLoop
from quarl.evidence.plan import EpisodePlan, minutes_text
from quarl.verdict.checks import SOFTER_INT8

SAME_LOSS = (
    "The float64 copy of the source loses more than the margin too, so the loss cannot be laid on "
    "int8: check whether the environment depends on its seed alone"
)


@dataclass(frozen=True, slots=True)
class More:
    """What more episodes would do."""

    loop: ClosedLoop
    plan: EpisodePlan | None  # None: how long they take is not known

    def advice(self, needed: int | None, *, within: bool) -> str:
        """Return what would decide a check; arguments as `not_shown`."""
        if self.loop.look < self.loop.looks:
            return (
                "The episodes stopped early under other limits: run quarl parity again with "
                "these (--limits)"
            )
        return not_shown(within, self.loop.episodes, needed, self.plan)


def not_shown(
    within: bool, played: int, needed: int | None, plan: EpisodePlan | None = None
) -> str:
    """Return what would decide a check that is neither shown to hold nor to fail.

    Args:
        within: whether the difference that was seen is within the margin.
        needed: episodes by which an equal policy would pass; None: a million are too few.
        plan: tells how long they take here.
    """
    if not within:
        return (
            "The difference seen is beyond the margin, but could be chance: more episodes decide "
            f"it ({_asking(2 * played, plan)}). {SOFTER_INT8}"
        )
    if needed is None:
        return "No number of episodes proves this margin: give a larger one"
    if needed > played:
        return (
            "The difference seen is within the margin, but too few episodes prove it: an equal "
            f"policy needs about {needed:,} ({_asking(needed, plan)})"
        )
    return (
        "The difference seen is within the margin, but not proven: play more episodes "
        f"({_asking(2 * played, plan)}). {SOFTER_INT8}"
    )


def chaos_text(loop: ClosedLoop) -> str:
    """Return how far control and int8 move, "" where the control hides no margin."""
    if not loop.is_chaotic:
        return ""
    chaos = loop.chaos
    moved = (
        f"Chaos: a float64 copy of the source moves the mean by "
        f"{loop.control_mean.mean_difference:+.4g} "
        f"and each episode by {chaos.control_spread:.4g}, int8 by {chaos.candidate_spread:.4g}. "
    )
    if not chaos.is_of_the_source:
        return moved
    relative = (
        "" if chaos.share is not None else " To allow for that: chaos_margin = 0.2 in [gate]."
    )
    return f"{moved}int8 is as chaotic as its source.{relative} "


def _asking(episodes: int, plan: EpisodePlan | None) -> str:
    """Return the option that plays so many episodes, and how long they take here."""
    option = f"--episodes {episodes}"
    if plan is None or plan.seconds_per_pair <= 0:
        return option
    return f"{option}: about {minutes_text(plan.minutes_of(episodes))} at the speed of these"
