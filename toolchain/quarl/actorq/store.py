"""The store: replay, pace, and the newest policy, behind calls that wait until they may answer.

In: rows and reports of actors, policies of the learner. Out: batches, and with every answer to an
insert the newest policy. Ray runs it as one asyncio actor; nothing here knows of Ray.
A policy is handed on as it came: a list with one reference to its block in the object store.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.accounts import Account, Ledger
from quarl.actorq.checkpoint import damaged, read_rows
from quarl.actorq.documents import DOCUMENT
from quarl.actorq.messages import Answer, Report
from quarl.actorq.replay import Batch, Pace, PrioritizedRing, Ring
from quarl.actorq.settings import Settings
from quarl.actorq.transitions import Rows
from quarl.files.documents import Count, table_at, value_of

ROWS_FILE, STATE_FILE, PRIORITIES_FILE = "replay.npy", "replay.json", "priorities.npy"
RECENT = 100  # finished episodes whose mean return is told
AGE_BINS = 20  # powers of two of learner steps


class Sample(NamedTuple):
    """What the learner gets."""

    batch: Batch  # batches joined, see `split`
    env_steps: int  # made so far
    actors_cpu_s: float  # spent so far


@dataclass(frozen=True, slots=True)
class Ages:
    """How many learner steps the policies lay behind that rows were made with."""

    rows: int = 0
    total: int = 0
    largest: int = 0
    refused: int = 0  # rows made with a policy older than the bound
    bins: tuple[int, ...] = (0,) * AGE_BINS  # bin i holds ages below 2^i

    @property
    def mean(self) -> float:
        """Mean age."""
        return self.total / self.rows if self.rows else 0.0

    def with_rows(self, ages: NDArray[np.int64], refused: int) -> Ages:
        """Return the ages with those of more rows."""
        places = np.minimum(np.ceil(np.log2(ages + 1)).astype(int), AGE_BINS - 1)
        counts = np.bincount(places, minlength=AGE_BINS)
        return Ages(
            self.rows + len(ages),
            self.total + int(ages.sum()),
            max(self.largest, int(ages.max(initial=0))),
            self.refused + refused,
            tuple(int(a + b) for a, b in zip(self.bins, counts, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class Status:
    """How a run stands."""

    env_steps: int
    inserted: int
    sampled: int
    learner_step: int
    policies: int  # published
    episodes: int
    recent_return: float | None  # mean of the last finished episodes, noise included
    ages: Ages
    checked: int  # outputs of actors compared with the reference
    differing: int
    account: Account  # of the store itself
    learner: Account | None  # as of its last policy
    actors: tuple[Account, ...]  # as of their last inserts
    begun: tuple[tuple[str, int], ...]  # role of a process, how often it has begun


@dataclass(frozen=True, slots=True)
class _Saved:
    """The counters of a checkpoint."""

    inserted: Count
    sampled: Count
    env_steps: Count
    episodes: Count
    actors_cpu_s: float
    random: dict[str, Any]


class Store:
    """Replay, pace and newest policy of one run."""

    def __init__(self, settings: Settings, dtype: np.dtype[Any], seed: int) -> None:
        kept = settings.replay
        self._ring = (
            PrioritizedRing(kept.capacity, dtype, kept.importance)
            if kept.prioritized
            else Ring(kept.capacity, dtype)
        )
        self._pace = Pace(kept.min_rows, kept.samples_per_insert, settings.buffer)
        self._max_age = kept.max_age
        self._rng = np.random.default_rng((seed, 0x52455059))
        self._policy: list[Any] | None = None
        self._ticket = self._learner_step = 0
        self._env_steps = self._episodes = self._checked = self._differing = 0
        self._recent: list[float] = []
        self._ages = Ages()
        self._accounts: dict[int, Account] = {}
        self._spent_s = 0.0  # CPU of actors that have died, and of earlier parts of the run
        self._learner_account: Account | None = None
        self._begun: dict[str, int] = {}
        self._ledger = Ledger("replay")
        self._stopped = False
        self._changed = asyncio.Condition()

    async def begin(self, role: str) -> int:
        """Return how often the process of this role has begun before."""
        self._begun[role] = self._begun.get(role, 0) + 1
        return self._begun[role] - 1

    async def insert(self, rows: Rows, report: Report) -> Answer:
        """Take in rows; answer when the actor may go on."""
        with self._ledger.booking("insert"):
            self._take(rows, report)
        async with self._changed:
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._stopped or self._pace.may_insert())
        return self._answer(report.ticket)

    async def first_policy(self, ticket: int) -> Answer:
        """Answer when there is a policy other than the one with this ticket."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._stopped or (self._policy is not None and self._ticket != ticket)
            )
        return self._answer(ticket)

    async def publish(self, policy: list[Any], learner_step: int, account: Account) -> int:
        """Make this the newest policy; return its ticket."""
        async with self._changed:
            self._learner_account = account
            self._policy, self._learner_step = policy, learner_step
            self._ticket += 1
            self._changed.notify_all()
        return self._ticket

    async def sample(self, count: int, batches: int) -> Sample | None:
        """Return `batches` batches of `count` rows as one; None when the run is over."""
        wanted = count * batches
        async with self._changed:
            await self._changed.wait_for(lambda: self._stopped or self._pace.may_sample(wanted))
            if self._stopped:
                return None
            with self._ledger.booking("sample"):
                parts = [self._ring.sample(count, self._rng) for _ in range(batches)]
                self._pace.sampled += wanted
            self._changed.notify_all()
        joined = parts[0] if batches == 1 else Batch(*map(np.concatenate, zip(*parts, strict=True)))
        self._ledger.steps += batches
        return Sample(joined, self._env_steps, self._actors_cpu_s)

    @property
    def _actors_cpu_s(self) -> float:
        return self._spent_s + sum(account.cpu_s for account in self._accounts.values())

    async def reprioritize(self, places: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """Give rows the priority of their errors."""
        self._ring.reprioritize(places, errors)

    async def stop(self) -> None:
        """End the run: whoever waits is answered."""
        async with self._changed:
            self._stopped = True
            self._changed.notify_all()

    async def status(self) -> Status:
        """Return how the run stands."""
        recent = float(np.mean(self._recent)) if self._recent else None
        return Status(
            env_steps=self._env_steps,
            inserted=self._pace.inserted,
            sampled=self._pace.sampled,
            learner_step=self._learner_step,
            policies=self._ticket,
            episodes=self._episodes,
            recent_return=recent,
            ages=self._ages,
            checked=self._checked,
            differing=self._differing,
            account=self._ledger.account,
            learner=self._learner_account,
            actors=tuple(self._accounts[actor] for actor in sorted(self._accounts)),
            begun=tuple(sorted(self._begun.items())),
        )

    async def recent_observations(self, most: int) -> Rows:
        """Return the newest rows, at most so many, in the order they came."""
        size, capacity = self._ring.size, len(self._ring.rows)
        places = (self._ring.at - min(most, size) + np.arange(min(most, size))) % capacity
        return self._ring.rows[places]

    async def save(self, folder: Path) -> None:
        """Write rows, counters and random state into a folder."""
        folder.mkdir(exist_ok=True)
        size = self._ring.size
        start = self._ring.at if size == len(self._ring.rows) else 0
        np.save(folder / ROWS_FILE, np.roll(self._ring.rows[:size], -start), allow_pickle=False)
        if isinstance(self._ring, PrioritizedRing):
            np.save(folder / PRIORITIES_FILE, np.roll(self._ring.priorities, -start))
        state = {
            "inserted": self._pace.inserted,
            "sampled": self._pace.sampled,
            "env_steps": self._env_steps,
            "episodes": self._episodes,
            "actors_cpu_s": self._actors_cpu_s,
            "random": self._rng.bit_generator.state,
        }
        (folder / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")

    def restore(self, folder: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            InputError: a file was cut off, or is not what was saved.
        """
        rows = read_rows(folder / ROWS_FILE, self._ring.rows.dtype)
        with damaged(folder / ROWS_FILE):
            self._ring.add(rows)
        if isinstance(self._ring, PrioritizedRing):
            priorities = read_rows(folder / PRIORITIES_FILE, np.dtype(np.float64))
            with damaged(folder / PRIORITIES_FILE):
                self._ring.restore(priorities)
        where = folder / STATE_FILE
        state = value_of(_Saved, table_at(where, DOCUMENT), str(where), DOCUMENT)
        self._pace.inserted, self._pace.sampled = state.inserted, state.sampled
        self._env_steps, self._episodes = state.env_steps, state.episodes
        self._spent_s = state.actors_cpu_s
        with damaged(where):
            self._rng.bit_generator.state = state.random

    def _take(self, rows: Rows, report: Report) -> None:
        ages = np.maximum(self._learner_step - rows["learner_step"].astype(np.int64), 0)
        fresh = ages <= self._max_age
        self._ages = self._ages.with_rows(ages[fresh], len(rows) - int(fresh.sum()))
        self._ring.add(rows if fresh.all() else rows[fresh])
        self._pace.inserted += int(fresh.sum())
        self._env_steps += report.steps
        self._checked += report.checked
        self._differing += report.differing
        if report.account is not None:
            before = self._accounts.get(report.actor)
            if before is not None and before.pid != report.account.pid:
                self._spent_s += before.cpu_s
            self._accounts[report.actor] = replace(report.account, name=f"actor {report.actor}")
        self._episodes += len(report.finished)
        self._recent = [*self._recent, *(f.total for f in report.finished)][-RECENT:]

    def _answer(self, ticket: int) -> Answer:
        policy = self._policy if ticket != self._ticket else None
        return Answer(self._ticket, self._learner_step, policy, self._stopped)


def split(batch: Batch, count: int) -> Sequence[Batch]:
    """Return the batches of `count` rows that were joined."""
    starts = range(0, len(batch.places), count)
    return [
        Batch(
            batch.rows[at : at + count],
            batch.places[at : at + count],
            batch.weights[at : at + count],
        )
        for at in starts
    ]
