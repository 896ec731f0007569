"""The recipe of a trained policy: `models/<policy>/recipe.toml`, read strictly into frozen values.

A recipe says what the policy is, how anyone trains it again, how well the source policy plays and
what the gate may ask of its int8 version.
Goes in: a policy's folder. Comes out: a `Recipe`. Every problem of a file is reported in one error.
The file format is described in toolchain/docs/recipe.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field

from quarl.bundle.limits import FailureRule
from quarl.errors import InputError
from quarl.files.tables import (
    Count,
    Flag,
    NotNegative,
    Number,
    Settings,
    Share,
    Text,
    Whole,
    table,
    value_from,
)
from quarl.files.toml import parse_toml, read_toml
from quarl.quantize.widths import WEIGHT_BITS, Widths

RECIPE_FILE = "recipe.toml"
RUN_RESULT = "policy"  # what a training run calls the folder of its policy, whatever its name

Setting: TypeAlias = str | int | float | bool | list["Setting"] | dict[str, "Setting"]
"""A value as TOML writes it; dates are refused."""

Precision: TypeAlias = Literal["fp32", "bf16"]
QatMethod: TypeAlias = Literal["lsq", "fixed"]
WeightBits: TypeAlias = Annotated[int, Field(strict=True, ge=WEIGHT_BITS[0], le=WEIGHT_BITS[1])]


def _line(text: str) -> str:
    if "\n" in text:
        raise ValueError("more than one line; allowed: one line")
    return text


def _file_name(text: str) -> str:
    if Path(text).name != text or "\\" in text or text.startswith("."):
        raise ValueError(f"{text!r}; allowed: the name of a file in the policy's folder")
    return text


FileName = Annotated[Text, AfterValidator(_file_name)]


@table
@dataclass(frozen=True, slots=True)
class EnvRecipe:
    """The environment a policy plays in."""

    id: Annotated[Text, Field(description='gymnasium id; "module:Id" imports the module first')]
    kwargs: Annotated[Settings, Field(description="arguments of the environment")] = field(
        default_factory=dict
    )
    gate_kwargs: Annotated[
        Settings,
        Field(
            description="on top of kwargs where int8 is chosen and judged, and where an Atari "
            "policy learns"
        ),
    ] = field(default_factory=dict)

    @property
    def judged_kwargs(self) -> Mapping[str, Any]:
        """The arguments of the environment in which int8 is chosen and judged."""
        return {**self.kwargs, **self.gate_kwargs}

    def as_judged(self) -> EnvRecipe:
        """Return the environment with what it is judged with as its only arguments."""
        return replace(self, kwargs=self.judged_kwargs, gate_kwargs={})


@table
@dataclass(frozen=True, slots=True)
class TrainRecipe:
    """All that decides the weights."""

    seed: Whole
    steps: Annotated[Count, Field(description="environment steps, all lanes together")]
    quick_steps: Annotated[Count, Field(description="steps for trying the chain out")]
    envs: Annotated[Count, Field(description="lanes that run in parallel")]
    normalize_observations: Flag
    hyperparameters: Settings
    precision: Annotated[
        Precision, Field(description="of matrix products; weights and optimiser stay float32")
    ] = "fp32"


@table
@dataclass(frozen=True, slots=True)
class QatRecipe:
    """Training through the deployment's integers, after a delay in float."""

    weights: Annotated[WeightBits, Field(description="bits, all layers but the first and last")]
    delay: Annotated[
        NotNegative,
        Field(description="up to 1 a share of the environment steps, above 1 a number of them"),
    ]
    edges: Annotated[WeightBits, Field(description="bits of the first and the last layer")] = 8
    activations: Annotated[
        int, Field(strict=True, ge=2, le=16, description="bits of hidden activations")
    ] = 8
    inputs: Annotated[
        int | None, Field(strict=True, ge=3, le=16, description="bits of observations; absent: 12")
    ] = None
    method: Annotated[
        QatMethod, Field(description="step sizes are learned (lsq), or stay as first measured")
    ] = "lsq"

    @property
    def widths(self) -> Widths:
        """The widths that are trained."""
        return Widths(self.weights, self.edges, self.activations, self.inputs)

    def delay_steps(self, steps: int) -> int:
        """Return after how many environment steps of a training of `steps` integers take over."""
        return round(self.delay * steps) if self.delay <= 1 else round(self.delay)


@table
@dataclass(frozen=True, slots=True)
class ScoreRecipe:
    """What the source policy reaches without exploration noise, measured."""

    mean_return: Number
    std_return: NotNegative
    episodes: Count
    seed: Annotated[Whole, Field(description="of the first episode; episode i has seed + i")]
    success_rate: Annotated[
        Share | None, Field(description="absent where the environment reports no success")
    ] = None


