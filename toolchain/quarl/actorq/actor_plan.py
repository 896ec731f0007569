"""What an actor is told when it starts: plain values, so that no other module has to be loaded."""

from __future__ import annotations

from dataclasses import dataclass

from quarl.actorq.players import Runtime
from quarl.graph.contract import Contract
from quarl.graph.env_spec import EnvSpec


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """One actor of a run; steps are environment steps, of one actor where not said otherwise."""

    env: EnvSpec
    contract: Contract
    seed: int  # of the run
    lanes: int  # environments of each actor
    runtime: Runtime
    count: int  # of actors
    pull_every: int
    insert_every: int
    noise: float  # D4PG: sigma of the last actor
    epsilon: float  # DQN: share of random actions, in the end
    explore_steps: int  # DQN: of all actors, until the end
    n_step: int
    gamma: float
    max_age: int  # learner steps an acting policy may lag
