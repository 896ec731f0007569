"""Fake quantisation inside Stable-Baselines3's own policies: the student takes the actor's place.

In: a model of PPO, A2C, DQN, DDPG, TD3, SAC or TQC whose network is a chain of dense layers, and
observations that its training has met. Out: the same model, acting and learning through the
deployment's integers; `restore` puts its own layers back, with the weights that were learned.

What normalised the observations before (VecNormalize) moves into the policy: the student quantises
raw observations, as a board does, and value networks get a fixed normaliser in front.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from quarl.errors import InputError
from quarl.finetune.fake_layers import rounded
from quarl.finetune.losses import gives_values
from quarl.finetune.student import Student
from quarl.graph.contract import Normalizer
from quarl.graph.policy import INPUT, Dense, Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import ImportOptions, read_policy
from quarl.quantize.transforms import Unit
from quarl.sources.recipe import QatRecipe
from quarl.train.integer_actor import (
    Quantizer,
    Weights,
    Whole,
    real_weights,
    student_of,
    trainable,
)
from quarl.train.precision import in_one_pass

ALGORITHMS = (PPO, A2C, DQN, DDPG, TD3, SAC)


class Trunk(nn.Module):
    """The student up to its last hidden tensor, which exploration may need (gSDE, log_std)."""

    def __init__(self, quantizer: Quantizer, student: Student, units: tuple[Unit, ...]) -> None:
        super().__init__()
        self.quantizer, self.student, self.units = quantizer, student, units

    def forward(self, obs: Tensor) -> Tensor:
        """Return the hidden tensor [n, features] in real units."""
        values = self.student.run({INPUT: self.quantizer(obs)}, self.units)
        return self.student.real(values, self.units[-1].name)


class Head(nn.Module):
    """The student from its last hidden tensor on."""

    def __init__(self, student: Student, latent: str, units: tuple[Unit, ...]) -> None:
        super().__init__()
        self.student, self.latent, self.units = student, latent, units

    def forward(self, latent: Tensor) -> Tensor:
        """Return the outputs [n, count] in real units."""
        offsets = rounded(latent / self.student.scale(self.latent))  # undoes one multiplication
        values = self.student.run({self.latent: offsets}, self.units)
        return self.student.real(values, self.units[-1].name)


class Normalise(nn.Module):
    """VecNormalize with its statistics as they stand."""

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(normalizer.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(normalizer.std, dtype=torch.float32))
        self.limit = normalizer.clip_obs

    mean: Tensor
    std: Tensor

    def forward(self, obs: Tensor) -> Tensor:
        """Return normalised observations."""
        return ((obs - self.mean) / self.std).clamp(-self.limit, self.limit)


@dataclass
class Graft:
    """A student in the place of a model's actor."""

    model: BaseAlgorithm
    student: Student
    normalizer: Normalizer | None  # of VecNormalize, as it was when the student took over
    originals: dict[str, nn.Module]  # what stood there, by its path in the policy

    def integers(self) -> QuantPolicy:
        """Return what the actor computes now."""
        self.student.project()
        return self.student.export()

    def real_weights(self) -> Weights:
        """Return the real weights behind the integers, as the model's own layers have them."""
        return real_weights(self.student)

    def restore(self, weights: Weights) -> None:
        """Put the model's own layers back, with these weights."""
        for path, module in self.originals.items():
            _set(self.model.policy, path, module)
        with torch.no_grad():
            for name, (weight, bias) in weights.items():
                layer = _linear(self.model.policy, name)
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))
        _renew_optimizers(self.model)


def graft(model: BaseAlgorithm, qat: QatRecipe, obs: NDArray[Any]) -> Graft:
    """Return the graft: from here on the model acts and learns through integers.

    Args:
        obs: raw observations [n, features] that ranges are taken from.
    Raises:
        InputError: an algorithm or a network that this cannot be done for.
    """
    if not isinstance(model, ALGORITHMS):
        known = ", ".join(algorithm.__name__ for algorithm in ALGORITHMS)
        raise InputError(f"[qat]: {type(model).__name__} is not one of {known}: omit the table")
    envs = model.get_vec_normalize_env()
    normalizer = None if envs is None or not envs.norm_obs else _normalizer(envs)
    policy = _policy_of(model, normalizer)
    student = student_of(policy, obs, qat, gives_values=gives_values(policy.algorithm))
    made = Graft(model, student, normalizer, {})
    _install(made)
    if normalizer is not None:
        assert envs is not None
        _normalise_values(made, Normalise(normalizer))
        _stop_normalising(model, envs)
    _renew_optimizers(model)
    return made


