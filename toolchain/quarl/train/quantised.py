"""Quantisation-aware training as a callback of Stable-Baselines3: float for a while, integers then.

In: a recipe's [qat] table. During the delay raw observations are remembered, exploration's among
them; then the student takes the actor's place (`graft`), with ranges from what was remembered.
Out: after the training, the integers of the best checkpoint and the float weights behind them.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from quarl.errors import InputError
from quarl.graph.contract import Normalizer
from quarl.graph.quant_policy import QuantPolicy
from quarl.sources.recipe import QatRecipe
from quarl.train.graft import Graft, graft
from quarl.train.integer_actor import PROJECT_EVERY, REMEMBERED
from quarl.train.integer_files import IntegerFiles


class Quantise(BaseCallback):
    """Grafts the student at the first rollout after the delay."""

    def __init__(self, recipe: QatRecipe, steps: int, folder: Path) -> None:
        super().__init__()
        self._recipe, self._delay = recipe, recipe.delay_steps(steps)
        self._files = IntegerFiles(folder)
        self._seen: deque[NDArray[Any]] = deque()
        self._seen_count = self._rollouts = 0
        self.graft: Graft | None = None
        self.has_just_begun = False  # whether integers took over at this rollout

    def _on_step(self) -> bool:
        if self.graft is None:
            self._remember(self._raw_obs())
        return True

    def _on_rollout_start(self) -> None:
        self.has_just_begun = False
        if self.graft is None:
            if self.num_timesteps >= max(self._delay, 1) and self._seen:
                self.begin(np.concatenate(self._seen)[-REMEMBERED:])
                self.has_just_begun = True
            return
        self._rollouts += 1
        if self._rollouts % PROJECT_EVERY == 0:
            self.graft.student.project()

    def begin(self, obs: NDArray[Any], *, is_resumed: bool = False) -> None:
        """Let integers take over; ranges come from these observations."""
        self.graft = graft(self.model, self._recipe, obs)
        if not is_resumed:
            self._files.keep_observations(obs)

    def keep_best(self) -> None:
        """Remember the integers as they stand and the weights behind them."""
        assert self.graft is not None
        self._files.keep_best(self.graft.integers(), self.graft.real_weights())

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
        if not self._files.has_best:  # killed before the first was kept
            self.keep_best()
        integers, weights = self._files.best()
        self.graft.restore(weights)
        return integers, self.graft.normalizer

    def save(self) -> None:
        """Write what a later call goes on from, beside the model's checkpoint of the delay."""
        assert self.graft is not None
        policy = self.model.policy.state_dict()
        self._files.write_state({"policy": policy, **_optimizer_states(self.model)})

    def forget(self) -> None:
        """Begin anew, whatever an earlier training left in the folder."""
        self._files.forget()

    def resume(self, model: BaseAlgorithm, steps: int) -> None:
        """Go on with integers where a training had got that far."""
        if not self._files.has_state:
            return
        self.model = model
        self.begin(self._files.observations(), is_resumed=True)
        state = self._files.state()
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
