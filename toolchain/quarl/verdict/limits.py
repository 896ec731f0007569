"""Limits: what the gate asks of a release, from the recipe's `[gate]` table or from a gate.toml of
the user.

In: TOML or a table. Out: frozen `Limits`; every problem of a file is reported in one error. The
file format is described in toolchain/docs/gate.md. At an export a key that is left out keeps its
value from the recipe, or the default; at the gate the file stands on the defaults (`GateFile`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from quarl.bundle.limits import DEFAULT_LIMITS, Limits, limits_from_table
from quarl.errors import InputError
from quarl.files.toml import parse_toml
from quarl.graph.env_spec import EnvSpec
from quarl.sources.recipe import Recipe

if TYPE_CHECKING:
    from quarl.evidence.closed_loop import Failure
    from quarl.stats.sequential import Look

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
    from quarl.stats.sequential import Look, plan_looks

    if not limits.sequential or limits.random_return is None:
        return (Look(episodes, 1.0),)
    return plan_looks(episodes, limits.margin, limits.failure_margin, limits.alpha)


def failure_of(limits: Limits, mean_source: float) -> Failure:
    """Return what makes an episode a failed one."""
    from quarl.evidence.closed_loop import Failure

    if limits.failure == "success":
        return Failure("success")
    halfway = None if limits.random_return is None else (limits.random_return + mean_source) / 2
    return Failure("return", halfway if limits.failure_return is None else limits.failure_return)


@dataclass(frozen=True, slots=True)
class GateFile:
    """What whoever judges asks: the keys of a gate.toml, on top of the defaults.

    What the exporter of a bundle asks is only heard where it asks for more.
    """

    limits: Limits
    keys: frozenset[str]  # that the file gives: their values stand

    def beside(self, own: Limits, mean_source: float | None = None) -> Limits:
        """Return the limits that a bundle is judged by: the file's; of a key it leaves out the
        stricter of the default and the bundle's. The mean of random play is a measurement and no
        limit: the bundle's is taken where the file has none.

        Args:
            own: what the bundle asks.
            mean_source: the source's mean return, in return units; None: not played yet.
        """
        mine = self.limits
        values: dict[str, Any] = {
            **{key: _smaller(getattr(mine, key), getattr(own, key)) for key in _LESS_IS_STRICTER},
            **{key: _larger(getattr(mine, key), getattr(own, key)) for key in _MORE_IS_STRICTER},
            **{key: getattr(mine, key) or getattr(own, key) for key in _TRUE_IS_STRICTER},
            "random_return": own.random_return
            if mine.random_return is None
            else mine.random_return,
        }
        if mean_source is not None and values["random_return"] is not None:
            halfway = (values["random_return"] + mean_source) / 2
            values["failure_return"] = _larger(values["failure_return"], halfway)
        more = tuple(name for name in own.backends if name not in mine.backends)
        return replace(
            mine,
            backends=(*mine.backends, *more),
            budgets={**own.budgets, **mine.budgets},
            **{key: value for key, value in values.items() if key not in self.keys},
        )


_LESS_IS_STRICTER = (
    *("margin", "failure_margin", "alpha", "robustness_margin"),
    *("max_action_error", "max_worst_action_error", "max_import_error"),
)
_MORE_IS_STRICTER = (
    *("episodes", "failure_return", "source_return", "min_calibration_episodes"),
    *("min_agreement", "min_weighted_agreement"),
)
_TRUE_IS_STRICTER = ("equivalence", "require_import_proof")


def _smaller(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _larger(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def read_gate_file(text: str, where: str) -> GateFile:
    """Return what a gate.toml asks; `where` names the file in errors.

    Raises:
        InputError: not TOML, or keys that are unknown or of the wrong kind; all of them are named.
    """
    return gate_file(_gate_table(text, where), f"{where}: [gate]")


def gate_file(table: Mapping[str, Any], where: str) -> GateFile:
    """Return what a `[gate]` table asks; errors as `limits_from_table`."""
    return GateFile(limits_from_table(table, where), frozenset(table))


def _gate_table(text: str, where: str) -> dict[str, Any]:
    document = parse_toml(text, where)
    gate = document.get("gate")
    if set(document) != {"gate"} or not isinstance(gate, dict):
        raise InputError(
            f"{where}: holds {', '.join(document) or 'nothing'}; allowed: one table [gate]"
        )
    return gate


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
