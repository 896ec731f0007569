"""What every process of a run is told when it starts: frozen values, no networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quarl.actorq.actor_plan import ActorPlan
from quarl.actorq.players import Runtime
from quarl.actorq.settings import Settings
from quarl.graph.contract import Contract
from quarl.graph.env_spec import EnvSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    name: str
    settings: Settings
    env: EnvSpec
    contract: Contract
    folder: Path  # of the run, on the machine that started it
    seed: int
    env_steps: int
    lanes: int  # environments of each actor
    runtime: Runtime

    @property
    def learner_steps(self) -> int:
        """Learner steps that end the run."""
        return self.settings.learner_steps(self.env_steps)

    @property
    def evaluate_every(self) -> int:
        """Learner steps between two points of the curve."""
        return -(-self.learner_steps // self.settings.evaluations)

    @property
    def of_actors(self) -> ActorPlan:
        """What each actor is told."""
        return actor_plan(
            self.settings, self.env, self.contract, self.runtime, seed=self.seed, lanes=self.lanes
        )


def actor_plan(
    settings: Settings, env: EnvSpec, contract: Contract, runtime: Runtime, *, seed: int, lanes: int
) -> ActorPlan:
    """Return what an actor with these settings is told."""
    acting = settings.actors
    return ActorPlan(
        env=env,
        contract=contract,
        seed=seed,
        lanes=lanes,
        runtime=runtime,
        count=acting.count,
        pull_every=acting.pull_every,
        insert_every=acting.insert_every,
        noise=acting.noise,
        epsilon=acting.epsilon,
        explore_steps=acting.explore_steps,
        n_step=settings.n_step,
        gamma=settings.gamma,
        max_age=settings.replay.max_age,
    )
