"""Half precision in the updates: QuaRL's three networks for Pong, and a task trained both ways."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from quarl.train.bf16_units import bf16_units
from tests.bench.row import Row

NETWORKS = ((128, 128, 4), (512, 512, 2), (1024, 2048, 1))  # filters, units, updates of a turn
BATCH, TURNS = 32, 3
GOAL = 1.5  # of the largest, where the processor has the units
STEPS, SEEDS, EPISODES = 50_000, (1, 2, 3, 4, 5, 6), 20


def bench_precision(folder: Path) -> list[Row]:
    """Updates of a DQN on 84 x 84 x 4 frames in bfloat16 against float32, batch 32, taking turns
    (QuaRL's networks: three convolutions and a dense layer); and PPO on CartPole trained both ways.
    """
    units = bf16_units()
    rows = [Row("bfloat16 units of the processor", units or "none", "", None)]
    for filters, hidden, updates in NETWORKS:
        as_it_is, single, half = _update_seconds(filters, hidden, updates)
        ratio = single / half
        is_judged = units is not None and filters == NETWORKS[-1][0]
        rows.append(
            Row(
                f"3 x {filters} filters, {hidden} units: an update in float32, in bfloat16, both "
                "with an optimiser of one pass (float32 with SB3's)",
                f"{single:.3f} s, {half:.3f} s: {ratio:.2f} times as fast ({as_it_is:.3f} s)",
                f">= {GOAL} where there are units" if is_judged else "",
                ratio >= GOAL if is_judged else None,
            )
        )
    returns = {half: [_trained(seed, half) for seed in SEEDS] for half in (False, True)}
    for is_half, found in returns.items():
        rows.append(
            Row(
                f"CartPole PPO, {STEPS:,} steps, {len(SEEDS)} seeds, "
                f"{'bfloat16' if is_half else 'float32'}",
                "returns "
                + ", ".join(f"{value:.1f}" for value, _ in found)
                + f"; {statistics.mean(seconds for _, seconds in found):.0f} s each",
                "",
                None,
            )
        )
    return rows


def _update_seconds(filters: int, hidden: int, updates: int) -> tuple[float, float, float]:
    """Return the median seconds of an update in float32, in float32 with an optimiser of one pass,
    and in bfloat16, which has one.
    """
    from quarl.train.precision import in_one_pass

    models = [_dqn(filters, hidden, is_half=is_half) for is_half in (False, False, True)]
    in_one_pass(models[1].policy.optimizer)
    found: list[list[float]] = [[] for _ in models]
    for model in models:
        model.train(1, BATCH)  # memory is taken
    for _ in range(TURNS):
        for seconds, model in zip(found, models, strict=True):
            begin = time.perf_counter()
            model.train(updates, BATCH)
            seconds.append((time.perf_counter() - begin) / updates)
    as_it_is, single, half = map(statistics.median, found)
    return as_it_is, single, half


def _dqn(filters: int, hidden: int, *, is_half: bool) -> Any:
    """Return a DQN whose replay holds frames of noise."""
    import gymnasium
    import torch
    from stable_baselines3 import DQN
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    from quarl.train.precision import in_bf16

    class Convolutions(BaseFeaturesExtractor):
        def __init__(self, space: gymnasium.Space[Any]) -> None:
            super().__init__(space, hidden)
            layers: list[torch.nn.Module] = []
            for inputs, kernel, stride in ((4, 8, 4), (filters, 4, 2), (filters, 3, 1)):
                layers += [torch.nn.Conv2d(inputs, filters, kernel, stride), torch.nn.ReLU()]
            layers += [torch.nn.Flatten(), torch.nn.Linear(filters * 49, hidden), torch.nn.ReLU()]
            self.layers = torch.nn.Sequential(*layers)

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.layers(frames)
            return features

    class Frames(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
        action_space = gymnasium.spaces.Discrete(6)

    torch.set_num_threads(2)
    model = (in_bf16(DQN) if is_half else DQN)(
        "CnnPolicy",
        Frames(),
        buffer_size=4 * BATCH,
        seed=0,
        policy_kwargs={"features_extractor_class": Convolutions, "net_arch": []},
    )
    model.set_logger(Logger(None, []))
    replay = model.replay_buffer
    assert replay is not None
    rng = np.random.default_rng(0)
    for _ in range(4 * BATCH):
        frames = rng.integers(0, 256, (2, 1, 4, 84, 84), np.uint8)
        action, reward, done = rng.integers(0, 6, (1, 1)), rng.normal(size=1), np.zeros(1)
        replay.add(frames[0], frames[1], action, reward, done, [{}])
    return model


def _trained(seed: int, is_half: bool) -> tuple[float, float]:
    """Return the mean return of a policy trained with a seed, and the seconds it took."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    from quarl.train.precision import in_bf16

    envs = make_vec_env("CartPole-v1", 8, seed=seed)
    model = (in_bf16(PPO) if is_half else PPO)(
        "MlpPolicy", envs, n_steps=32, batch_size=256, n_epochs=20, gae_lambda=0.8, gamma=0.98,
        learning_rate=1e-3, seed=seed,
    )  # fmt: skip
    begin = time.perf_counter()
    model.learn(STEPS)
    seconds = time.perf_counter() - begin
    value, _ = evaluate_policy(model, make_vec_env("CartPole-v1", 1, seed=1000), EPISODES)
    assert not isinstance(value, list)  # of each episode, where that is asked
    return float(value), seconds
