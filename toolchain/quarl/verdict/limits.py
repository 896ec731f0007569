"""Limits: what the gate asks of a release, from the recipe's `[gate]` table or from a gate.toml of
the user.

In: TOML or a table. Out: frozen `Limits`; every problem of a file is reported in one error. The
file format is described in toolchain/docs/gate.md; a key that is left out keeps its value from the
recipe, or the default below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field

from quarl.errors import InputError
from quarl.evidence.closed_loop import Failure
from quarl.files.tables import (
    Count,
    Flag,
    NotNegative,
    Number,
    Share,
    Text,
    Whole,
    table,
    value_from,
)
from quarl.files.toml import parse_toml
from quarl.rollouts.vector_env import EnvSpec
from quarl.sources.recipe import FailureRule, Recipe
from quarl.stats.sequential import Look, plan_looks

GATE_FILE = "gate.toml"


AboveZero = Annotated[Number, Field(gt=0, le=1)]


@table
@dataclass(frozen=True, slots=True)
class Limits:
    """What a release must keep. A limit that is None is not judged; evidence for any other must be
    there.
    """

    episodes: Annotated[Whole, Field(ge=2, description="paired episodes to play")] = 200
    margin: Annotated[
        AboveZero,
        Field(description="share of (source's mean return - random_return) that may be lost"),
    ] = 0.02
    random_return: Annotated[
        Number | None,
        Field(description="mean return of random play; without it no margin can be computed"),
    ] = None
    failure: Annotated[
        FailureRule, Field(description='an episode fails by its return, or by info["success"]')
    ] = "return"
    failure_return: Annotated[
        Number | None,
        Field(
            description="a lower return is a failure; absent: halfway between random play and the "
            "source's mean"
        ),
    ] = None
    failure_margin: Annotated[
        AboveZero, Field(description="allowed rise of the failure rate, 0.01 = one point")
    ] = 0.02
    alpha: Annotated[
        Number, Field(ge=0.001, le=0.2, description="one-sided error of each test")
    ] = 0.05
    sequential: Annotated[
        Flag, Field(description="whether episodes stop as soon as the answer is certain")
    ] = True
    equivalence: Annotated[
        Flag, Field(description="whether a gain beyond the margin fails as well")
    ] = False
    robustness_margin: Annotated[
        AboveZero | None,
        Field(
            description="share of the same scale that int8 may lose against its source under each "
            "disturbance"
        ),
    ] = None
    source_return: Annotated[
        Number | None,
        Field(
            description="mean return the source is known to reach; it may not certainly miss it by "
            "more than the margin"
        ),
    ] = None
    min_calibration_episodes: Annotated[
        Count, Field(description="that ranges are taken from, where their number is known")
    ] = 8
    min_agreement: Annotated[
        Share | None, Field(description="discrete actions: least share of equal actions")
    ] = None
    max_action_error: Annotated[
        Share | None,
        Field(description="box actions: largest mean error as a share of the action range"),
    ] = None
    max_import_error: Annotated[
        NotNegative,
        Field(description="of our float graph against the source framework, largest absolute"),
    ] = 1e-5
    require_import_proof: Annotated[
        Flag,
        Field(description="whether an import that could not be proven here is a failure"),
    ] = False
    backends: Annotated[
        tuple[Text, ...],
        Field(min_length=1, description="must give the reference's integers, each of them"),
    ] = ("litert", "onnxruntime")
    budgets: Annotated[
        Mapping[str, NotNegative],
        Field(description="most that a figure of the profile may be, by its name"),
    ] = field(default_factory=dict)

    def to_table(self) -> dict[str, Any]:
        """Return plain values by key, as `limits_from_table` reads them; None is left out."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value is not None
        }


DEFAULT_LIMITS = Limits()


def scale_of(limits: Limits, mean_source: float) -> float | None:
    """Return what the source's mean return is above random play; None where that is unknown or
    nothing.
    """
    if limits.random_return is None or mean_source <= limits.random_return:
        return None
    return mean_source - limits.random_return


def margin_of(limits: Limits, mean_source: float) -> float | None:
    """Return the largest loss of the mean return in return units; None where there is no scale:
    random play unknown, or as good.
    """
    scale = scale_of(limits, mean_source)
    return None if scale is None else limits.margin * scale


def looks_of(limits: Limits, episodes: int) -> tuple[Look, ...]:
    """Return when at most `episodes` episodes are looked at; once, at the end, where limits cannot
    be judged or do not want it.
    """
    if not limits.sequential or limits.random_return is None:
        return (Look(episodes, 1.0),)
    return plan_looks(episodes, limits.margin, limits.failure_margin, limits.alpha)


def failure_of(limits: Limits, mean_source: float) -> Failure:
    """Return what makes an episode a failed one."""
    if limits.failure == "success":
        return Failure("success")
    halfway = None if limits.random_return is None else (limits.random_return + mean_source) / 2
    return Failure("return", halfway if limits.failure_return is None else limits.failure_return)


def read_limits(text: str, where: str, base: Limits = DEFAULT_LIMITS) -> Limits:
    """Return the limits of a gate.toml, on top of `base`; `where` names the file in errors.

    Raises:
        InputError: not TOML, or keys that are unknown or of the wrong kind; all of them are named.
    """
    document = parse_toml(text, where)
    gate = document.get("gate")
    if set(document) != {"gate"} or not isinstance(gate, dict):
        raise InputError(
            f"{where}: holds {', '.join(document) or 'nothing'}; allowed: one table [gate]"
        )
    return limits_from_table(gate, f"{where}: [gate]", base)


def limits_from_table(
    document: Mapping[str, Any], where: str, base: Limits = DEFAULT_LIMITS
) -> Limits:
    """Return the limits of a `[gate]` table, on top of `base`.

    Raises:
        InputError: keys that are unknown or of the wrong kind; all of them are named.
    """
    given = value_from(Limits, document, where)
    return replace(base, **{key: getattr(given, key) for key in document})


def recipe_limits(recipe: Recipe | None, env: EnvSpec | None) -> Limits:
    """Return what a recipe asks of the int8 version of its policy, the defaults where there is
    none.

    Its score is what the source is known to reach, where `env`, in which it is judged, is the one
    it was scored in.
    """
    if recipe is None:
        return DEFAULT_LIMITS
    table = {key: value for key, value in asdict(recipe.gate).items() if value is not None}
    is_scored = recipe.score is not None and env == EnvSpec(recipe.env.id, recipe.env.kwargs)
    known = (
        {"source_return": recipe.score.mean_return}
        if recipe.score is not None and is_scored
        else {}
    )
    return limits_from_table({**known, **table}, f"{recipe.name}: recipe.toml")
