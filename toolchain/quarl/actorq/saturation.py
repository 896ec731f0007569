"""How many actors a run can use: from measured costs to the number at which each part is full.

In: costs of one run. Out: for the learner, the store and the network, the number of actors from
which more of them bring nothing. A model: each part is busy for the sum of its calls, nothing else
is lost. Shards of the replay divide the store's calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from quarl.actorq.record import Record

NETWORK_BYTES_S = 1.25e9  # 10 Gbit/s, between nodes; nothing is sent within one


@dataclass(frozen=True, slots=True)
class Costs:
    """What the model knows."""

    step_s: float  # CPU of an actor for one environment step, calls to the store included
    learner_step_s: float
    steps_per_learner_step: float  # environment steps a learner step needs
    insert_s: float  # CPU of the store for one call
    sample_s: float
    insert_every: int
    batches_a_call: int
    policy_bytes: int
    pull_every: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Number of actors at which each part is full."""

    learner: float
    store: float
    network: float  # of the learner's node, one actor on each other node

    @property
    def first(self) -> str:
        """The part that is full first."""
        found = {"learner": self.learner, "store": self.store, "network": self.network}
        return min(found, key=lambda part: found[part])


def costs_of(record: Record, batches_a_call: int) -> Costs:
    """Return the costs of a run. The store's CPU is shared out between its calls by what their own
    work takes; what Ray takes for a call is the same for both.
    """
    steps_per_insert = record.insert_every
    inserts = max(1.0, record.env_steps / steps_per_insert)
    samples = max(1.0, record.store.steps / batches_a_call)
    own_insert = record.store.phase("insert") / inserts
    own_sample = record.store.phase("sample") / samples
    shared = max(0.0, record.store.cpu_s - own_insert * inserts - own_sample * samples)
    of_ray = shared / (inserts + samples)
    sent = record.learner.bytes_sent / max(1, record.learner.pulls)
    return Costs(
        step_s=1 / record.steps_per_cpu_s,
        learner_step_s=record.learner.cpu_s / max(1, record.learner.steps),
        steps_per_learner_step=record.batch_size / record.case.samples_per_insert,
        insert_s=own_insert + of_ray,
        sample_s=own_sample + of_ray,
        insert_every=steps_per_insert,
        batches_a_call=batches_a_call,
        policy_bytes=int(sent),
        pull_every=record.case.pull_every,
    )


def limits_of(costs: Costs, shards: int = 1, network_bytes_s: float = NETWORK_BYTES_S) -> Limits:
    """Return the number of actors at which each part is full."""
    steps_s = 1 / costs.step_s  # of one actor
    learner_needs = costs.steps_per_learner_step / costs.learner_step_s  # steps a second
    store_step_s = costs.insert_s / costs.insert_every + costs.sample_s / (
        costs.batches_a_call * costs.steps_per_learner_step
    )
    return Limits(
        learner=learner_needs / steps_s,
        store=shards / (store_step_s * steps_s),
        network=network_bytes_s / (costs.policy_bytes * steps_s / costs.pull_every),
    )


def steps_per_s(costs: Costs, actors: int, shards: int = 1) -> float:
    """Return the environment steps a second that so many actors make, each on a core of its own."""
    limits = limits_of(costs, shards)
    return min(actors, limits.learner, limits.store, limits.network) / costs.step_s
