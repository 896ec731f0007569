"""Runs as they lie in their folders, read back for a comparison.

In: folders of `quarl actorq`. Out: frozen records: what was asked for, where the time went, the
curve.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarl.actorq.accounts import Account
from quarl.actorq.evaluating import Point, read_curve
from quarl.actorq.folder import ACCOUNTS_FILE, RUN_FILE
from quarl.actorq.store import Ages
from quarl.errors import InputError
from quarl.graph.env_spec import EnvSpec

STEP = ("inference", "environment", "noise")


@dataclass(frozen=True, slots=True)
class Case:
    """What runs that are compared have in common."""

    name: str
    layers: tuple[int, ...]
    pull_every: int
    actors: int
    samples_per_insert: float
    learner_steps: int

    @property
    def title(self) -> str:
        """One line for people."""
        widths = " x ".join(map(str, dict.fromkeys(self.layers)))
        return (
            f"{self.name}, {len(self.layers)} x {widths}, {self.actors} actors, a pull every "
            f"{self.pull_every} steps, {self.samples_per_insert:g} samples per insert, "
            f"{self.learner_steps:,} learner steps"
        )


@dataclass(frozen=True, slots=True)
class Record:
    """One run."""

    folder: Path
    case: Case
    env: EnvSpec
    algorithm: str
    precision: str
    runtime: str
    seed: int
    batch_size: int
    insert_every: int
    env_steps: int
    policies: int
    wall_s: float
    learner: Account
    store: Account
    actors: tuple[Account, ...]
    ages: Ages
    compared: int
    differing: int
    points: tuple[Point, ...]
    joules: float | None
    batches_a_call: int

    @property
    def kind(self) -> str:
        """Precision and who played it: "int8", "fp32", "fp32 (torch)"."""
        return self.precision if self.runtime == "kernel" else f"{self.precision} ({self.runtime})"

    @property
    def actors_cpu_s(self) -> float:
        """CPU seconds of all actors, Ray's threads in them included."""
        return sum(account.cpu_s for account in self.actors)

    @property
    def actor_steps(self) -> int:
        """Environment steps those seconds were spent on."""
        return sum(account.steps for account in self.actors)

    @property
    def steps_per_cpu_s(self) -> float:
        """Environment steps an actor makes in a second of its CPU."""
        return self.actor_steps / self.actors_cpu_s

    def cost_ms(self, *phases: str) -> float:
        """CPU milliseconds of these phases for 1,000 environment steps: the actors' CPU time,
        shared out as their wall time without waiting is.
        """
        busy = sum(sum(a.phases_s) - a.phase("wait") - a.phase("check") for a in self.actors)
        wall = sum(a.phase(phase) for a in self.actors for phase in phases)
        return self.actors_cpu_s * wall / busy / self.actor_steps * 1e6

    def returns(self, point: Point) -> float:
        """Return of the policy as the actors play it: in int8, or in floats."""
        return point.int8_mean if self.precision == "int8" else point.float_mean

    def reached(self, threshold: float) -> Point | None:
        """The first point from which the actors' policy plays at least as well as that."""
        return next((p for p in self.points if self.returns(p) >= threshold), None)


def read_record(folder: Path) -> Record:
    """Return the record of a run.

    Raises:
        InputError: the folder does not hold one that has ended.
    """
    try:
        asked: dict[str, Any] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        found: dict[str, Any] = json.loads((folder / ACCOUNTS_FILE).read_text(encoding="utf-8"))
        settings, acting, kept = (
            asked["settings"],
            asked["settings"]["actors"],
            asked["settings"]["replay"],
        )
        return Record(
            folder=folder,
            case=Case(
                asked["name"],
                tuple(settings["layers"]),
                acting["pull_every"],
                acting["count"],
                kept["samples_per_insert"],
                found["learner_step"],
            ),
            env=EnvSpec(asked["env"]["id"], asked["env"]["kwargs"]),
            algorithm=settings["algorithm"],
            precision=acting["precision"],
            runtime=acting["runtime"],
            seed=asked["seed"],
            batch_size=settings["batch_size"],
            insert_every=acting["insert_every"],
            env_steps=found["env_steps"],
            policies=found["policies"],
            wall_s=found["wall_s"],
            learner=Account.from_table(found["learner"]),
            store=Account.from_table(found["replay"]),
            actors=tuple(Account.from_table(table) for table in found["actors"]),
            ages=Ages(**{**found["ages"], "bins": tuple(found["ages"]["bins"])}),
            compared=found["checked"],
            differing=found["differing"],
            points=read_curve(folder),
            joules=found.get("joules"),
            batches_a_call=found["batches_a_call"],
        )
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder}: not a run of quarl actorq that has ended ({type(error).__name__}: {error})"
        ) from error
