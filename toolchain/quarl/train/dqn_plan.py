"""The hyperparameters of a DQN with Keras, read strictly: `keras_dqn` tells what each one means."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from quarl.errors import InputError
from quarl.sources.recipe import Recipe
from quarl.train.hyperparameters import hyperparameters_of

MAX_GRADIENT = 10.0  # longest gradient of an update, over all parameters


@dataclass(frozen=True, slots=True)
class DqnPlan:
    """A recipe's numbers, read once."""

    layers: tuple[int, ...]
    learning_rate: float
    learning_rate_end: float
    batch_size: int
    gamma: float
    n_step: int
    reward_scale: float
    buffer_size: int
    learning_starts: int
    updates_per_step: int
    target_update: int
    epsilon: float
    evaluations: int
    teacher: str = ""
    teacher_updates: int = 0

    def rate(self, share: float) -> float:
        """Return the learning rate after this share of the training."""
        return self.learning_rate + share * (self.learning_rate_end - self.learning_rate)

    def warm_steps(self, steps: int, lanes: int) -> int:
        """Return how many steps of a training of `steps` are played before the first update: whole
        rounds of the lanes.
        """
        return min(self.learning_starts, steps // 4) // lanes * lanes

    def taught_updates(self, steps: int, lanes: int) -> int:
        """Return how many updates learn from the teacher in a training of `steps`: at most half of
        it.
        """
        return min(self.teacher_updates, steps // (2 * lanes)) if self.teacher else 0


def read_plan(recipe: Recipe) -> DqnPlan:
    """Return the plan of a recipe.

    Raises:
        InputError: a hyperparameter that is missing, unknown or of the wrong kind.
    """
    fields = DqnPlan.__dataclass_fields__
    needed = [name for name, field in fields.items() if field.default is MISSING]
    optional = [name for name in fields if name not in needed]
    settings = hyperparameters_of(recipe, needed, optional)
    layers = settings.pop("layers")
    if not (
        isinstance(layers, list)
        and layers
        and all(isinstance(width, int) and width > 0 for width in layers)
    ):
        raise InputError(f"{recipe.name}: layers: {layers!r}; allowed: widths above 0, as [64, 64]")
    teacher = settings.pop("teacher", "")
    if not isinstance(teacher, str):
        raise InputError(
            f"{recipe.name}: teacher: {teacher!r}; allowed: the name of a shipped policy"
        )
    for name, value in settings.items():
        whole = fields[name].type == "int"
        if not isinstance(value, int if whole else int | float) or value <= 0:
            raise InputError(
                f"{recipe.name}: {name}: {value!r}; allowed: "
                f"{'an integer' if whole else 'a number'} above 0"
            )
    return DqnPlan(layers=tuple(layers), teacher=teacher, **settings)
