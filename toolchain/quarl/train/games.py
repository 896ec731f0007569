"""What every training on Atari needs: games to judge by, lanes as a learner sees them, and features
computed at twice the speed.

Goes in: a player or a network. Comes out: the returns of its games, or the same network, faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from quarl.envs.atari import AtariLanes
from quarl.rollouts.episodes import Episodes
from quarl.sources.recipe import EnvRecipe
from quarl.train.trained import Trained

SELECTION_EPISODES = 16
SELECTION_LENGTH = 5_000  # where a game kept for choosing is cut off: some rallies would never end


@dataclass(frozen=True, slots=True)
class Player:
    """An Atari policy as it comes out of training."""

    trained: Trained
    story: str  # how it was trained, for SOURCE.md: Markdown


class Learning(VecEnvWrapper):
    """Lanes as a learner sees them: rewards are the signs of the points, and an episode ends with a
    life, though the game goes on.

    Where only the whole game ends it, a life costs a learner that looks a hundred steps ahead next
    to nothing: PPO took a Breakout player that had learnt to keep the ball from 127 points a game
    to 73.
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self._lives = np.zeros(self.num_envs, np.int64)

    def reset(self) -> Any:
        """Start a game in every lane."""
        self._lives[:] = 0
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Return observations, signs, ends and infos."""
        obs, points, done, infos = self.venv.step_wait()
        lives = np.array([info.get("lives", 0) for info in infos])
        lost, self._lives = lives < self._lives, lives
        return obs, np.sign(points), done | lost, infos


def play_games(
    env: EnvRecipe,
    act: Callable[[NDArray[np.uint8]], NDArray[np.int64]],
    seeds: Sequence[int],
    max_length: int,
) -> Episodes:
    """Return a game for each seed, one lane each; a game is cut off after `max_length` steps.

    The games are those the gate judges: where it repeats actions now and then, these do. Without, a
    Breakout policy that scored 287 over 16 games scored 79 with one action in fifty repeated: what
    is best among some thirty fixed games need not play well.
    """
    count = len(seeds)
    arguments: dict[str, Any] = dict(env.judged_kwargs)
    lanes = AtariLanes(num_envs=count, **arguments)
    obs, _ = lanes.reset(seed=list(seeds))
    returns, lengths, playing = np.zeros(count), np.zeros(count, np.int32), np.ones(count, np.bool_)
    while playing.any():
        rows = np.flatnonzero(playing)
        obs[rows], points, terminated, truncated, _ = lanes.step_lanes(rows, act(obs[rows]))
        returns[rows] += points
        lengths[rows] += 1
        playing[rows] = ~(terminated | truncated) & (lengths[rows] < max_length)
    lanes.close()
    return Episodes(tuple(seeds), returns, lengths, None)


def compute_in_bfloat16(extractor: Any) -> None:
    """Compute the features of a network in bfloat16, which doubles the speed; the heads stay in
    float32, so that odds keep their digits.
    """
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
