"""How many paired episodes a verdict takes: said before they are played, and again after the first
look, when their spread and this machine's speed are known.

In: limits, what was asked, the episodes of the first look. Out: looks, plans, sentences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from quarl.bundle.limits import Limits
from quarl.bundle.rung_result import ONLY_TRY, Attempt
from quarl.errors import InputError
from quarl.evidence.closed_loop import PairedEpisodes, failures_of
from quarl.evidence.plan import EpisodePlan
from quarl.files.text import shortened
from quarl.stats.noninferiority import MOST_EPISODES
from quarl.stats.pilot import Goal, looks_after, pairs_needed, pairs_to_play, pilot_pairs
from quarl.stats.sequential import TOKEN, Look, flawless_episodes, smallest_failure_margin
from quarl.stats.tries import episodes_of_try, error_share
from quarl.verdict.limits import failure_of, looks_of, margin_of

BUDGET_MINUTES = 10.0
MOST_MINUTES = 100_000  # ten weeks


@dataclass(frozen=True, slots=True)
class AutoEpisodes:
    """As many pairs as the margin needs, in at most this time."""

    budget_minutes: float = BUDGET_MINUTES


Asked: TypeAlias = int | AutoEpisodes | None
"""How many paired episodes are asked for; None: what the limits say."""


def asked_episodes(episodes: int | str | None, budget_minutes: float | None = None) -> Asked:
    """Return what is asked for: a number, "auto" with its budget, or nothing.

    Raises:
        InputError: no such number, or a budget without auto or of no time.
    """
    if budget_minutes is not None and (
        episodes != "auto" or not 0 < budget_minutes <= MOST_MINUTES
    ):
        raise InputError(
            f"a budget of {budget_minutes:g} minutes: it is the time of --episodes auto, above "
            f"0 and at most {MOST_MINUTES:,} minutes"
        )
    if episodes == "auto":
        return AutoEpisodes(BUDGET_MINUTES if budget_minutes is None else budget_minutes)
    if episodes is None:
        return None
    text = str(episodes)
    if not text.isdecimal() or len(text) > 7 or not 2 <= int(text) <= MOST_EPISODES:
        raise InputError(
            f"--episodes {shortened(text)}: must be auto or a number from 2 to {MOST_EPISODES:,}"
        )
    return int(text)


def check_provable(limits: Limits, asked: Asked = None) -> None:
    """Check that a flawless release could pass by the episodes asked for, before any is played.

    Raises:
        InputError: no number of successes in them proves the limits; names the number it takes.
    """
    if isinstance(asked, AutoEpisodes):
        return
    episodes, needed = (
        asked or limits.episodes,
        flawless_episodes(limits.failure_margin, limits.alpha),
    )
    if episodes >= needed:
        return
    least = smallest_failure_margin(episodes, limits.alpha)
    raise InputError(
        f"{episodes} episodes cannot prove failure_margin = {limits.failure_margin:g}, even if "
        f"none "
        f"fails: it takes {needed}. Play more of them (--episodes {needed}, --episodes auto, or "
        f"episodes in [gate]), or allow failure_margin = {least:g}"
    )


def first_share(limits: Limits, asked: Asked) -> float:
    """Return the share of the error for the first candidate of a ship that may go on with others:
    all of it, and no other follows, where so few episodes are asked for that a share proves
    nothing.
    """
    share = error_share(1)
    needed = flawless_episodes(limits.failure_margin, share * limits.alpha)
    is_enough = isinstance(asked, AutoEpisodes) or (asked or limits.episodes) >= needed
    return share if is_enough else 1.0


def first_looks(limits: Limits, asked: Asked, attempt: Attempt = ONLY_TRY) -> tuple[Look, ...]:
    """Return the looks as they are planned before the first episode of a try."""
    share = attempt.error_share
    own = replace(limits, alpha=share * limits.alpha)
    if isinstance(asked, AutoEpisodes):
        pilot = pilot_pairs(own.failure_margin, own.alpha)
        return shared((Look(pilot, TOKEN), Look(MOST_EPISODES, 1 - TOKEN)), share)
    episodes = episodes_of_try(
        asked or limits.episodes, limits.failure_margin, limits.alpha, attempt.number, share
    )
    return shared(looks_of(own, episodes), share)


def shared(looks: tuple[Look, ...], share: float) -> tuple[Look, ...]:
    """Return the looks of a try that may use this share of the error."""
    return tuple(replace(look, alpha_share=share * look.alpha_share) for look in looks)


def plan_sentence(limits: Limits, asked: Asked, attempt: Attempt = ONLY_TRY) -> str:
    """Return which episodes will be played and what they must prove, for people."""
    looks = first_looks(limits, asked, attempt)
    alpha = attempt.error_share * limits.alpha
    if isinstance(asked, AutoEpisodes):
        plays = (
            f"as many paired episodes as the limits need, in at most {asked.budget_minutes:g} "
            f"minutes; {looks[0].episodes} show how many"
        )
    else:
        early = [str(look.episodes) for look in looks[:-1]]
        when = f", looked at after {', '.join(early)}" if early else ""
        plays = f"at most {looks[-1].episodes} paired episodes{when}"
    needed = flawless_episodes(limits.failure_margin, alpha)
    tried = "" if attempt.error_share == 1 else f" ({attempt.sentence(limits.alpha)})"
    return (
        f"plan: {plays}; error {alpha:.4g} over all "
        f"looks{tried}; the return may lose {limits.margin:.1%} of what is above random play, "
        f"failures may "
        f"rise by {100 * limits.failure_margin:g} points, which takes {needed} episodes at least"
    )


def plan_after(
    paired: PairedEpisodes, limits: Limits, asked: Asked, seconds: float
) -> tuple[EpisodePlan, tuple[Look, ...]]:
    """Return what the first look shows, and the looks that hold from then on.

    Args:
        seconds: how long the episodes of the first look took.
    """
    played = len(paired.source.seeds)
    difference = paired.candidate.returns - paired.source.returns
    moves = paired.control.returns - paired.source.returns
    rate, looks, budget = seconds / played, paired.looks, None
    goal, discordant = _goal(paired, limits)
    if isinstance(asked, AutoEpisodes):
        budget = asked.budget_minutes
        share = sum(look.alpha_share for look in looks)
        goal = replace(goal, alpha=share * goal.alpha)
        needed = pairs_to_play(difference, moves, discordant, goal)
        affordable = int(60 * budget / rate) if rate > 0 else MOST_EPISODES
        looks = shared(looks_after(played, min(needed or MOST_EPISODES, affordable), goal), share)
    else:
        last = looks[-1].alpha_share if looks else 1.0
        given = replace(goal, alpha=last * goal.alpha)
        needed = pairs_needed(difference, moves, discordant, given)
    spread = float(difference.std(ddof=1))
    return EpisodePlan(looks[-1].episodes, played, spread, needed, rate, budget), looks


def _goal(paired: PairedEpisodes, limits: Limits) -> tuple[Goal, int]:
    """Return what the pairs must prove, and how many of these fail with one of the two alone."""
    mean_source = float(paired.source.returns.mean())
    failure = failure_of(limits, mean_source)
    ours, theirs = (failures_of(e, failure) for e in (paired.source, paired.candidate))
    goal = Goal(
        margin_of(limits, mean_source) or 0.0,
        limits.margin,
        None if ours is None else limits.failure_margin,
        limits.alpha,
        limits.chaos_margin,
    )
    discordant = 0 if ours is None or theirs is None else int((ours != theirs).sum())
    return goal, discordant