def _policy_of(model: BaseAlgorithm, normalizer: Normalizer | None) -> Policy:
    """Return the model's deterministic actor as the importer reads it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "policy.zip"
        model.save(path, exclude=["replay_buffer_class", "_last_original_obs"])
        policy = read_policy(path, ImportOptions(normalizer, no_normalizer=normalizer is None))
    assert isinstance(policy, Policy)
    if policy.contract.observation.is_image or not all(
        isinstance(node.op, Dense) or len(node.inputs) == 1 for node in policy.nodes
    ):
        raise InputError(
            "[qat]: only chains of dense layers are trained in integers: train in float, then "
            "quarl finetune"
        )
    return policy


def _install(made: Graft) -> None:
    model, student = made.model, made.student
    quantizer = Quantizer(student.observation)
    policy: Any = model.policy
    if isinstance(model, DQN):
        whole = Whole(quantizer, student)
        _replace(made, "q_net.q_net", whole)
        _replace(made, "q_net_target.q_net", copy.deepcopy(whole))
    elif isinstance(model, TD3):  # and DDPG
        whole = Whole(quantizer, student)
        _replace(made, "actor.mu", whole)
        _replace(made, "actor_target.mu", copy.deepcopy(whole))
    else:
        heads = "actor.mu" if isinstance(model, SAC) else "action_net"
        trunk_path = "actor.latent_pi" if isinstance(model, SAC) else "mlp_extractor.policy_net"
        units = tuple(unit for unit in student.units if unit.name != "squash")
        first = next(i for i, unit in enumerate(units) if unit.name.startswith(heads))
        if first == 0:
            raise InputError("[qat]: the actor has no hidden layer: give net_arch one")
        _replace(made, trunk_path, Trunk(quantizer, student, units[:first]))
        _replace(made, heads, Head(student, units[first - 1].name, units[first:]))
    policy.to(model.device)


def _normalise_values(made: Graft, normalise: Normalise) -> None:
    """Put the normaliser before everything but the actor."""
    policy: Any = made.model.policy
    if isinstance(made.model, PPO | A2C):
        _replace(
            made,
            "mlp_extractor.value_net",
            nn.Sequential(normalise, policy.mlp_extractor.value_net),
        )
    elif not isinstance(made.model, DQN):
        for critic in ("critic", "critic_target"):
            extractor = getattr(policy, critic).features_extractor
            _replace(made, f"{critic}.features_extractor", nn.Sequential(extractor, normalise))


def _stop_normalising(model: BaseAlgorithm, envs: VecNormalize) -> None:
    envs.norm_obs = False
    if model._last_obs is not None:
        model._last_obs = envs.get_original_obs()


def _replace(made: Graft, path: str, module: nn.Module) -> None:
    made.originals[path] = made.model.policy.get_submodule(path)
    _set(made.model.policy, path, module)


def _set(root: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module)


def _linear(policy: nn.Module, name: str) -> nn.Linear:
    module = policy.get_submodule(name)
    if isinstance(module, nn.Sequential):  # the mean of gSDE, before its clip
        module = module[0]
    assert isinstance(module, nn.Linear)
    return module


def _normalizer(envs: VecNormalize) -> Normalizer:
    statistics = envs.obs_rms
    assert not isinstance(statistics, dict)
    return Normalizer(
        tuple(np.asarray(statistics.mean, np.float64).tolist()),
        tuple(np.asarray(statistics.var, np.float64).tolist()),
        float(envs.epsilon),
        float(envs.clip_obs),
    )


def _renew_optimizers(model: BaseAlgorithm) -> None:
    """Give the optimisers the parameters that are there now; their moments begin anew."""
    policy: Any = model.policy
    owner, network = policy, policy
    if isinstance(model, DQN):
        network = policy.q_net
    elif not isinstance(model, PPO | A2C):
        owner = network = policy.actor
    owner.optimizer = policy.optimizer_class(
        trainable(network), lr=model.lr_schedule(1), **policy.optimizer_kwargs
    )
    in_one_pass(owner.optimizer)  # of many small parameters
