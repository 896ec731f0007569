"""Recipes of ActorQ small enough for tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from quarl.sources.recipe import Recipe, parse_recipe

if TYPE_CHECKING:
    from quarl.actorq.store import Status

GATE = """
[gate]
episodes = 50
margin = 0.05
failure = "return"
failure_return = 1.0
failure_margin = 0.05
random_return = 20.0
"""


def recipe_text(
    settings: str, *, algorithm: str = "DQN", env: str = "CartPole-v1", steps: int = 8_000
) -> str:
    """Return a recipe's text; `settings` are lines of [train.hyperparameters]."""
    return f"""
name = "small"
task = "A policy for tests"
algorithm = "{algorithm}"
framework = "actorq"
source = "policy.npz"
step_hz = 50.0

[env]
id = "{env}"

[train]
seed = 1
steps = {steps}
quick_steps = 500
envs = 1
normalize_observations = false

[train.hyperparameters]
{settings}
{GATE}"""


def recipe_of(
    settings: str, *, algorithm: str = "DQN", env: str = "CartPole-v1", steps: int = 8_000
) -> Recipe:
    """Return a recipe."""
    return parse_recipe(recipe_text(settings, algorithm=algorithm, env=env, steps=steps), "small")


SMALL = """
layers = [128, 128]
batch_size = 64
evaluations = 10
evaluation_episodes = 5
checkpoint_s = 0
actors = { count = 2, pull_every = 50, insert_every = 50, explore_steps = 1_000 }
replay = { min_rows = 200, samples_per_insert = 16.0 }
"""


def when(run: Path, ready: Callable[[Status], bool], then: Callable[[Status], None]) -> Thread:
    """Start a thread that does something once, when a run is so far."""
    import ray

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            time.sleep(0.05)
            if not ray.is_initialized():  # else this thread would start one of its own
                continue
            try:
                store = ray.get_actor(f"store {run.resolve()}")
                status: Status = ray.get(store.status.remote(), timeout=10)
            except (ValueError, ray.exceptions.RayError):  # it is not there yet
                continue
            if ready(status):
                then(status)
                return

    thread = Thread(target=watch)
    thread.start()
    return thread


def stop(run: Path) -> Callable[[Status], None]:
    """Return what ends a run in good order."""
    import ray

    def end(status: Status) -> None:
        ray.get(ray.get_actor(f"store {run.resolve()}").stop.remote())

    return end
