"""Training in integers: its price a step, and whether what acts is what ships."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from quarl.graph.reference import act
from quarl.sources.recipe import QatRecipe
from tests.bench.row import Row
from tests.support.trained_integers import anywhere

TASKS = {
    "PPO": ("CartPole-v1", 2_048),
    "A2C": ("CartPole-v1", 2_000),
    "DQN": ("CartPole-v1", 1_000),
    "DDPG": ("Pendulum-v1", 500),
    "TD3": ("Pendulum-v1", 500),
    "SAC": ("Pendulum-v1", 500),
}  # environment, steps of a turn
TURNS = 3
SETTINGS = {"DQN": {"train_freq": 1, "learning_starts": 100}}
OBSERVATIONS = 100_000
MOST_TIMES, SQUASH_STEP = 2.0, 2.0**-15  # the table of SAC's tanh has 2^16 entries
QAT = QatRecipe(weights=4, delay=0.5)


def bench_qat(folder: Path) -> list[Row]:
    """Processor time of an environment step with its share of learning, in float and then in
    integers of 4 bits (64-64, Stable-Baselines3's own settings, batches of 256 off policy), and
    actions of the training's actor against the export's.
    """
    rows = []
    for name in TASKS:
        plain, integer, unlike = _trained(name)
        times = integer / plain
        rows += [
            Row(
                f"{name}, {TASKS[name][0]}: a step in integers of 4 bits",
                f"{times:.2f} times float's {1e3 * plain:.2f} ms",
                f"<= {MOST_TIMES:.0f} times",
                times <= MOST_TIMES,
            ),
            Row(
                f"  actions unlike the export, of {OBSERVATIONS:,}"
                + (", beyond 2 steps of its table" if name == "SAC" else ""),
                str(unlike),
                "0",
                unlike == 0,
            ),
        ]
    return rows


def _trained(name: str) -> tuple[float, float, int]:
    """Return the seconds of a step in float and in integers, and how many actions differ."""
    import stable_baselines3
    import torch

    from quarl.train.graft import graft

    torch.set_num_threads(1)
    env, steps = TASKS[name]
    is_on_policy = name in ("PPO", "A2C")
    settings: dict[str, Any] = {} if is_on_policy else {"batch_size": 256, **SETTINGS.get(name, {})}
    model = getattr(stable_baselines3, name)(
        "MlpPolicy", env, seed=1, device="cpu", policy_kwargs={"net_arch": [64, 64]}, **settings
    )
    model.learn(steps)  # off policy, the first 100 steps do not learn
    before = _step_seconds(model, steps)
    grafted = graft(model, QAT, anywhere(model.observation_space, 2_000))
    after = _step_seconds(model, steps)
    obs = anywhere(model.observation_space, OBSERVATIONS)
    wanted = act(grafted.integers(), obs)
    made, _ = model.predict(obs, deterministic=True)
    allowed = 4 * SQUASH_STEP if name == "SAC" else 0  # of a torque of -2 to 2
    unlike = np.abs(made.astype(np.float64) - wanted).reshape(len(obs), -1).max(axis=1) > allowed
    return before, after, int(unlike.sum())


def _step_seconds(model: Any, steps: int) -> float:
    turns = []
    for _ in range(TURNS):
        begin = time.process_time()
        model.learn(steps, reset_num_timesteps=False)
        turns.append((time.process_time() - begin) / steps)
    return statistics.median(turns)
