"""The normaliser of a vector observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError


@dataclass(frozen=True, slots=True)
class Normalizer:
    """Running statistics that turn a raw observation into what the network was trained on.

    normalised = clip((obs - mean) / sqrt(var + epsilon), -clip_obs, clip_obs), per feature.
    """

    mean: tuple[float, ...]
    var: tuple[float, ...]
    epsilon: float
    clip_obs: float

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.var):
            raise InputError(
                f"normaliser: mean has {len(self.mean)} values, var has {len(self.var)}: both "
                "must have one per feature"
            )
        values = np.array([*self.mean, *self.var, self.epsilon, self.clip_obs])
        if (
            not np.isfinite(values).all()
            or min((*self.var, self.epsilon)) < 0
            or self.clip_obs <= 0
        ):
            raise InputError(
                "normaliser: mean must be finite, var and epsilon finite and >= 0, clip_obs "
                "finite and > 0"
            )
        if (self.std == 0).any():
            raise InputError(
                "normaliser: var + epsilon is 0 for a feature, which would divide by zero: "
                "give epsilon > 0"
            )

    @property
    def std(self) -> NDArray[np.float64]:
        """float64 [features], sqrt(var + epsilon)."""
        return np.sqrt(np.array(self.var, np.float64) + self.epsilon)

    def apply(self, obs: NDArray[Any]) -> NDArray[np.float64]:
        """Return float64 [n, features], normalised and clipped, from raw observations [n,
        features].
        """
        scaled = (obs.astype(np.float64) - np.array(self.mean, np.float64)) / self.std
        return np.clip(scaled, -self.clip_obs, self.clip_obs)
