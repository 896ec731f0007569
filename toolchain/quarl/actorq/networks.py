"""The learner's networks in torch: a policy whose layers go into a block, and D4PG's critic.

In: lengths and functions. Out: modules, and the policy's weights as the block wants them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from quarl.actorq.block import NetShape
from quarl.actorq.fill import Layers, Ranges

CRITIC_LENGTHS = (512, 512, 256)  # as Acme's D4PG has them


class PolicyNet(nn.Module):
    """A chain of linear layers: values of actions, or actions in [-1, 1]."""

    def __init__(self, shape: NetShape) -> None:
        super().__init__()
        self.shape = shape
        self.linears = [nn.Linear(*pair) for pair in pairwise(shape.lengths)]
        self.all = nn.ModuleList(self.linears)
        self._function = torch.relu if shape.hidden == "relu" else torch.tanh
        if shape.squashed:  # actions start near the middle of their range
            with torch.no_grad():
                self.linears[-1].weight.mul_(0.1)

    def forward(self, obs: Tensor) -> Tensor:
        """Return outputs [n, count] for observations [n, obs_len]."""
        sums = self.sums(obs)
        return torch.tanh(sums) if self.shape.squashed else sums

    def sums(self, obs: Tensor) -> Tensor:
        """Return the last layer's sums [n, count], before any squashing."""
        values = obs
        for linear in self.linears[:-1]:
            values = self._function(linear(values))
        sums: Tensor = self.linears[-1](values)
        return sums

    @torch.no_grad()
    def ranges(self, obs: Tensor) -> Ranges:
        """Return the ranges that these observations show, of every layer before its function."""
        values, peaks = obs, []
        for linear in self.linears:
            sums = linear(values)
            peaks.append(float(sums.abs().max()))
            values = self._function(sums)
        return Ranges.of(obs.numpy(), peaks)

    def layers(self) -> Layers:
        """Return weights and biases, as views of the parameters."""
        return [(each.weight.detach().numpy(), each.bias.detach().numpy()) for each in self.linears]


class Critic(nn.Module):
    """The value of an observation and an action as a distribution over `atoms` values."""

    def __init__(self, obs_len: int, action_len: int, atoms: int, low: float, high: float) -> None:
        super().__init__()
        first = CRITIC_LENGTHS[0]
        modules: list[nn.Module] = [
            *(nn.Linear(obs_len + action_len, first), nn.LayerNorm(first), nn.Tanh())
        ]
        for pair in pairwise(CRITIC_LENGTHS):
            modules += [nn.Linear(*pair), nn.ELU()]
        self.net = nn.Sequential(*modules, nn.Linear(CRITIC_LENGTHS[-1], atoms))
        self.values = torch.linspace(low, high, atoms)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return logits [n, atoms]."""
        logits: Tensor = self.net(torch.cat([obs, action], dim=1))
        return logits

    def mean(self, logits: Tensor) -> Tensor:
        """Return the mean value [n] of distributions [n, atoms]."""
        return (logits.softmax(dim=1) * self.values).sum(dim=1)


def project(values: Tensor, chances: Tensor, reward: Tensor, discount: Tensor) -> Tensor:
    """Return the distributions [n, atoms] of reward + discount * value, on the same atoms.

    Args:
        values: [atoms], evenly spaced.
        chances: [n, atoms] of the values after the transition.
    """
    low, high, count = float(values[0]), float(values[-1]), len(values)
    moved = (reward[:, None] + discount[:, None] * values).clamp(low, high)
    place = ((moved - low) * ((count - 1) / (high - low))).clamp(0, count - 1)
    below = place.floor()
    share = place - below
    made = torch.zeros_like(chances)
    made.scatter_add_(1, below.long(), chances * (1 - share))
    made.scatter_add_(1, (below + 1).clamp(max=count - 1).long(), chances * share)
    return made


def copy_into(target: nn.Module, source: nn.Module) -> None:
    """Make the target's numbers those of the source."""
    with torch.no_grad():
        for to, number in zip(target.parameters(), source.parameters(), strict=True):
            to.copy_(number)


def tensor(values: np.ndarray) -> Tensor:
    """Return a float32 tensor of an array that may be read-only or a field of rows."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
