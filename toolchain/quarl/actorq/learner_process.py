"""The learner's process, a Ray actor: it samples, learns, publishes and saves.

In: a plan and handles of the store's shards and the evaluator. Out: an account; checkpoints in the
run's folder. Killed, it is started again by Ray and goes on from the newest checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from quarl.actorq.accounts import Account, Ledger
from quarl.actorq.block import Precision
from quarl.actorq.checkpoint import (
    LEARNER_FILE,
    damaged,
    newest_checkpoint,
    ranges_from,
    ranges_state,
    read_learner,
    write_checkpoint,
)
from quarl.actorq.evaluating import Moment
from quarl.actorq.fill import Filler, Ranges
from quarl.actorq.kernel import load_kernel
from quarl.actorq.learners import new_learner
from quarl.actorq.networks import tensor
from quarl.actorq.plan import Plan
from quarl.actorq.replay import Batch
from quarl.actorq.shards import folder_of_shard, settings_of_shard
from quarl.actorq.store import Sample, split
from quarl.errors import DeviceError

RANGE_ROWS = 256  # of a batch, that activation ranges are taken from
LEARNER = "learner"


class LearnerProcess:
    """The learner: samples, learns, publishes, saves."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stores: Sequence[Any] = ()
        self._evaluator: Any = None
        self._learner = new_learner(plan.settings, plan.contract, plan.seed)
        self._ranges: Ranges | None = None
        self._before_s = self._before_cpu_s = 0.0  # of earlier parts of the run
        checkpoint = newest_checkpoint(plan.folder)
        if checkpoint is not None:
            state = read_learner(checkpoint)
            with damaged(checkpoint / LEARNER_FILE):
                self._learner.restore(state["learner"])
                self._ranges = ranges_from(state["ranges"])
                torch.set_rng_state(state["random"])
                self._before_s, self._before_cpu_s = float(state["wall_s"]), float(state["cpu_s"])
        self._fillers: dict[Precision, Filler] = {}
        self._samples: dict[int, Sample] = {}  # the newest of each shard
        self._saved_s = time.monotonic()

    def run(self, stores: Sequence[Any], evaluator: Any) -> Account:
        """Learn until the plan's last step, or until the run is stopped; return the account."""
        self._stores, self._evaluator = stores, evaluator
        ray.get(stores[0].begin.remote(LEARNER))
        self._ledger = Ledger(LEARNER)
        settings, learner = self._plan.settings, self._learner
        if self._ranges is None:  # nothing was seen: a first policy, whose ranges follow
            self._publish(self._first_ranges())
        else:
            self._publish(self._ranges)
        pending = {self._ask(shard): shard for shard in range(len(stores))}
        while learner.steps < self._plan.learner_steps:
            with self._ledger.booking("wait"):
                (first,), _ = ray.wait(list(pending))
                answer: Sample | None = ray.get(first)
            shard = pending.pop(first)
            if answer is None:
                break
            self._samples[shard] = answer
            pending[self._ask(shard)] = shard
            for batch in split(answer.batch, settings.batch_size):
                self._learn(batch, shard)
        self._save()
        return self._ledger.account

    def _ask(self, shard: int) -> Any:
        with self._ledger.booking("sample"):
            settings = settings_of_shard(self._plan.settings, shard)
            return self._stores[shard].sample.remote(settings.batch_size, settings.batches_a_call)

    def _learn(self, batch: Batch, shard: int) -> None:
        settings, learner = self._plan.settings, self._learner
        if learner.steps >= self._plan.learner_steps:
            return
        with self._ledger.booking("learn"):
            errors = learner.learn(batch)
        self._ledger.steps += 1
        if settings.replay.prioritized:
            self._stores[shard].reprioritize.remote(batch.places, errors)
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
            for store in self._stores:
                store.publish.remote([reference], self._learner.steps, account)
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
        moment = Moment(
            learner_step=self._learner.steps,
            env_steps=sum(sample.env_steps for sample in self._samples.values()),
            wall_s=self._before_s + account.wall_s,
            cpu_s=self._before_cpu_s + account.cpu_s,
            actors_cpu_s=sum(sample.actors_cpu_s for sample in self._samples.values()),
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
                self._save_replay,
            )
            self._saved_s = time.monotonic()

    def _save_replay(self, folder: Path) -> None:
        ray.get(
            [
                store.save.remote(folder_of_shard(folder, shard))
                for shard, store in enumerate(self._stores)
            ]
        )
