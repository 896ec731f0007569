"""The processes of a run: store, learner, actors, evaluator, each a Ray actor.

In: a plan and handles of the others. Out: accounts, and what they write into the run's folder.
Every one may be killed: Ray starts it again, and it goes on from the newest checkpoint or from the
newest policy. A policy travels as one reference to its block in the object store, where actors read
it in place.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from quarl.actorq.accounts import Account, Ledger
from quarl.actorq.acting import Acting
from quarl.actorq.block import Block, Precision, label_of
from quarl.actorq.checkpoint import (
    newest_checkpoint,
    ranges_from,
    ranges_state,
    read_learner,
    write_checkpoint,
)
from quarl.actorq.evaluating import Judge, Moment, Point, compare
from quarl.actorq.fill import Filler, Ranges
from quarl.actorq.kernel import load_kernel
from quarl.actorq.learners import new_learner
from quarl.actorq.networks import tensor
from quarl.actorq.plan import Plan
from quarl.actorq.players import Player, open_player
from quarl.actorq.replay import Batch
from quarl.actorq.store import Answer, Report, Sample, Store, split
from quarl.actorq.transitions import Rows, row_type
from quarl.errors import DeviceError, QuarlError
from quarl.stats.seeds import ACTOR_SEED

RANGE_ROWS = 256  # of a batch, that activation ranges are taken from
LEARNER = "learner"
CHECKED_EVERY, CHECKED_ROWS = 200, 64  # inserts of an actor, and its decisions compared each time


class StoreProcess(Store):
    """The store; started again, it goes on from the newest checkpoint."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.settings, row_type(plan.contract), plan.seed)
        checkpoint = newest_checkpoint(plan.folder)
        if checkpoint is not None:
            self.restore(checkpoint)


class LearnerProcess:
    """The learner: samples, learns, publishes, saves."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._store: Any = None
        self._evaluator: Any = None
        self._learner = new_learner(plan.settings, plan.contract, plan.seed)
        self._ranges: Ranges | None = None
        self._before_s = self._before_cpu_s = 0.0  # of earlier parts of the run
        checkpoint = newest_checkpoint(plan.folder)
        if checkpoint is not None:
            state = read_learner(checkpoint)
            self._learner.restore(state["learner"])
            self._ranges = ranges_from(state["ranges"])
            torch.set_rng_state(state["random"])
            self._before_s, self._before_cpu_s = float(state["wall_s"]), float(state["cpu_s"])
        self._fillers: dict[Precision, Filler] = {}
        self._sample: Sample | None = None
        self._saved_s = time.monotonic()

    def run(self, store: Any, evaluator: Any) -> Account:
        """Learn until the plan's last step, or until the run is stopped; return the account."""
        self._store, self._evaluator = store, evaluator
        ray.get(store.begin.remote(LEARNER))
        self._ledger = Ledger(LEARNER)
        settings, learner = self._plan.settings, self._learner
        if self._ranges is None:  # nothing was seen: a first policy, whose ranges follow
            self._publish(self._first_ranges())
        else:
            self._publish(self._ranges)
        pending = self._ask()
        while learner.steps < self._plan.learner_steps:
            with self._ledger.booking("wait"):
                answer: Sample | None = ray.get(pending)
            if answer is None:
                break
            self._sample = answer
            pending = self._ask()
            for batch in split(answer.batch, settings.batch_size):
                self._learn(batch)
        self._save()
        return self._ledger.account

    def _ask(self) -> Any:
        with self._ledger.booking("sample"):
            settings = self._plan.settings
            return self._store.sample.remote(settings.batch_size, settings.batches_a_call)

    def _learn(self, batch: Batch) -> None:
        settings, learner = self._plan.settings, self._learner
        if learner.steps >= self._plan.learner_steps:
            return
        with self._ledger.booking("learn"):
            errors = learner.learn(batch)
        self._ledger.steps += 1
        if settings.replay.prioritized:
            self._store.reprioritize.remote(batch.places, errors)
        is_last = learner.steps == self._plan.learner_steps
        judged = is_last or learner.steps % self._plan.evaluate_every == 0
        if judged or learner.steps % settings.publish_every == 0:
            with self._ledger.booking("quantise"):
                seen = learner.policy.ranges(tensor(batch.rows["obs"][:RANGE_ROWS]))
                self._ranges = seen if self._ranges is None else self._ranges.widened(seen)
            reference = self._publish(self._ranges)
            if judged:
                self._judge(self._ranges, reference)
        if settings.checkpoint_s and time.monotonic() - self._saved_s > settings.checkpoint_s:
            self._save()

    def _first_ranges(self) -> Ranges:
        length = self._plan.contract.observation.shape[0]
        obs = np.random.default_rng(self._plan.seed).normal(size=(RANGE_ROWS, length))
        return self._learner.policy.ranges(tensor(obs))

    def _publish(self, ranges: Ranges) -> Any:
        """Send the policy to the actors; return the reference to its block."""
        reference = self._put(self._plan.settings.actors.precision, ranges)
        with self._ledger.booking("broadcast"):
            account = self._ledger.account
            self._store.publish.remote([reference], self._learner.steps, account)
        self._ledger.pulls += 1
        return reference

    def _put(self, precision: Precision, ranges: Ranges) -> Any:
        with self._ledger.booking("quantise"):
            if precision not in self._fillers:
                shape = self._learner.policy.shape
                self._fillers[precision] = Filler(load_kernel(), shape, precision, centered=True)
            try:
                block = self._fillers[precision].fill(
                    self._learner.policy.layers(), ranges, self._ledger.pulls, self._learner.steps
                )
            except ValueError as error:
                raise DeviceError(
                    f"the training diverged at learner step {self._learner.steps}: {error}. Use a "
                    "lower learning rate; --resume goes on from the checkpoint before"
                ) from error
        with self._ledger.booking("broadcast"):
            self._ledger.bytes_sent += block.nbytes
            return ray.put(block)

    def _judge(self, ranges: Ranges, published: Any) -> None:
        is_int8 = self._plan.settings.actors.precision == "int8"
        int8 = published if is_int8 else self._put("int8", ranges)
        floats = self._put("fp32", ranges)
        account = self._ledger.account
        assert self._sample is not None
        moment = Moment(
            learner_step=self._learner.steps,
            env_steps=self._sample.env_steps,
            wall_s=self._before_s + account.wall_s,
            cpu_s=self._before_cpu_s + account.cpu_s,
            actors_cpu_s=self._sample.actors_cpu_s,
        )
        self._evaluator.judge.remote([int8], [floats], moment)

    def _save(self) -> None:
        with self._ledger.booking("checkpoint"):
            state = {
                "learner": self._learner.state(),
                "ranges": ranges_state(self._ranges),
                "random": torch.get_rng_state(),
                "wall_s": self._before_s + self._ledger.account.wall_s,
                "cpu_s": self._before_cpu_s + self._ledger.account.cpu_s,
            }
            write_checkpoint(
                self._plan.folder,
                self._learner.steps,
                state,
                lambda folder: ray.get(self._store.save.remote(folder)),
            )
            self._saved_s = time.monotonic()


