"""Limits: what the gate asks of a release, from the recipe's `[gate]` table or from a gate.toml of
the user.

In: TOML or a table. Out: frozen `Limits`; every problem of a file is reported in one error. The
file format is described in toolchain/docs/gate.md; a key that is left out keeps its value from the
recipe, or the default below.
"""

from __future__ import annotations

from dataclasses import asdict

from quarl.bundle.limits import DEFAULT_LIMITS, Limits, limits_from_table
from quarl.errors import InputError
from quarl.evidence.closed_loop import Failure
from quarl.files.toml import parse_toml
from quarl.graph.env_spec import EnvSpec
from quarl.sources.recipe import Recipe
from quarl.stats.sequential import Look, plan_looks

GATE_FILE = "gate.toml"


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
