"""Records of runs that never were, with costs that are easy to add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from quarl.actorq.accounts import PHASES, Account
from quarl.actorq.evaluating import Point
from quarl.actorq.record import Case, Record
from quarl.actorq.store import Ages
from quarl.graph.env_spec import EnvSpec

CASE = Case("small", (256, 256, 256), 300, 2, 1.0, 100)


def record_of(precision: str, step_ms: float, seed: int = 1, *, runtime: str = "kernel") -> Record:
    """Return a run of 10,000 steps and 100 learner steps of 50 ms, whose actors need `step_ms` of
    CPU for a step: half of it inference, the other half environment.
    """
    half = 10_000 * step_ms / 1e3 / 2
    spent = {"inference": half / 2, "environment": half / 2, "wait": 100.0}
    phases = tuple(spent.get(phase, 0.0) for phase in PHASES)
    actors = tuple(
        replace(Account(f"actor {i}"), phases_s=phases, cpu_s=half, wall_s=25.0, steps=5_000, pid=i)
        for i in range(2)
    )
    return Record(
        folder=Path(f"runs/{precision}-{seed}"),
        case=CASE,
        env=EnvSpec("CartPole-v1"),
        algorithm="DQN",
        precision=precision,
        runtime=runtime,
        seed=seed,
        batch_size=100,
        insert_every=100,
        env_steps=10_000,
        policies=10,
        wall_s=30.0,
        learner=Account("learner", cpu_s=5.0, wall_s=20.0, steps=100, bytes_sent=10**6, pulls=10),
        store=Account("replay", cpu_s=0.2, steps=100),
        actors=actors,
        ages=Ages(10_000, 20_000, 9, 0),
        compared=1_000,
        differing=0,
        points=_points(seed),
        joules=None,
        batches_a_call=1,
    )


def _points(seed: int) -> tuple[Point, ...]:
    return tuple(
        Point(
            learner_step=20 * i,
            env_steps=2_000 * i,
            wall_s=4.0 * i,
            cpu_s=1.0 * i,
            actors_cpu_s=0.5 * i,
            int8_mean=20.0 * i + seed,
            int8_std=1.0,
            float_mean=20.0 * i - seed,
            float_std=1.0,
            episodes=10,
            compared=100,
            differing=0,
            digest="0" * 64,
        )
        for i in range(1, 6)
    )
