"""Episodes of a slow environment by one worker and by two, taking turns on the same machine."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.actors import Actor
from quarl.rollouts.shares import Field, play_episodes
from quarl.workers import HERE
from quarl.workers.processes import Processes
from tests.bench.row import Row

WALKER = EnvSpec("BipedalWalker-v3")
EPISODES, TURNS = 64, 3
GOAL = 1.8


def sway() -> Actor:
    """Return a player that keeps the walker on its feet for a while: knees against hips."""

    def act(obs: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(np.stack([-obs[:, 4], -obs[:, 6], -obs[:, 9], -obs[:, 11]], axis=1), -1, 1)

    return act


def bench_workers(folder: Path) -> list[Row]:
    """How many times as fast two workers are as one; it takes two free cores to tell."""
    seeds = range(EPISODES)
    ratios = []
    workers = Processes(2)
    try:
        list(play_episodes(Field(WALKER, workers), sway, range(8)).returns)  # both have started
        for _ in range(TURNS):
            begin = time.perf_counter()
            alone = play_episodes(Field(WALKER, HERE), sway, seeds)
            middle = time.perf_counter()
            shared = play_episodes(Field(WALKER, workers), sway, seeds)
            ratios.append((middle - begin) / (time.perf_counter() - middle))
            assert np.array_equal(alone.returns, shared.returns)
    finally:
        workers.close()
    ratio = statistics.median(ratios)
    what = f"BipedalWalker-v3, {EPISODES} episodes, 2 workers against 1, equal returns"
    return [Row(what, f"{ratio:.2f} times as fast", f">= {GOAL}", ratio >= GOAL)]
