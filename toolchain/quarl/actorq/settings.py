"""The settings of a run, from a recipe's [train.hyperparameters], read strictly.

In: the table as TOML gives it. Out: frozen values, every one checked; all problems in one error.
What each key means is said at its field here and in toolchain/docs/actorq.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from quarl.actorq.block import WIDEST, Function, Precision
from quarl.actorq.players import Runtime
from quarl.errors import InputError
from quarl.files.tables import Count, Flag, NotNegative, Number, Share, Whole, table, value_from
from quarl.sources.recipe import Recipe

FRAMEWORK = "actorq"
MOST_BATCHES_A_CALL = 8
MOST_ACTORS = 1024

Algorithm = Literal["DQN", "D4PG"]
Rate = Annotated[Number, Field(gt=0)]
Length = Annotated[Count, Field(le=WIDEST)]


@table
@dataclass(frozen=True, slots=True)
class ActorSettings:
    """[train.hyperparameters.actors]: steps are environment steps."""

    count: Annotated[Count, Field(le=MOST_ACTORS)] = 2
    precision: Precision = "int8"
    runtime: Runtime = "kernel"  # "torch" is a baseline
    pull_every: Annotated[Count, Field(description="steps of an actor between two policies")] = 300
    insert_every: Annotated[Count, Field(description="steps of an actor between two inserts")] = 100
    noise: Annotated[NotNegative, Field(description="D4PG: sigma of the last actor")] = 0.3
    epsilon: Annotated[Share, Field(description="DQN: share of random actions, in the end")] = 0.05
    explore_steps: Annotated[Whole, Field(description="DQN: steps of all until the end")] = 10_000
    restarts: Annotated[Whole, Field(description="of one actor, before the run ends")] = 5


@table
@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """[train.hyperparameters.replay]: rows are transitions."""

    capacity: Count = 100_000
    min_rows: Annotated[Count, Field(description="before the learner starts")] = 1_000
    samples_per_insert: Rate = 16.0
    prioritized: Flag = False
    importance: Annotated[Share, Field(description="exponent of the importance weights")] = 0.2
    max_age: Annotated[Count, Field(description="learner steps an acting policy may lag")] = 100_000
    shards: Annotated[Count, Field(description="stores that share the rows out")] = 1


@table
@dataclass(frozen=True, slots=True)
class Settings:
    """[train.hyperparameters]: steps are learner steps."""

    layers: Annotated[tuple[Length, ...], Field(min_length=1)] = (256, 256, 256)
    activation: Function = "relu"
    batch_size: Count = 64
    learning_rate: Rate = 5e-4
    critic_learning_rate: Annotated[Rate, Field(description="D4PG")] = 1e-4
    gamma: Share = 0.99
    n_step: Annotated[Count, Field(le=100)] = 3
    target_every: Count = 100
    publish_every: Count = 10
    atoms: Annotated[Count, Field(ge=2, description="D4PG")] = 51
    value_low: Annotated[Number, Field(description="D4PG")] = -150.0
    value_high: Annotated[Number, Field(description="D4PG")] = 150.0
    evaluations: Count = 20
    evaluation_episodes: Count = 10
    checkpoint_s: Annotated[NotNegative, Field(description="between two; 0: at the end")] = 60.0
    learner_restarts: Whole = 3
    actors: ActorSettings = field(default_factory=ActorSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    algorithm: Annotated[Algorithm, Field(exclude=True)] = "DQN"  # as the recipe says above

    @property
    def batches_a_call(self) -> int:
        """How many batches the learner takes at once: as many as one round of inserts is good
        for.
        """
        rows = self.actors.count * self.actors.insert_every * self.replay.samples_per_insert
        return max(1, min(MOST_BATCHES_A_CALL, round(rows / self.batch_size)))

    @property
    def buffer(self) -> float:
        """How many sampled rows either side may be ahead: one round of both."""
        rows = self.actors.count * self.actors.insert_every * self.replay.samples_per_insert
        return rows + self.batch_size * self.batches_a_call

    def learner_steps(self, env_steps: int) -> int:
        """Return how often the learner learns from so many environment steps."""
        after = max(0, env_steps - self.replay.min_rows)
        return max(1, int(after * self.replay.samples_per_insert / self.batch_size))

    def env_steps(self, learner_steps: int) -> int:
        """Return how many environment steps so many learner steps need."""
        rows = learner_steps * self.batch_size / self.replay.samples_per_insert
        return self.replay.min_rows + int(rows)


def settings_of(recipe: Recipe, **changes: object) -> Settings:
    """Return the settings of a recipe.

    Args:
        changes: of `actors`, from a command line; None leaves what the recipe says.
    Raises:
        InputError: another framework or algorithm, or keys that are unknown or out of bounds.
    """
    if recipe.framework != FRAMEWORK:
        raise InputError(
            f'{recipe.name}: framework is "{recipe.framework}"; quarl actorq trains recipes of '
            f'"{FRAMEWORK}", quarl train the others'
        )
    document: dict[str, Any] = dict(recipe.train.hyperparameters)
    given = {name: value for name, value in changes.items() if value is not None}
    actors = document.get("actors", {})
    if given and isinstance(actors, dict):
        document["actors"] = {**actors, **given}
    if "algorithm" in document:
        raise InputError(f"{recipe.name}: algorithm belongs above [env], not to [train]")
    return value_from(
        Settings,
        {**document, "algorithm": recipe.algorithm},
        f"{recipe.name}, [train.hyperparameters]",
        lambda settings: _contradictions(recipe, settings),
    )


def _contradictions(recipe: Recipe, settings: Settings) -> list[str]:
    problems = []
    if recipe.train.normalize_observations:
        problems.append("normalize_observations: true; allowed: false")
    if settings.value_low >= settings.value_high:
        problems.append(f"value_low: {settings.value_low}; allowed: below value_high")
    if settings.replay.capacity < settings.replay.min_rows:
        problems.append(f"replay.capacity: {settings.replay.capacity}; allowed: min_rows or more")
    if settings.replay.shards > settings.actors.count:
        problems.append(
            f"replay.shards: {settings.replay.shards}; allowed: actors.count "
            f"({settings.actors.count}) or fewer"
        )
    return problems
