"""An actor of a run as a Ray actor.

In: its plan, and a handle of its store. Out: rows, and the account of what they cost. Killed, Ray
starts it again, and it goes on with the newest policy. So it loads what acting needs and no more:
no torch, no converter, no reader of settings. A policy travels as one reference to its block in the
object store, and is read in place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ray
from numpy.typing import NDArray

from quarl.actorq.accounts import Account, Ledger
from quarl.actorq.acting import Acting
from quarl.actorq.actor_plan import ActorPlan
from quarl.actorq.block import Block, label_of
from quarl.actorq.messages import Answer, Report
from quarl.actorq.players import Player, open_player
from quarl.actorq.transitions import Rows
from quarl.stats.seeds import ACTOR_SEED

CHECKED_EVERY, CHECKED_ROWS = 200, 64  # inserts of an actor, and its decisions compared each time


class ActorProcess:
    """One actor: plays the newest policy it has heard of, and sends what comes of it."""

    def __init__(self, plan: ActorPlan, actor: int) -> None:
        self._plan, self._actor = plan, actor
        self._store: Any = None
        self._ledger = Ledger(f"actor {actor}")
        self._ledger.node = ray.get_runtime_context().get_node_id()
        self._player: Player | None = None
        self._block: Block | None = None
        self._learner_step = self._ticket = self._since_pull = 0
        self._checked = self._differing = 0

    def run(self, store: Any) -> Account:
        """Act until the run is over; return the account. Begun again, it plays other seeds."""
        self._store = store
        life: int = ray.get(store.begin.remote(self._ledger.name))
        plan = self._plan
        seed = ACTOR_SEED + (plan.seed * 1_000_003 + life * 7_919) % ACTOR_SEED
        acting = Acting(plan, self._actor, seed=seed)
        acting.open(plan.lanes)
        try:
            answer = self._hear(self._store.first_policy.remote(0))
            pending, inserts = None, 0
            while not answer.stop:
                self._take(answer)
                assert self._player is not None
                rows = acting.play(
                    self._player, self._learner_step, plan.insert_every, self._ledger
                )
                if pending is not None:
                    answer = self._hear(pending)
                pending = self._send(rows, acting)
                if inserts % CHECKED_EVERY == 0:
                    self._check(rows)
                inserts += 1
        finally:
            acting.close()
        return self._ledger.account

    def _hear(self, pending: Any) -> Answer:
        with self._ledger.booking("wait"):
            answer: Answer = ray.get(pending)
        return answer

    def _take(self, answer: Answer) -> None:
        """Load the policy of an answer, where it is another one and the pull period is over."""
        plan, age = self._plan, answer.learner_step - self._learner_step
        is_due = self._player is None or self._since_pull >= plan.pull_every or age > plan.max_age
        self._since_pull += plan.insert_every
        if answer.policy is None or not is_due:
            return
        with self._ledger.booking("pull"):
            try:
                block: Block = ray.get(answer.policy[0], timeout=10)
            except (ray.exceptions.ObjectLostError, ray.exceptions.GetTimeoutError):
                return  # its learner died; the next one publishes another
        with self._ledger.booking("load"):
            if self._player is None:
                self._player = open_player(self._plan.runtime, block)
            else:
                self._player.load(block)
            self._learner_step = label_of(block).learner_step
        self._block, self._ticket, self._since_pull = block, answer.ticket, 0
        self._ledger.pulls += 1
        self._ledger.bytes_received += block.nbytes

    def _check(self, rows: Rows) -> None:
        """Compare this policy's decisions on its own observations with the reference."""
        if self._block is None or label_of(self._block).precision != "int8" or not len(rows):
            return
        with self._ledger.booking("check"):
            from quarl.actorq.reference_check import compare  # not before the first rows are sent

            obs: NDArray[Any] = rows["obs"][:CHECKED_ROWS]
            checked, differing = compare(self._block, obs, self._plan.runtime)
            self._checked += checked
            self._differing += differing

    def _send(self, rows: Rows, acting: Acting) -> Any:
        with self._ledger.booking("insert"):
            steps = -(-self._plan.insert_every // self._plan.lanes)
            report = Report(
                self._actor,
                self._ticket,
                steps * self._plan.lanes,
                replace(self._ledger.account),
                tuple(acting.finished),
                self._checked,
                self._differing,
            )
            self._checked = self._differing = 0
            acting.finished.clear()
            self._ledger.bytes_sent += rows.nbytes
            return self._store.insert.remote(rows, report)
