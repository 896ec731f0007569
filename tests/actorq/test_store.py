"""The store answers when it may, hands on the newest policy, and survives a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from quarl.actorq.accounts import Account
from quarl.actorq.acting import Finished
from quarl.actorq.messages import Report
from quarl.actorq.settings import settings_of
from quarl.actorq.store import Store, split
from quarl.actorq.transitions import row_type
from quarl.graph.contract import Action, Contract, Observation
from tests.support.actorq import recipe_of

CONTRACT = Contract(Observation((2,), "float32", "vector"), Action("discrete", 2))
LINES = """
batch_size = 10
actors = { count = 1, insert_every = 20 }
replay = { capacity = 100, min_rows = 40, samples_per_insert = 1.0, max_age = 50%s }
"""


def _store(extra: str = "") -> Store:
    return Store(settings_of(recipe_of(LINES % extra)), row_type(CONTRACT), seed=0)


def _rows(count: int, learner_step: int = 0) -> np.ndarray:
    rows = np.zeros(count, row_type(CONTRACT))
    rows["learner_step"], rows["episode"] = learner_step, np.arange(count)
    return rows


def _report(ticket: int = 0, steps: int = 20) -> Report:
    return Report(0, ticket, steps, Account("actor"), (Finished(0, 0, 12.0, 20),))


def test_an_answer_carries_the_newest_policy_once() -> None:
    async def play() -> None:
        store = _store()
        assert (await store.insert(_rows(20), _report())).policy is None
        ticket = await store.publish(["block"], 5, Account("learner"))
        answer = await store.insert(_rows(20), _report())
        assert (answer.ticket, answer.learner_step, answer.policy) == (ticket, 5, ["block"])
        assert (await store.insert(_rows(5), _report(ticket))).policy is None

    asyncio.run(play())


def test_an_actor_that_is_far_ahead_waits_for_the_learner() -> None:
    async def play() -> None:
        store = _store()
        for _ in range(4):
            await store.insert(_rows(20), _report())
        late = asyncio.create_task(store.insert(_rows(20), _report()))
        await asyncio.sleep(0.01)
        assert not late.done()
        assert await store.sample(10, 3) is not None
        await asyncio.wait_for(late, 1)

    asyncio.run(play())


def test_a_learner_waits_for_rows_and_a_stop_wakes_everybody() -> None:
    async def play() -> None:
        store = _store()
        learner = asyncio.create_task(store.sample(10, 1))
        actor = asyncio.create_task(store.first_policy(0))
        await asyncio.sleep(0.01)
        assert not learner.done()
        assert not actor.done()
        await store.stop()
        assert await learner is None
        assert (await actor).stop

    asyncio.run(play())


def test_rows_of_a_policy_too_old_are_refused_and_counted() -> None:
    async def play() -> None:
        store = _store()
        await store.publish(["block"], 100, Account("learner"))
        await store.insert(_rows(20, learner_step=49), _report())
        await store.insert(_rows(20, learner_step=50), _report())
        ages = (await store.status()).ages
        assert (ages.rows, ages.refused, ages.largest, ages.mean) == (20, 20, 50, 50.0)
        assert sum(ages.bins) == 20

    asyncio.run(play())


def test_joined_batches_are_split_again() -> None:
    async def play() -> None:
        store = _store()
        for _ in range(3):
            await store.insert(_rows(20), _report())
        answer = await store.sample(10, 3)
        assert answer is not None
        parts = split(answer.batch, 10)
        assert [len(part.rows) for part in parts] == [10, 10, 10]
        assert answer.env_steps == 60

    asyncio.run(play())


@pytest.mark.parametrize("extra", ["", ", prioritized = true"])
def test_a_restored_store_goes_on_as_the_saved_one(extra: str, tmp_path: Path) -> None:
    async def play() -> None:
        store, again = _store(extra), _store(extra)
        for start in range(7):  # more than the capacity, so that the ring has turned
            rows = _rows(20)
            rows["reward"] = start * 20 + np.arange(20)
            await store.insert(rows, _report())
            if start >= 2:
                answer = await store.sample(10, 2)
                assert answer is not None
                await store.reprioritize(answer.batch.places, np.arange(20, dtype=np.float32))
        await store.save(tmp_path)
        again.restore(tmp_path)
        one, two = await store.status(), await again.status()
        assert (one.env_steps, one.inserted, one.sampled, one.episodes) == (
            *(two.env_steps, two.inserted, two.sampled, two.episodes),
        )
        first, second = await store.recent_observations(100), await again.recent_observations(100)
        assert np.array_equal(first, second)
        a, b = await store.sample(10, 1), await again.sample(10, 1)
        assert a is not None
        assert b is not None
        if not extra:  # the same random state, in a ring that starts elsewhere
            assert len(a.batch.rows) == len(b.batch.rows)

    asyncio.run(play())
