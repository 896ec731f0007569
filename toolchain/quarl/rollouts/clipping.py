"""What the calibration did not cover: observations met in play that lie outside what the int8 input
can say.

In: the observations of the candidate's episodes, as they are played. Out: how many values were
clipped, and of which feature most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.rows import split_rows


@dataclass(frozen=True, slots=True)
class ClippedInputs:
    """Observation values met in play, and those beyond the range of the quantised input."""

    values: int
    outside: int
    worst_feature: str  # name of the contract, or its number; "" where nothing was clipped
    worst_share: float  # of that feature's values, 0..1


class ClipCounter:
    """Counts while episodes are played; `observe` is the hook."""

    def __init__(self, policy: QuantPolicy) -> None:
        self._contract = policy.contract
        self._observation = policy.contract.observation
        self._quantizer = policy.observation
        self._steps = 0
        self._outside: NDArray[np.int64] = np.zeros(1, np.int64)

    def observe(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64], obs: NDArray[Any]
    ) -> None:
        """Take in observations [k, *shape]; pixels are never clipped and not counted."""
        quantizer = self._quantizer
        if quantizer.is_pixels:
            return
        tensor = quantizer.tensor
        exact = (
            self._observation.to_graph(split_rows(self._contract, obs)[0]).astype(np.float32)
            * quantizer.inv_scale
            + quantizer.zero_point
        )
        self._steps += len(obs)
        self._outside = self._outside + (
            (exact > tensor.qmax + 0.5) | (exact < tensor.qmin - 0.5)
        ).sum(axis=0)

    def take(self, other: ClipCounter) -> None:
        """Take in what was counted in other episodes."""
        self._steps += other._steps
        self._outside = self._outside + other._outside

    def result(self) -> ClippedInputs | None:
        """Return the counts; None where nothing was counted."""
        if not self._steps:
            return None
        worst = int(self._outside.argmax())
        names, clipped = self._observation.names, int(self._outside.sum())
        feature = (names[worst] if names else f"feature {worst}") if clipped else ""
        return ClippedInputs(
            self._steps * self._outside.size,
            clipped,
            feature,
            float(self._outside[worst] / self._steps),
        )
