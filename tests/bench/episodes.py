"""How many agent steps a second a shipped Atari policy plays in its environment, float32 and int8.

python -m tests.bench.episodes [POLICY]
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

import numpy as np

from quarl.pipeline import import_source
from quarl.reports.player import Player, source_player
from quarl.rollouts.episodes import DEFAULT_LANES
from quarl.rollouts.vector_env import open_lanes
from quarl.stats.seeds import SCORE_SEED

GOAL_STEPS_PER_S = 2_000  # on two cores
TICKS, ROUNDS = 40, 4


@dataclass(frozen=True, slots=True)
class Speed:
    """The best of ROUNDS rounds, as others may use the machine too."""

    arithmetic: str
    steps_per_s: float
    steps_per_cpu_s: float  # all threads together


def measure(player: Player) -> Speed:
    """Return the speed of one player, observations and actions included."""
    lanes = open_lanes(player.env, DEFAULT_LANES)
    every = np.arange(DEFAULT_LANES)
    lanes.start(every.tolist(), (SCORE_SEED + every).tolist())
    wall_s, cpu_s = [], []
    for _ in range(ROUNDS):
        began, began_cpu = time.perf_counter(), time.process_time()
        for _ in range(TICKS):
            lanes.step(every, player.actor(lanes.obs))
        wall_s.append(time.perf_counter() - began)
        cpu_s.append(time.process_time() - began_cpu)
    lanes.close()
    steps = TICKS * DEFAULT_LANES
    return Speed(player.arithmetic, steps / min(wall_s), steps / min(cpu_s))


def speeds(policy: str) -> tuple[Speed, ...]:
    """Return the speeds of a shipped policy in float32 and in int8."""
    source = import_source(policy)
    return tuple(measure(source_player(source, None, rung)) for rung in (None, 3))


if __name__ == "__main__":
    for speed in speeds(sys.argv[1] if len(sys.argv) > 1 else "pong_ppo"):
        found = f"{speed.steps_per_s:,.0f} agent steps a second on {os.cpu_count()} cores"
        print(
            f"{speed.arithmetic}: {found}, {speed.steps_per_cpu_s:,.0f} for each second of a "
            f"core (goal {GOAL_STEPS_PER_S:,})"
        )
