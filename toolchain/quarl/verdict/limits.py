"""Limits: what the gate asks of a release, from the recipe's `[gate]` table or from a gate.toml of
the user.

In: TOML or a table. Out: frozen `Limits`; every problem of a file is reported in one error. The
file format is described in toolchain/docs/gate.md; a key that is left out keeps its value from the
recipe, or the default below.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from quarl.errors import InputError
from quarl.evidence.closed_loop import Failure
from quarl.rollouts.vector_env import EnvSpec
from quarl.sources.recipe import Recipe
from quarl.stats.sequential import Look, plan_looks

GATE_FILE = "gate.toml"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a release must keep. A limit that is None is not judged; evidence for any other must be
    there.
    """

    episodes: int = 200  # paired episodes to play
    margin: float = 0.02  # share of (source's mean return - random_return) that may be lost
    # mean return of random play; without it no margin can be computed
    random_return: float | None = None
    # an episode fails by its return, or by info["success"]
    failure: Literal["return", "success"] = "return"
    # a lower return is a failure; None: halfway between random play and the source's mean
    failure_return: float | None = None
    failure_margin: float = 0.02  # allowed rise of the failure rate, 0.01 = one point
    alpha: float = 0.05  # one-sided error of each test
    sequential: bool = True  # whether episodes stop as soon as the answer is certain
    equivalence: bool = False  # whether a gain beyond the margin fails as well
    # share of the same scale that int8 may lose against its source under each disturbance
    robustness_margin: float | None = None
    # mean return the source is known to reach; it may not certainly miss it by more than the margin
    source_return: float | None = None
    min_calibration_episodes: int = 8  # that ranges are taken from, where their number is known
    min_agreement: float | None = None  # discrete actions: least share of equal actions, 0..1
    # box actions: largest mean error as a share of the action range
    max_action_error: float | None = None
    # of our float graph against the source framework, largest absolute
    max_import_error: float = 1e-5
    # whether an import that could not be proven here is a failure
    require_import_proof: bool = False
    backends: tuple[str, ...] = (
        "litert",
        "onnxruntime",
    )  # must give the reference's integers, each of them
    budgets: Mapping[str, float] = field(
        default_factory=dict
    )  # most that a figure of the profile may be, by its name

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
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not a TOML file: {error}") from error
    table = document.get("gate")
    if set(document) != {"gate"} or not isinstance(table, dict):
        raise InputError(
            f"{where}: holds {', '.join(document) or 'nothing'}; allowed: one table [gate]"
        )
    return limits_from_table(table, where, base)


def limits_from_table(
    table: Mapping[str, Any], where: str, base: Limits = DEFAULT_LIMITS
) -> Limits:
    """Return the limits of a `[gate]` table, on top of `base`.

    Raises:
        InputError: keys that are unknown or of the wrong kind; all of them are named.
    """
    known = [f.name for f in fields(Limits)]
    problems = [
        f"{key}: unknown key; known here: {', '.join(known)}" for key in table if key not in known
    ]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in known:
            is_right, allowed = _RULES[key]
            if is_right(value):
                values[key] = tuple(value) if isinstance(value, list) else value
            else:
                problems.append(f"{key}: {value!r}; allowed: {allowed}")
    if problems:
        raise InputError(
            f"{where}: {len(problems)} problem(s) in [gate]:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )
    return replace(base, **values)


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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: _is_number(value) and low <= value <= high


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_backends(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(name, str) and name for name in value)
    )


def _is_budgets(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_number(limit) and limit >= 0 for limit in value.values()
    )


_SHARE = (_number(0, 1), "a number from 0 to 1")
_FLAG = (lambda value: isinstance(value, bool), "true or false")
_FINITE = (_is_number, "a finite number")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "episodes": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 2,
        "an integer of 2 or more",
    ),
    "margin": (lambda value: _number(0, 1)(value) and value > 0, "a number above 0 up to 1"),
    "random_return": _FINITE,
    "failure": (lambda value: value in ("return", "success"), '"return" or "success"'),
    "failure_return": _FINITE,
    "failure_margin": (
        lambda value: _number(0, 1)(value) and value > 0,
        "a number above 0 up to 1",
    ),
    "alpha": (_number(0.001, 0.2), "a number from 0.001 to 0.2"),
    "sequential": _FLAG,
    "equivalence": _FLAG,
    "robustness_margin": (
        lambda value: _number(0, 1)(value) and value > 0,
        "a number above 0 up to 1",
    ),
    "source_return": _FINITE,
    "min_calibration_episodes": (_is_count, "an integer from 1"),
    "min_agreement": _SHARE,
    "max_action_error": _SHARE,
    "max_import_error": (_number(0, math.inf), "a number from 0"),
    "require_import_proof": _FLAG,
    "backends": (_is_backends, "a list of backend names that is not empty"),
    "budgets": (_is_budgets, "a table of figure names and numbers from 0"),
}
