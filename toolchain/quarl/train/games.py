"""What every training on Atari needs: games to judge by, rewards that are signs, and features computed at twice the speed.

Goes in: a player or a network. Comes out: the returns of its games, or the same network, faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnvWrapper

from quarl.envs.atari import AtariLanes
from quarl.recipe import EnvRecipe
from quarl.train.trained import Trained

SELECTION_EPISODES = 16
SELECTION_LENGTH = 5_000  # where a game kept for choosing is cut off: some rallies would never end


@dataclass(frozen=True, slots=True)
class Player:
    """An Atari policy as it comes out of training."""

    trained: Trained
    story: str  # how it was trained, for SOURCE.md: Markdown


class Signs(VecEnvWrapper):
    """Lanes whose rewards are the signs of the points."""

    def reset(self) -> Any:
        """Start a game in every lane."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Return observations, signs, ends and infos."""
        obs, points, done, infos = self.venv.step_wait()
        return obs, np.sign(points), done, infos


def play_games(
    env: EnvRecipe, act: Callable[[NDArray[np.uint8]], NDArray[np.int64]], seed: int, episodes: int, max_length: int = 27_000
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return returns and lengths of games with seeds `seed`, `seed + 1` ..., one lane each; a game is cut off after `max_length` steps.

    The games are those the gate judges: where it repeats actions now and then, these do. Without, a Breakout policy that scored 287 over 16
    games scored 79 with one action in fifty repeated: what is best among some thirty fixed games need not play well.
    """
    arguments: dict[str, Any] = dict(env.judged_kwargs)
    lanes = AtariLanes(num_envs=episodes, **arguments)
    obs, _ = lanes.reset(seed=seed)
    returns, lengths, playing = np.zeros(episodes), np.zeros(episodes, np.int64), np.ones(episodes, np.bool_)
    while playing.any():
        obs, points, terminated, truncated, _ = lanes.step(act(obs))
        returns[playing] += points[playing]
        lengths[playing] += 1
        playing &= ~(terminated | truncated) & (lengths < max_length)
        done = terminated | truncated
        if done.any():
            fresh, _ = lanes.reset(options={"reset_mask": done})
            obs[done] = fresh[done]
    return returns, lengths


def compute_in_bfloat16(extractor: Any) -> None:
    """Compute the features of a network in bfloat16, which doubles the speed; the heads stay in float32, so that odds keep their digits."""
    extractor.to(memory_format=torch.channels_last)
    plain = extractor.forward

    def forward(obs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features: torch.Tensor = plain(obs.contiguous(memory_format=torch.channels_last))
        return features.float()

    extractor.forward = forward


@contextmanager
def in_float32(extractor: Any) -> Iterator[None]:
    """Compute in float32 for a while."""
    halved = extractor.__dict__.pop("forward")
    try:
        yield
    finally:
        extractor.forward = halved
