"""A replay in shards shares out rows and actors, and tells of itself as one store does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from quarl.actorq.accounts import Account
from quarl.actorq.acting import Finished
from quarl.actorq.messages import Report
from quarl.actorq.settings import settings_of
from quarl.actorq.shards import folder_of_shard, merged, settings_of_shard, shard_of
from quarl.actorq.store import Status, Store
from quarl.actorq.transitions import row_type
from tests.actorq.test_store import CONTRACT, LINES, _rows
from tests.support.actorq import recipe_of

SHARDED = LINES.replace("count = 1", "count = 5") % ", shards = 2"


@pytest.mark.parametrize(("shard", "actors"), [(0, [0, 2, 4]), (1, [1, 3])])
def test_a_shard_has_its_actors_and_its_part_of_the_rows(shard: int, actors: list[int]) -> None:
    settings = settings_of(recipe_of(SHARDED))
    part = settings_of_shard(settings, shard)
    assert [actor for actor in range(5) if shard_of(actor, 2) == shard] == actors
    assert part.actors.count == len(actors)
    assert (part.replay.capacity, part.replay.min_rows) == (50, 20)
    assert part.buffer < settings.buffer


def test_one_shard_is_the_whole_store() -> None:
    settings = settings_of(recipe_of(LINES % ""))
    assert settings_of_shard(settings, 0) == settings
    assert folder_of_shard(Path("checkpoint"), 0) == Path("checkpoint")


async def _status(shard: int) -> Status:
    store = Store(settings_of_shard(settings_of(recipe_of(SHARDED)), shard), row_type(CONTRACT), 0)
    await store.publish(["block"], 30, Account("learner", steps=30))
    for actor in range(shard, 5, 2):
        account = Account(f"actor {actor}", cpu_s=1.0, pid=actor + 1)
        finished = (Finished(actor, 0, 10.0 * (shard + 1), 20),)
        await store.insert(_rows(4, learner_step=29), Report(actor, 0, 5, account, finished, 8, 1))
    return await store.status()


def test_the_status_of_all_shards_is_that_of_one_store() -> None:
    async def play() -> None:
        first, second = await _status(0), await _status(1)
        assert merged([first]) == first
        whole = merged([first, second])
        assert (whole.env_steps, whole.inserted, whole.episodes) == (25, 20, 5)
        assert (whole.learner_step, whole.policies) == (30, 1)
        assert (whole.checked, whole.differing) == (40, 5)
        assert [account.name for account in whole.actors] == [f"actor {i}" for i in range(5)]
        assert (whole.ages.rows, whole.ages.total, sum(whole.ages.bins)) == (20, 20, 20)
        assert whole.recent_return == 15.0
        assert whole.account.cpu_s == first.account.cpu_s + second.account.cpu_s
        assert merged([replace(first, recent_return=None), second]).recent_return == 20.0

    asyncio.run(play())
