"""A replay in shards: several stores, each with its share of the rows, its own actors and its own
pace, where the calls of one would be the bottleneck.

In: the settings of a run. Out: those of each shard, and one status of all. Actor i sends its rows
to shard i modulo their number; the learner takes from whichever shard answers first. Every shard
keeps the samples for each insert of the recipe, so all rows together keep them too, and a shard
whose actors are lost holds nobody up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from quarl.actorq.accounts import Account
from quarl.actorq.settings import Settings
from quarl.actorq.store import Ages, Status


def shard_of(actor: int, shards: int) -> int:
    """Return the shard that an actor sends its rows to."""
    return actor % shards


def settings_of_shard(settings: Settings, shard: int) -> Settings:
    """Return the settings with the actors and the rows of one shard."""
    shards = settings.replay.shards
    count = len(range(shard, settings.actors.count, shards))
    kept = settings.replay
    return replace(
        settings,
        actors=replace(settings.actors, count=count),
        replay=replace(
            kept, capacity=-(-kept.capacity // shards), min_rows=-(-kept.min_rows // shards)
        ),
    )


def folder_of_shard(checkpoint: Path, shard: int) -> Path:
    """Return the folder of a checkpoint that a shard's rows lie in: the first has no other."""
    return checkpoint / f"shard-{shard}" if shard else checkpoint


def merged(parts: Sequence[Status]) -> Status:
    """Return the status of all shards as that of one store."""
    recent = [part.recent_return for part in parts if part.recent_return is not None]
    actors = sorted((a for part in parts for a in part.actors), key=lambda a: (len(a.name), a.name))
    newest = max(parts, key=lambda part: part.policies)
    begun: dict[str, int] = {}
    for role, times in (each for part in parts for each in part.begun):
        begun[role] = max(times, begun.get(role, 0))
    return Status(
        env_steps=sum(part.env_steps for part in parts),
        inserted=sum(part.inserted for part in parts),
        sampled=sum(part.sampled for part in parts),
        learner_step=newest.learner_step,
        policies=newest.policies,
        episodes=sum(part.episodes for part in parts),
        recent_return=sum(recent) / len(recent) if recent else None,
        ages=_ages([part.ages for part in parts]),
        checked=sum(part.checked for part in parts),
        differing=sum(part.differing for part in parts),
        account=_account([part.account for part in parts]),
        learner=newest.learner,
        actors=tuple(actors),
        begun=tuple(sorted(begun.items())),
    )


def _ages(parts: Sequence[Ages]) -> Ages:
    return Ages(
        sum(part.rows for part in parts),
        sum(part.total for part in parts),
        max(part.largest for part in parts),
        sum(part.refused for part in parts),
        tuple(sum(bins) for bins in zip(*(part.bins for part in parts), strict=True)),
    )


def _account(parts: Sequence[Account]) -> Account:
    """Return what all have spent; they run at once, so the wall time is that of the longest."""
    return replace(
        parts[0],
        phases_s=tuple(sum(each) for each in zip(*(part.phases_s for part in parts), strict=True)),
        wall_s=max(part.wall_s for part in parts),
        cpu_s=sum(part.cpu_s for part in parts),
        steps=sum(part.steps for part in parts),
    )
