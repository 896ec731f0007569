"""The two algorithms: DQN for discrete actions, D4PG for continuous ones, in full precision.

In: batches of rows. Out: a policy network that gets better. Nothing here knows of quantisation.
DQN: double, n-step, Huber loss, priorities where the replay has them. D4PG as in Acme: a critic of
51 atoms, the policy's loss at the next observations, gradients clipped. A policy that has run into
the flat ends of tanh gets no gradient back from there, so the way there costs something, as in
Andrychowicz et al. (arXiv 1707.01495).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quarl.actorq.block import NetShape
from quarl.actorq.networks import Critic, PolicyNet, copy_into, project, tensor
from quarl.actorq.replay import Batch
from quarl.actorq.settings import Settings
from quarl.errors import InputError
from quarl.graph.contract import Contract

LARGEST_GRADIENT = {"DQN": 10.0, "D4PG": 40.0}  # norm
LARGEST_ACTION_GRADIENT = 1.0  # norm, of each row
LARGEST_SUM = 3.0  # before tanh, where an action is 0.995: beyond it costs


class Learner(Protocol):
    """Learns from batches."""

    policy: PolicyNet
    steps: int

    def learn(self, batch: Batch) -> NDArray[np.float32]:
        """Make one step; return the error of each row."""

    def state(self) -> dict[str, Any]:
        """Return all that a later `restore` needs, as tensors and plain numbers."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


def new_learner(settings: Settings, contract: Contract, seed: int) -> Learner:
    """Return a learner of the recipe's algorithm, with random weights.

    Raises:
        InputError: the algorithm cannot act in the environment's spaces.
    """
    check_spaces(settings, contract)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    return (_Dqn if settings.algorithm == "DQN" else _D4pg)(settings, contract)


def check_spaces(settings: Settings, contract: Contract) -> None:
    """Check that the algorithm fits the spaces.

    Raises:
        InputError: it does not; names both.
    """
    wanted = "discrete" if settings.algorithm == "DQN" else "box"
    if contract.action.kind != wanted:
        other = "D4PG" if settings.algorithm == "DQN" else "DQN"
        kind = {"discrete": "discrete", "box": "continuous"}
        raise InputError(
            f"{settings.algorithm} needs {kind[wanted]} actions, the environment's are "
            f"{kind[contract.action.kind]}: use {other}, or another environment"
        )
    if contract.observation.is_image:
        raise InputError("observations are images: actors play vectors only")


def shape_of(settings: Settings, contract: Contract) -> NetShape:
    """Return the shape of the policy network."""
    ends = contract.observation.shape[0], contract.action.count
    lengths = (ends[0], *settings.layers, ends[1])
    return NetShape(lengths, settings.activation, settings.algorithm == "D4PG")


class _Dqn:
    def __init__(self, settings: Settings, contract: Contract) -> None:
        shape = shape_of(settings, contract)
        self.policy, self._target = PolicyNet(shape), PolicyNet(shape)
        copy_into(self._target, self.policy)
        self._optimizer = _adam(self.policy, settings.learning_rate)
        self._target_every = settings.target_every
        self.steps = 0

    def learn(self, batch: Batch) -> NDArray[np.float32]:
        rows = batch.rows
        next_obs = tensor(rows["next_obs"])
        with torch.no_grad():
            best = self.policy(next_obs).argmax(dim=1, keepdim=True)
            after = self._target(next_obs).gather(1, best)[:, 0]
            wanted = tensor(rows["reward"]) + tensor(rows["discount"]) * after
        action = torch.from_numpy(rows["action"].astype(np.int64))[:, None]
        value = self.policy(tensor(rows["obs"])).gather(1, action)[:, 0]
        loss = nn.functional.smooth_l1_loss(value, wanted, reduction="none")
        _step(self._optimizer, (loss * tensor(batch.weights)).mean(), LARGEST_GRADIENT["DQN"])
        self.steps += 1
        if self.steps % self._target_every == 0:
            copy_into(self._target, self.policy)
        errors: NDArray[np.float32] = (value.detach() - wanted).numpy()
        return errors

    def state(self) -> dict[str, Any]:
        return {
            "policy": self.policy.state_dict(),
            "target": self._target.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self._target.load_state_dict(state["target"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.steps = int(state["steps"])


class _D4pg:
    def __init__(self, settings: Settings, contract: Contract) -> None:
        shape = shape_of(settings, contract)
        self.policy, self._target = PolicyNet(shape), PolicyNet(shape)
        self._critic, self._target_critic = (
            Critic(
                *(contract.observation.shape[0], contract.action.count, settings.atoms),
                *(settings.value_low, settings.value_high),
            )
            for _ in range(2)
        )
        copy_into(self._target, self.policy)
        copy_into(self._target_critic, self._critic)
        self._optimizer = _adam(self.policy, settings.learning_rate)
        self._critic_optimizer = _adam(self._critic, settings.critic_learning_rate)
        self._target_every = settings.target_every
        self.steps = 0

    def learn(self, batch: Batch) -> NDArray[np.float32]:
        rows = batch.rows
        next_obs = tensor(rows["next_obs"])
        with torch.no_grad():
            chances = self._target_critic(next_obs, self._target(next_obs)).softmax(dim=1)
            reward, discount = tensor(rows["reward"]), tensor(rows["discount"])
            wanted = project(self._critic.values, chances, reward, discount)
        logits = self._critic(tensor(rows["obs"]), tensor(rows["action"]))
        losses = -(wanted * logits.log_softmax(dim=1)).sum(dim=1)
        loss = (losses * tensor(batch.weights)).mean()
        _step(self._critic_optimizer, loss, LARGEST_GRADIENT["D4PG"])
        self._improve(next_obs)
        self.steps += 1
        if self.steps % self._target_every == 0:
            copy_into(self._target, self.policy)
            copy_into(self._target_critic, self._critic)
        errors: NDArray[np.float32] = losses.detach().numpy()
        return errors

    def _improve(self, obs: Tensor) -> None:
        """Move the policy towards actions the critic values more, a little for each row."""
        sums = self.policy.sums(obs)
        action = torch.tanh(sums)
        free = action.detach().requires_grad_()
        value = self._critic.mean(self._critic(obs, free))
        (gradient,) = torch.autograd.grad(value.sum(), free)
        size = gradient.norm(dim=1, keepdim=True).clamp(min=LARGEST_ACTION_GRADIENT)
        gradient = gradient * (LARGEST_ACTION_GRADIENT / size)
        beyond = (sums.abs() - LARGEST_SUM).clamp(min=0)
        loss = (beyond.square() - action * gradient).sum(dim=1).mean()
        _step(self._optimizer, loss, LARGEST_GRADIENT["D4PG"])

    def state(self) -> dict[str, Any]:
        return {
            "policy": self.policy.state_dict(),
            "target": self._target.state_dict(),
            "critic": self._critic.state_dict(),
            "target_critic": self._target_critic.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "critic_optimizer": self._critic_optimizer.state_dict(),
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self._target.load_state_dict(state["target"])
        self._critic.load_state_dict(state["critic"])
        self._target_critic.load_state_dict(state["target_critic"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.steps = int(state["steps"])


def _adam(net: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), rate, fused=True)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, largest: float) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, largest)
    optimizer.step()
