"""What a training in integers keeps in its run folder: the observations that its ranges came from,
where it stands, and the best integers so far with the weights behind them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quarl.bundle.policy_file import quant_policy_bytes, read_quant_policy_file
from quarl.files.atomic import write_whole
from quarl.files.npz import npz_bytes, read_npz
from quarl.graph.quant_policy import QuantPolicy
from quarl.train.integer_actor import Weights

OBSERVATIONS, STATE = "graft.npz", "graft.pt"
BEST_INTEGERS, BEST_WEIGHTS = "best-integers.npz", "best-weights.npz"


@dataclass(frozen=True, slots=True)
class IntegerFiles:
    """The files of one training."""

    folder: Path

    def forget(self) -> None:
        """Remove what an earlier training left, which a new one must not go on from."""
        for name in (OBSERVATIONS, STATE, BEST_INTEGERS, BEST_WEIGHTS):
            (self.folder / name).unlink(missing_ok=True)

    def keep_observations(self, obs: NDArray[Any]) -> None:
        """Keep the observations that ranges come from."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / OBSERVATIONS, npz_bytes({"obs": obs}))

    @property
    def has_state(self) -> bool:
        """Whether a training had got as far as integers."""
        return (self.folder / STATE).is_file()

    @property
    def has_best(self) -> bool:
        """Whether there is a best so far."""
        return (self.folder / BEST_WEIGHTS).is_file()

    def observations(self) -> NDArray[Any]:
        """Return the observations that ranges came from."""
        return read_npz(self.folder / OBSERVATIONS)["obs"]

    def write_state(self, state: dict[str, Any]) -> None:
        """Write where the training stands, in tensors and plain numbers."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(self.folder / STATE, buffer.getvalue())

    def state(self) -> dict[str, Any]:
        """Return where the training stood."""
        state: dict[str, Any] = torch.load(self.folder / STATE, weights_only=True)
        return state

    def keep_best(self, integers: QuantPolicy, weights: Weights) -> None:
        """Remember the integers and the real weights behind them."""
        arrays: dict[str, NDArray[np.float64]] = {}
        for name, (weight, bias) in weights.items():
            arrays |= {f"{name}/weights": weight, f"{name}/bias": bias}
        write_whole(self.folder / BEST_INTEGERS, quant_policy_bytes(integers))
        write_whole(self.folder / BEST_WEIGHTS, npz_bytes(arrays))

    def best(self) -> tuple[QuantPolicy, Weights]:
        """Return what was kept."""
        arrays = read_npz(self.folder / BEST_WEIGHTS)
        names = {name.rpartition("/")[0] for name in arrays}
        weights = {name: (arrays[f"{name}/weights"], arrays[f"{name}/bias"]) for name in names}
        return read_quant_policy_file(self.folder / BEST_INTEGERS), weights
