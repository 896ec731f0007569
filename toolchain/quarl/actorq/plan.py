"""What every process of a run is told when it starts: frozen values, no networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
