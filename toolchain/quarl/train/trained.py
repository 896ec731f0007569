"""What every trainer hands back, so that scoring and writing a policy's folder is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quarl.recipe import Recipe
from quarl.train.rollout import Act

CURVE_FIELDS = ("steps", "mean_return", "std_return", "mean_length", "success_rate", "cpu_s")
"""Columns of the learning curve: deterministic play on episodes kept apart for it; success_rate is empty where there is none."""


@dataclass(frozen=True, slots=True)
class Normalizer:
    """`clip((obs - mean) / sqrt(var + epsilon), -clip_obs, clip_obs)`, as VecNormalize computes it."""

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    epsilon: float
    clip_obs: float

    def apply(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return observations [..., obs_len] normalised."""
        return np.clip((obs - self.mean) / np.sqrt(self.var + self.epsilon), -self.clip_obs, self.clip_obs).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the .npz that `quarl import --obs-norm` reads."""
        np.savez(path, mean=self.mean, var=self.var, epsilon=np.float64(self.epsilon), clip_obs=np.float64(self.clip_obs))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands."""

    steps: int
    total: int
    mean_return: float
    success_rate: float | None
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A policy as it comes out of training."""

    act: Act  # deterministic play on raw observations
    save: Callable[[Path], None]  # writes the weights in the framework's own format
    normalizer: Normalizer | None
    curve: Path  # CSV with CURVE_FIELDS
    steps: int


class Trainer(Protocol):
    """Trains the policy of a recipe; `run` keeps checkpoints and the curve between calls."""

    def __call__(
        self, recipe: Recipe, run: Path, *, quick: bool, resume: bool, progress: Callable[[Progress], None] | None
    ) -> Trained:
        """Return the trained policy."""
        ...