class ActorProcess:
    """One actor: plays the newest policy it has heard of, and sends what comes of it."""

    def __init__(self, plan: Plan, actor: int) -> None:
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
        plan, settings = self._plan, self._plan.settings
        seed = ACTOR_SEED + (plan.seed * 1_000_003 + life * 7_919) % ACTOR_SEED
        acting = Acting(settings, plan.env, plan.contract, self._actor, seed=seed)
        acting.open(plan.lanes)
        try:
            answer = self._hear(self._store.first_policy.remote(0))
            pending, inserts = None, 0
            while not answer.stop:
                self._take(answer)
                assert self._player is not None
                rows = acting.play(
                    self._player, self._learner_step, settings.actors.insert_every, self._ledger
                )
                if inserts % CHECKED_EVERY == 0:
                    self._check(rows)
                if pending is not None:
                    answer = self._hear(pending)
                pending = self._send(rows, acting)
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
        acting, kept = self._plan.settings.actors, self._plan.settings.replay
        age = answer.learner_step - self._learner_step
        is_due = self._player is None or self._since_pull >= acting.pull_every or age > kept.max_age
        self._since_pull += acting.insert_every
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
            obs: NDArray[Any] = rows["obs"][:CHECKED_ROWS]
            checked, differing = compare(self._block, obs, self._plan.runtime)
            self._checked += checked
            self._differing += differing

    def _send(self, rows: Rows, acting: Acting) -> Any:
        with self._ledger.booking("insert"):
            steps = -(-self._plan.settings.actors.insert_every // self._plan.lanes)
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


class EvaluatorProcess:
    """Judges policies in the order they come."""

    def __init__(self, plan: Plan) -> None:
        runtime = "kernel" if plan.runtime == "torch" else plan.runtime
        episodes = plan.settings.evaluation_episodes
        self._own = Judge(plan.folder, plan.env, plan.contract, episodes, runtime)
        self._failure: Exception | None = None

    def judge(self, int8: list[Any], floats: list[Any], moment: Moment) -> None:
        """Add a point to the curve. What fails is told by `points`; nobody waits for this call."""
        try:
            self._own.judge(ray.get(int8[0]), ray.get(floats[0]), moment)
        except ray.exceptions.ObjectLostError:
            return  # the learner died; the next one publishes another
        except QuarlError as error:
            self._failure = self._failure or error

    def points(self) -> tuple[Point, ...]:
        """Return the curve. Called after `judge`, it waits for what is being judged.

        Raises:
            QuarlError: the first failure.
        """
        if self._failure is not None:
            raise self._failure
        return self._own.points
