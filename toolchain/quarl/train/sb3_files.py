"""What a training with Stable-Baselines3 writes: checkpoints to go on from, and the policy
itself.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from quarl.errors import InputError
from quarl.graph.contract import Normalizer

LEFT_OUT = (
    "start_time", "_last_obs", "_last_original_obs", "_last_episode_starts", "ep_info_buffer",
    "ep_success_buffer", "replay_buffer_class",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model and its normaliser in a folder. Nothing of it is committed."""

    folder: Path

    @property
    def model_path(self) -> Path:
        """The model's zip."""
        return self.folder / "model.zip"

    def save(self, model: BaseAlgorithm, *, whole: bool) -> None:
        """Write the model; `whole` adds what only going on with the training needs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        model.save(self.model_path)
        envs = model.get_vec_normalize_env()
        if envs is not None:
            rewards = envs.ret_rms
            state = {
                "return_var": rewards.var,
                "return_mean": rewards.mean,
                "return_count": rewards.count,
            }
            if envs.norm_obs:
                assert not isinstance(envs.obs_rms, dict)
                state |= {
                    "mean": envs.obs_rms.mean,
                    "var": envs.obs_rms.var,
                    "count": envs.obs_rms.count,
                }
                state |= {
                    "epsilon": np.float64(envs.epsilon),
                    "clip_obs": np.float64(envs.clip_obs),
                }
            np.savez(self.folder / "normalizer.npz", **state)  # type: ignore[arg-type]
        if whole and isinstance(model, OffPolicyAlgorithm):
            model.save_replay_buffer(self.folder / "replay.pkl")

    def load(self, algorithm: type[BaseAlgorithm], envs: VecEnv) -> BaseAlgorithm:
        """Return the model, ready to go on in `envs`."""
        if not self.model_path.exists():
            raise InputError(
                f"{self.folder}: there is no checkpoint to resume from. Train without --resume."
            )
        model = algorithm.load(self.model_path, env=envs, device="cpu", force_reset=True)
        if isinstance(model, OffPolicyAlgorithm):
            model.load_replay_buffer(self.folder / "replay.pkl")
        if isinstance(envs, VecNormalize):
            with np.load(self.folder / "normalizer.npz") as state:
                envs.ret_rms.mean, envs.ret_rms.var, envs.ret_rms.count = (
                    state["return_mean"],
                    state["return_var"],
                    state["return_count"],
                )
                if envs.norm_obs:
                    assert not isinstance(envs.obs_rms, dict)
                    envs.obs_rms.mean, envs.obs_rms.var, envs.obs_rms.count = (
                        state["mean"],
                        state["var"],
                        state["count"],
                    )
        return model

    def normalizer(self) -> Normalizer | None:
        """Return the observation normaliser; None where observations are used as they are."""
        path = self.folder / "normalizer.npz"
        if not path.exists():
            return None
        with np.load(path) as state:
            if "mean" not in state:
                return None
            mean, var = tuple(state["mean"].tolist()), tuple(state["var"].tolist())
            return Normalizer(mean, var, float(state["epsilon"]), float(state["clip_obs"]))


def save_model(model: BaseAlgorithm, path: Path) -> None:
    """Write the policy as `model.save` does, without what only training needs: optimiser moments
    and the last observations.
    """
    for optimizer in _optimizers(model):
        optimizer.state.clear()
    model.observation_space.seed(0)  # its generator is saved with it
    model.save(path, exclude=LEFT_OUT)
    _make_repeatable(path)


def _make_repeatable(path: Path) -> None:
    """Write a zip of `model.save` again without what the machine and the hour put in: the same
    training gives the same bytes.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    _, _, members["system_info.txt"] = members["system_info.txt"].partition(
        b"\n"
    )  # its first line is the kernel of this machine
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(
                zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED
            )


def _optimizers(model: BaseAlgorithm) -> list[torch.optim.Optimizer]:
    names, _ = model._get_torch_save_params()
    found = []
    for name in names:
        value: Any = model
        for part in name.split("."):
            value = getattr(value, part)
        if isinstance(value, torch.optim.Optimizer):
            found.append(value)
    return found
