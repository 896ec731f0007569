"""Runs as they lie in their folders, read back for a comparison.

In: folders of `quarl actorq`. Out: frozen records: what was asked for, where the time went, the
curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from quarl.actorq.accounts import Account
from quarl.actorq.documents import DOCUMENT, account_from
from quarl.actorq.evaluating import Point, read_curve
from quarl.actorq.folder import ACCOUNTS_FILE, RUN_FILE
from quarl.actorq.settings import Settings
from quarl.actorq.store import Ages
from quarl.errors import InputError
from quarl.files.documents import Count, Line, decode, table_at, value_of
from quarl.files.open import MAX_DOCUMENT_BYTES, read_file
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
    machine: str = ""  # "": not known

    @property
    def title(self) -> str:
        """One line for people."""
        widths = " x ".join(map(str, dict.fromkeys(self.layers)))
        return (
            f"{self.name}, {len(self.layers)} x {widths}, {self.actors} actor"
            f"{'s' if self.actors > 1 else ''}, a pull every "
            f"{self.pull_every} steps, {self.samples_per_insert:g} samples per insert, "
            f"{self.learner_steps:,} learner steps"
            f"{self.on_machine}"
        )

    @property
    def processor(self) -> str:
        """The machine's processor alone."""
        return self.machine.partition(",")[0]

    @property
    def on_machine(self) -> str:
        """The end of a title: where it was, if that is known."""
        return f", on {self.processor}" if self.machine else ""


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

    @property
    def steps_per_s(self) -> float:
        """Environment steps of all actors in a second of the life of their processes."""
        return self.actor_steps / max(a.wall_s for a in self.actors)

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


@dataclass(frozen=True, slots=True)
class _Env:
    id: Line
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What run.json says."""

    name: Line
    env: _Env
    seed: Count
    lanes: Count
    settings: Settings


@dataclass(frozen=True, slots=True)
class _Totals:
    """What accounts.json says of the run as a whole."""

    wall_s: Annotated[float, Ge(0)]
    joules: float | None
    batches_a_call: Count
    env_steps: Count
    learner_step: Count
    policies: Count
    episodes: Count
    ages: Ages
    checked: Count
    differing: Count
    machine: Line = ""


def read_record(folder: Path) -> Record:
    """Return the record of a run.

    Raises:
        InputError: the folder does not hold one that has ended.
    """
    asked_in, found_in = folder / RUN_FILE, folder / ACCOUNTS_FILE
    missing = [path.name for path in (asked_in, found_in) if not path.exists()]
    if missing:
        raise InputError(
            f"{folder}: not a run of quarl actorq that has ended: {', '.join(missing)} is not there"
        )
    asked = decode(_Asked, read_file(asked_in, MAX_DOCUMENT_BYTES), str(asked_in), DOCUMENT)
    found = table_at(found_in, DOCUMENT)
    accounts = {name: found.pop(name, None) for name in ("learner", "replay", "actors")}
    if not isinstance(accounts["actors"], list):
        raise InputError(f"{found_in}: is not {DOCUMENT.title} (actors): {DOCUMENT.remedy}")
    totals = value_of(_Totals, found, str(found_in), DOCUMENT)
    settings = asked.settings
    return Record(
        folder=folder,
        case=Case(
            asked.name,
            settings.layers,
            settings.actors.pull_every,
            settings.actors.count,
            settings.replay.samples_per_insert,
            totals.learner_step,
            totals.machine,
        ),
        env=EnvSpec(asked.env.id, asked.env.kwargs),
        algorithm=settings.algorithm,
        precision=settings.actors.precision,
        runtime=settings.actors.runtime,
        seed=asked.seed,
        batch_size=settings.batch_size,
        insert_every=settings.actors.insert_every,
        env_steps=totals.env_steps,
        policies=totals.policies,
        wall_s=totals.wall_s,
        learner=account_from(accounts["learner"], f"{found_in}: learner"),
        store=account_from(accounts["replay"], f"{found_in}: replay"),
        actors=tuple(
            account_from(table, f"{found_in}: actor {number}")
            for number, table in enumerate(accounts["actors"])
        ),
        ages=totals.ages,
        compared=totals.checked,
        differing=totals.differing,
        points=read_curve(folder),
        joules=totals.joules,
        batches_a_call=totals.batches_a_call,
    )
