"""What every trainer hands back, so that scoring and writing a policy's folder is the same for all
of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quarl.graph.contract import Normalizer
from quarl.graph.quant_policy import QuantPolicy
from quarl.rollouts.actors import Actor
from quarl.sources.recipe import Recipe

CURVE_FIELDS = ("steps", "mean_return", "std_return", "mean_length", "success_rate", "cpu_s")
"""Columns of the learning curve: deterministic play on episodes kept apart for it; success_rate is
empty where there is none.
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands."""

    steps: int
    total: int
    mean_return: float
    success_rate: float | None
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """How one training runs."""

    folder: Path  # keeps checkpoints and the curve between calls
    quick: bool = False  # train for `quick_steps` only
    resume: bool = False  # go on from the last checkpoint in the folder
    progress: Callable[[Progress], None] | None = None

    def steps_of(self, recipe: Recipe) -> int:
        """Return the steps of all parallel environments together."""
        return recipe.train.quick_steps if self.quick else recipe.train.steps


@dataclass(frozen=True, slots=True)
class Trained:
    """A policy as it comes out of training."""

    actor: Actor  # plays without exploration noise, on raw observations
    save: Callable[[Path], None]  # writes the weights in the framework's own format
    normalizer: Normalizer | None
    curve: Path  # CSV with CURVE_FIELDS
    steps: int
    checkpoint_episodes: int  # that each point of the curve was measured on
    # what the policy knew before its own algorithm began, whole lines for SOURCE.md
    warm_start: str = ""
    integers: QuantPolicy | None = None  # what was trained in the place of the float weights


class Trainer(Protocol):
    """Trains the policy of a recipe."""

    def __call__(self, recipe: Recipe, run: Run) -> Trained:
        """Return the trained policy."""
        ...
