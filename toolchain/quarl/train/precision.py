"""Learning in half precision: matrix products of the updates in bfloat16, all else in float32.

Weights, optimiser and losses stay float32 (mixed precision, Micikevicius et al., arXiv 1710.03740);
bfloat16 has float32's range, so no loss needs scaling. Acting stays float32, its batches are small.
But PPO and A2C note the probabilities of what they did as an update will compute them: their ratio
is 1 where nothing was learned yet.
The last layer of each network stays float32 too: of a value of 100 bfloat16 keeps halves, and
losses and the ratio of probabilities live on differences.
What is left of an update of a large network is the optimiser's way through memory, so it goes there
once (`fused`), where torch knows how.
Only a processor with bfloat16 units gains (`bf16_units`).
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

A = TypeVar("A", bound=BaseAlgorithm)


def in_bf16(algorithm: type[A]) -> type[A]:
    """Return the algorithm with bfloat16 matrix products in its updates."""
    return type(algorithm.__name__, (_Half, algorithm), {})


class _Half:
    def _setup_model(self) -> None:
        super()._setup_model()  # type: ignore[misc]
        policy: Any = self.policy  # type: ignore[attr-defined]
        for layer in last_layers(policy):
            layer.__class__ = _InFloat32
        for owner in (policy, getattr(policy, "actor", None), getattr(policy, "critic", None)):
            in_one_pass(getattr(owner, "optimizer", None))
        if isinstance(policy, ActorCriticPolicy):
            kind = type(policy)
            policy.__class__ = type(kind.__name__, (_HalfRollouts, kind), {})

    def train(self, *arguments: Any, **options: Any) -> None:
        with _half():
            super().train(*arguments, **options)  # type: ignore[misc]


class _HalfRollouts:
    """What a rollout asks of a policy; `predict` and with it every evaluation stay float32."""

    def forward(self, *arguments: Any, **options: Any) -> Any:
        with _half():
            return super().forward(*arguments, **options)  # type: ignore[misc]

    def predict_values(self, *arguments: Any, **options: Any) -> Any:
        with _half():
            return super().predict_values(*arguments, **options)  # type: ignore[misc]


def _half() -> torch.autocast:
    """Return autocast without its cache, whose copies of weights outlive the optimiser's steps."""
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)


class _InFloat32(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def last_layers(policy: torch.nn.Module) -> list[torch.nn.Linear]:
    """Return the layers that give actions and values, by the names Stable-Baselines3 gives them."""
    found = []
    for path, module in policy.named_modules():
        name = path.rpartition(".")[2]
        if isinstance(module, torch.nn.Linear) and name in _LAYERS:
            found.append(module)
        if isinstance(module, torch.nn.Sequential) and _NETWORKS.fullmatch(name):
            found += [layer for layer in module if isinstance(layer, torch.nn.Linear)][-1:]
    return found


_LAYERS = ("action_net", "value_net", "mu", "log_std")
_NETWORKS = re.compile(r"q_net|mu|qf\d+")


def in_one_pass(optimizer: torch.optim.Optimizer | None) -> None:
    """Let the optimiser update all of a weight at once; others than Adam's kin stay as they are."""
    for group in optimizer.param_groups if optimizer is not None else ():
        if "fused" in group:
            group.update(fused=True, foreach=False)
