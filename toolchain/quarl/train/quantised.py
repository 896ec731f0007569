"""Quantisation-aware training as a callback of Stable-Baselines3: float for a while, integers then.

In: a recipe's [qat] table. During the delay raw observations are remembered, exploration's among
them; then the student takes the actor's place (`graft`), with ranges from what was remembered.
Out: after the training, the integers of the best checkpoint and the float weights behind them.
"""

from __future__ import annotations

import io
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from quarl.bundle.policy_file import quant_policy_bytes, read_quant_policy_file
from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.npz import npz_bytes, read_npz
from quarl.graph.contract import Normalizer
from quarl.graph.quant_policy import QuantPolicy
from quarl.sources.recipe import QatRecipe
from quarl.train.graft import Graft, graft

REMEMBERED = 20_000  # observations of the delay's last steps
PROJECT_EVERY = 50  # rollouts between two checks of the limits of the arithmetic
GRAFT_FILE, STATE_FILE = "graft.npz", "graft.pt"
BEST_INTEGERS, BEST_WEIGHTS = "best-integers.npz", "best-weights.npz"


class Quantise(BaseCallback):
    """Grafts the student at the first rollout after the delay."""

    def __init__(self, recipe: QatRecipe, steps: int, folder: Path) -> None:
        super().__init__()
        self._recipe, self._delay, self._folder = recipe, recipe.delay_steps(steps), folder
        self._seen: deque[NDArray[Any]] = deque()
        self._seen_count = self._rollouts = 0
        self.graft: Graft | None = None

    def _on_step(self) -> bool:
        if self.graft is None:
            self._remember(self._raw_obs())
        return True

    def _on_rollout_start(self) -> None:
        if self.graft is None:
            if self.num_timesteps >= max(self._delay, 1) and self._seen:
                self.begin(np.concatenate(self._seen)[-REMEMBERED:])
            return
        self._rollouts += 1
        if self._rollouts % PROJECT_EVERY == 0:
            self.graft.student.project()

    def begin(self, obs: NDArray[Any], *, is_resumed: bool = False) -> None:
        """Let integers take over; ranges come from these observations."""
        self.graft = graft(
            self.model, self._recipe.widths, obs, is_learned=self._recipe.method == "lsq"
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in (BEST_INTEGERS, BEST_WEIGHTS):
            if not is_resumed:
                (self._folder / old).unlink(missing_ok=True)
        write_whole(self._folder / GRAFT_FILE, npz_bytes({"obs": obs}))

    def keep_best(self) -> None:
        """Remember the integers as they stand and the weights behind them."""
        assert self.graft is not None
        arrays: dict[str, NDArray[np.float64]] = {}
        for name, (weights, bias) in self.graft.real_weights().items():
            arrays |= {f"{name}/weights": weights, f"{name}/bias": bias}
        write_whole(self._folder / BEST_INTEGERS, quant_policy_bytes(self.graft.integers()))
        write_whole(self._folder / BEST_WEIGHTS, npz_bytes(arrays))

    def finish(self) -> tuple[QuantPolicy, Normalizer | None]:
        """Put the model's own layers back with the best weights; return the best integers and the
        normaliser that was in force.

        Raises:
            InputError: the training ended within the delay.
        """
        if self.graft is None:
            raise InputError(
                f"[qat]: the training ended after {self.num_timesteps:,} steps, before a rollout "
                f"began after the delay of {self._delay:,}: give a shorter delay"
            )
        if not (self._folder / BEST_WEIGHTS).is_file():  # killed before the first was kept
            self.keep_best()
        arrays = read_npz(self._folder / BEST_WEIGHTS)
        names = {name.rpartition("/")[0] for name in arrays}
        self.graft.restore(
            {name: (arrays[f"{name}/weights"], arrays[f"{name}/bias"]) for name in names}
        )
        return read_quant_policy_file(self._folder / BEST_INTEGERS), self.graft.normalizer

    def save(self) -> None:
        """Write what a later call goes on from, beside the model's checkpoint of the delay."""
        assert self.graft is not None
        buffer = io.BytesIO()
        torch.save(
            {"policy": self.model.policy.state_dict(), **_optimizer_states(self.model)}, buffer
        )
        write_whole(self._folder / STATE_FILE, buffer.getvalue())

    def resume(self, model: BaseAlgorithm, steps: int) -> None:
        """Go on with integers where a training had got that far."""
        if not (self._folder / STATE_FILE).is_file():
            return
        self.model = model
        self.begin(read_npz(self._folder / GRAFT_FILE)["obs"], is_resumed=True)
        state = torch.load(self._folder / STATE_FILE, weights_only=True)
        model.policy.load_state_dict(state.pop("policy"))
        for name, optimizer in _optimizers(model).items():
            optimizer.load_state_dict(state[name])
        model.num_timesteps = steps

    def _raw_obs(self) -> NDArray[Any]:
        envs = self.model.get_vec_normalize_env()
        obs = self.locals["new_obs"] if envs is None else envs.get_original_obs()
        return np.array(obs, np.float32)

    def _remember(self, obs: NDArray[Any]) -> None:
        self._seen.append(obs)
        self._seen_count += len(obs)
        while self._seen_count - len(self._seen[0]) >= REMEMBERED:
            self._seen_count -= len(self._seen.popleft())


def _optimizers(model: BaseAlgorithm) -> dict[str, torch.optim.Optimizer]:
    policy: Any = model.policy
    found = {"optimizer": getattr(policy, "optimizer", None)}
    for name in ("actor", "critic"):
        found[name] = getattr(getattr(policy, name, None), "optimizer", None)
    return {name: optimizer for name, optimizer in found.items() if optimizer is not None}


def _optimizer_states(model: BaseAlgorithm) -> dict[str, Any]:
    return {name: optimizer.state_dict() for name, optimizer in _optimizers(model).items()}