@table
@dataclass(frozen=True, slots=True)
class GateRecipe:
    """What the int8 policy has to keep to be released."""

    episodes: Annotated[Whole, Field(ge=2, description="most paired episodes a verdict may spend")]
    margin: Annotated[
        Share, Field(description="share of (source mean return - random_return) that may be lost")
    ]
    failure: Annotated[
        FailureRule, Field(description='an episode fails by its return, or by info["success"]')
    ]
    failure_margin: Annotated[
        Share, Field(description="allowed increase of the failure rate, 0.01 = one point")
    ]
    random_return: Annotated[Number, Field(description="mean return of random play, measured")]
    failure_return: Annotated[
        Number | None,
        Field(description='with failure = "return": a lower return is a failed episode'),
    ] = None
    min_agreement: Annotated[
        Share | None, Field(description="discrete actions: least share of equal actions")
    ] = None
    max_action_error: Annotated[
        Share | None,
        Field(description="box actions: largest mean error as a share of the action range"),
    ] = None
    robustness_margin: Annotated[
        Share | None,
        Field(
            description="share of the same scale that int8 may lose against its source under each "
            "disturbance"
        ),
    ] = None
    equivalence: Annotated[
        Flag, Field(description="whether a gain beyond the margin fails as well")
    ] = False
    chaos_margin: Annotated[
        Share | None,
        Field(
            description="share of the float64 control's own spread that may be lost where that is "
            "more than the margin"
        ),
    ] = None
    source_return: Annotated[
        Number | None,
        Field(
            description="mean return the source reaches where it is judged, if that is not where "
            "it was scored"
        ),
    ] = None


@table
@dataclass(frozen=True, slots=True)
class Recipe:
    """One trained policy: what it is, how it is made, how good it is, what it must keep."""

    name: Annotated[Text, Field(description="the name of the policy's folder")]
    task: Annotated[Text, AfterValidator(_line), Field(description="one line for people")]
    algorithm: Text
    framework: Text
    source: Annotated[FileName, Field(description="weights file in the policy's folder")]
    step_hz: Annotated[Number, Field(gt=0, description="control rate")]
    env: EnvRecipe
    train: TrainRecipe
    gate: GateRecipe
    normalizer: Annotated[
        FileName | None, Field(description=".npz in the folder: mean, var, epsilon, clip_obs")
    ] = None
    integers: Annotated[
        FileName | None, Field(description=".npz in the folder: the integers it was trained with")
    ] = None
    score: Annotated[
        ScoreRecipe | None, Field(description="absent until the policy has been trained")
    ] = None
    qat: Annotated[QatRecipe | None, Field(description="absent: trained in float")] = None


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe in `folder`.

    Raises:
        InputError: no recipe there, not TOML, or keys that are missing, unknown or of the wrong
            kind; all of them are named.
    """
    path = folder / RECIPE_FILE
    if not path.is_file():
        raise InputError(
            f"{folder}: there is no {RECIPE_FILE}. A policy's folder holds {RECIPE_FILE} and "
            "its weights."
        )
    recipe = _parse(read_toml(path), str(path))
    if folder.resolve().name not in (recipe.name, RUN_RESULT):
        raise InputError(
            f'{path}: name is "{recipe.name}", the folder is "{folder.resolve().name}". They '
            "must be equal."
        )
    return recipe


def list_recipes(models_root: Path) -> tuple[Recipe, ...]:
    """Return the recipes of all policies under `models_root`, by name. A folder without a recipe is
    no policy.
    """
    return tuple(read_recipe(path.parent) for path in sorted(models_root.glob(f"*/{RECIPE_FILE}")))


def parse_recipe(text: str, where: str) -> Recipe:
    """Return the recipe written in `text`; `where` names it in errors.

    Raises:
        InputError: not TOML, or keys that are missing, unknown or of the wrong kind; all of them
            are named.
    """
    return _parse(parse_toml(text, where), where)


def _parse(document: Mapping[str, Any], where: str) -> Recipe:
    return value_from(Recipe, document, where, _contradictions)


def _contradictions(recipe: Recipe) -> list[str]:
    problems = []
    if recipe.gate.failure == "return" and recipe.gate.failure_return is None:
        problems.append('gate.failure_return: missing; failure = "return" needs it')
    if recipe.normalizer is not None and not recipe.train.normalize_observations:
        problems.append("normalizer: given, but [train] normalize_observations is false")
    if recipe.qat is not None and recipe.train.precision != "fp32":
        problems.append("train.precision: integers are exact in float32 only; omit it with [qat]")
    return problems
