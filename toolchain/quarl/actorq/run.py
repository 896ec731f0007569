"""One run, from recipe to policy: places the processes, watches over them, gathers what they made.

In: a recipe and a folder. Out: an outcome, and in the folder all that `quarl.actorq.folder` lists.
A killed actor or learner is started again by Ray; an environment that fails is named and started
again; after as many restarts as the recipe allows the run ends with its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quarl.actorq.accounts import Account
from quarl.actorq.energy import package_joules
from quarl.actorq.evaluating import Point
from quarl.actorq.folder import claimed, describe, wall_s, write_accounts, write_wall
from quarl.actorq.players import best_runtime
from quarl.actorq.settings import Settings, settings_of
from quarl.actorq.shards import merged, shard_of
from quarl.actorq.store import Status
from quarl.actorq.transitions import Rows
from quarl.errors import ToolMissingError
from quarl.graph.contract import Action, Contract
from quarl.graph.env_spec import EnvSpec
from quarl.importers.spaces import spaces_of
from quarl.sources.recipe import Recipe
from quarl.workers.cluster import LOCAL, cluster, message_of, require_ray

POLL_S = 0.5
STOP_TIMEOUT_S, ACTOR_STOP_TIMEOUT_S = 120.0, 10.0
STORE_RESTARTS = 3
OBSERVATIONS = 20_000  # of the actors, newest, from which calibration and held-out ones are taken

Tell = Callable[[str], None]
"""Called with a line for people."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has made."""

    folder: Path
    settings: Settings
    contract: Contract
    points: tuple[Point, ...]
    status: Status
    wall_s: float
    restarts: tuple[str, ...]  # one line each
    rows: Rows  # the newest of the replay

    @property
    def differing(self) -> int:
        """Outputs of int8 policies that were not those of the reference."""
        return self.status.differing + sum(point.differing for point in self.points)

    @property
    def compared(self) -> int:
        """Outputs that were compared with the reference."""
        return self.status.checked + sum(point.compared for point in self.points)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a command line may ask for, beside the recipe."""

    address: str = LOCAL
    resume: bool = False
    quick: bool = False
    changes: dict[str, object] = field(default_factory=dict)  # of [actors]


def run_actorq(
    recipe: Recipe, folder: Path, wishes: Wishes | None = None, tell: Tell = lambda line: None
) -> Outcome:
    """Return the outcome of the run.

    Raises:
        InputError: a recipe, a folder or an address that cannot be used.
        ToolMissingError: torch or Ray is not installed.
        DeviceError: a process failed more often than the recipe allows.
    """
    asked = wishes or Wishes()
    settings = settings_of(recipe, **asked.changes)
    require_ray()
    try:
        from quarl.actorq.learners import check_spaces
        from quarl.actorq.plan import Plan
    except ImportError as error:
        raise ToolMissingError(
            f"training {recipe.name} needs torch: {error}. pip install 'quarl[sb3]' brings it"
        ) from error
    env = EnvSpec(recipe.env.id, recipe.env.kwargs)
    contract = contract_of(env, recipe.step_hz)
    check_spaces(settings, contract)
    chosen = settings.actors.runtime
    runtime = best_runtime() if chosen == "kernel" else chosen
    if runtime != chosen:
        tell("the C compiler is missing, so NumPy plays: pip install 'quarl[firmware]' is faster")
    with claimed(folder, resume=asked.resume):
        describe(folder, recipe, settings, resume=asked.resume)
        before = wall_s(folder)
        with cluster(asked.address, settings.actors.count + 1) as node:
            plan = Plan(
                name=recipe.name,
                settings=settings,
                env=env,
                contract=contract,
                folder=folder.resolve(),
                seed=recipe.train.seed,
                env_steps=recipe.train.quick_steps if asked.quick else recipe.train.steps,
                lanes=recipe.train.envs,
                runtime=runtime,
            )
            return _Supervisor(plan, node, tell, before).run()


def contract_of(env: EnvSpec, step_hz: float) -> Contract:
    """Return the contract of a policy that learns in the environment."""
    observation, action = spaces_of(env)
    if action.kind == "box":  # the policy gives values from -1 to 1
        action = Action("box", action.count, action.low, action.high, "unscale")
    return Contract(observation, action, step_hz)


class _Supervisor:
    """Watches over the processes of one run."""

    def __init__(self, plan: Any, node: str, tell: Tell, before_s: float) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from quarl.actorq.actor_process import ActorProcess
        from quarl.actorq.evaluator_process import EvaluatorProcess
        from quarl.actorq.learner_process import LearnerProcess
        from quarl.actorq.store_process import StoreProcess

        self._ray, self._plan, self._tell = ray, plan, tell
        here = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
        settings = plan.settings

        # a process that died begins its call anew, by Ray: it would take a second to tell us
        again = {"max_task_retries": -1}

        def place(kind: type[Any], role: str, **options: Any) -> Any:
            name = f"{role} {plan.folder}"
            remote: Any = ray.remote(kind)
            return remote.options(name=name, **options)

        self._stores = [
            place(
                *(StoreProcess, f"store {shard}" if shard else "store"),
                **{"num_cpus": 0, "max_restarts": STORE_RESTARTS, "max_task_retries": -1, **here},
            ).remote(plan, shard)
            for shard in range(settings.replay.shards)
        ]
        self._evaluator = place(
            *(EvaluatorProcess, "evaluator"),
            **{"num_cpus": 0, "max_restarts": -1, "max_task_retries": 2, **here},
        ).remote(plan)
        self._learner = place(
            *(LearnerProcess, "learner"),
            **{"num_cpus": 1, "max_restarts": settings.learner_restarts, **again, **here},
        ).remote(plan)
        self._actors = [
            place(
                *(ActorProcess, f"actor {actor}"),
                **{"num_cpus": 1, "max_restarts": settings.actors.restarts, **again},
            ).remote(plan.of_actors, actor)
            for actor in range(settings.actors.count)
        ]
        self._joules = package_joules()
        self._failures = [0] * settings.actors.count
        self._deaths: dict[str, int] = {}
        self._restarts: list[str] = []
        self._pending: dict[Any, int | None] = {}  # actor, None for the learner
        self._account: Account | None = None
        self._began_s, self._told_s = time.monotonic() - before_s, time.monotonic()

    def run(self) -> Outcome:
        """Return the outcome; the processes end in any case."""
        for actor in (None, *range(len(self._actors))):
            self._begin(actor)
        try:
            try:
                while not self._has_ended():
                    self._write_progress()
            finally:
                self._stop()
            return self._gather()
        finally:
            for handle in (*self._stores, self._evaluator, self._learner, *self._actors):
                self._ray.kill(handle)

    def _has_ended(self) -> bool:
        """Look after what has returned; return whether the learner has."""
        done, _ = self._ray.wait(list(self._pending), timeout=POLL_S)
        for reference in done:
            actor = self._pending.pop(reference)
            try:
                account = self._ray.get(reference)
            except Exception as error:  # of any process, of any kind: told or passed on
                self._restart(actor, error)
                continue
            if actor is None:
                self._account = account
                return True
        return False

    def _restart(self, actor: int | None, error: Exception) -> None:
        """Begin an actor's call again, or raise what ends the run."""
        allowed, kinds = self._plan.settings.actors.restarts, self._ray.exceptions
        if actor is None or isinstance(error, kinds.RayActorError):
            raise message_of(error) from error
        self._failures[actor] += 1
        failure = message_of(error)
        if self._failures[actor] > allowed:
            raise type(failure)(
                f"actor {actor} failed {self._failures[actor]} times, at most {allowed} restarts "
                f"are allowed. {failure}. --resume goes on from the checkpoint"
            ) from error
        self._note(f"actor {actor} begins again ({self._failures[actor]}): {failure}")
        self._begin(actor)

    def _begin(self, actor: int | None) -> None:
        reference = (
            self._learner.run.remote(self._stores, self._evaluator)
            if actor is None
            else self._actors[actor].run.remote(self._stores[shard_of(actor, len(self._stores))])
        )
        self._pending[reference] = actor

    def _note_deaths(self, status: Status) -> None:
        """Tell which processes Ray has started again since the last look."""
        for role, begun in status.begun:
            actor = role.partition(" ")[2]
            deaths = begun - 1 - (self._failures[int(actor)] if actor else 0)
            for death in range(self._deaths.get(role, 0), deaths):
                self._note(f"{role} died and was started again ({death + 1})")
            self._deaths[role] = max(deaths, self._deaths.get(role, 0))

    def _note(self, line: str) -> None:
        self._restarts.append(line)
        self._tell(line)

    def _write_progress(self) -> None:
        if time.monotonic() - self._told_s < 10 * POLL_S:
            return
        self._told_s = time.monotonic()
        seconds = time.monotonic() - self._began_s
        write_wall(self._plan.folder, seconds)
        status = self._status()
        self._write_accounts(status, seconds)
        self._note_deaths(status)
        recent = "" if status.recent_return is None else f", return {status.recent_return:.1f}"
        self._tell(
            f"{status.learner_step:,} of {self._plan.learner_steps:,} learner steps, "
            f"{status.env_steps:,} environment steps{recent} (with noise), {seconds:.0f} s"
        )

    def _write_accounts(self, status: Status, seconds: float) -> None:
        now, before = package_joules(), self._joules
        spent = None if now is None or before is None or now < before else now - before
        write_accounts(self._plan.folder, self._plan.settings, status, seconds, spent)

    def _stop(self) -> None:
        """Let every process end its call; the learner saves what it has."""
        try:
            self._ray.get([s.stop.remote() for s in self._stores], timeout=STOP_TIMEOUT_S)
            for reference, actor in list(self._pending.items()):
                # an actor may still wait for a node that left
                limit = STOP_TIMEOUT_S if actor is None else ACTOR_STOP_TIMEOUT_S
                done, _ = self._ray.wait([reference], timeout=limit)
                if done and actor is None:
                    self._account = self._ray.get(reference)
                if not done:
                    self._note(f"{'the learner' if actor is None else f'actor {actor}'} is ended")
        except Exception as error:  # a process that cannot stop is ended with Ray
            self._note(f"a process did not stop: {type(error).__name__}")

    def _gather(self) -> Outcome:
        points = self._ended(self._evaluator.points.remote())
        status = replace(self._status(), learner=self._account)
        self._note_deaths(status)
        most = OBSERVATIONS // len(self._stores)
        rows: Rows = np.concatenate(
            self._ended([s.recent_observations.remote(most) for s in self._stores])
        )
        seconds = time.monotonic() - self._began_s
        write_wall(self._plan.folder, seconds)
        self._write_accounts(status, seconds)
        return Outcome(
            folder=self._plan.folder,
            settings=self._plan.settings,
            contract=self._plan.contract,
            points=points,
            status=status,
            wall_s=seconds,
            restarts=tuple(self._restarts),
            rows=rows,
        )

    def _status(self) -> Status:
        return merged(self._ended([store.status.remote() for store in self._stores]))

    def _ended(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except Exception as error:
            raise message_of(error) from error


def returns_text(points: Sequence[Point]) -> str:
    """Return one line on the last and the best judged policy."""
    if not points:
        return "no policy was judged"
    last, best = points[-1], max(points, key=lambda point: point.int8_mean)
    return (
        f"int8 {last.int8_mean:.1f}, float {last.float_mean:.1f} at learner step "
        f"{last.learner_step:,}; best int8 {best.int8_mean:.1f} at {best.learner_step:,}"
    )
