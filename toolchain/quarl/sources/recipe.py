"""The recipe of a trained policy: `models/<policy>/recipe.toml`, read strictly into frozen values.

A recipe says what the policy is, how anyone trains it again, how well the source policy plays and
what the gate may ask of its int8 version.
Goes in: a policy's folder. Comes out: a `Recipe`. Every problem of a file is reported in one error.
The file format is described in toolchain/docs/recipe.md.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from quarl.errors import InputError

RECIPE_FILE = "recipe.toml"

Setting: TypeAlias = str | int | float | bool | list["Setting"] | dict[str, "Setting"]
"""A value as TOML writes it; dates are refused."""

FailureRule: TypeAlias = Literal["return", "success"]


@dataclass(frozen=True, slots=True)
class EnvRecipe:
    """The environment a policy plays in."""

    id: str  # gymnasium id; "module:Id" imports the module first
    kwargs: Mapping[str, Setting]
    gate_kwargs: Mapping[
        str, Setting
    ]  # on top of `kwargs` where int8 is chosen and judged, and where an Atari policy learns

    @property
    def judged_kwargs(self) -> Mapping[str, Setting]:
        """The arguments of the environment in which int8 is chosen and judged."""
        return {**self.kwargs, **self.gate_kwargs}

    def as_judged(self) -> EnvRecipe:
        """Return the environment with what it is judged with as its only arguments."""
        return replace(self, kwargs=self.judged_kwargs, gate_kwargs={})


@dataclass(frozen=True, slots=True)
class TrainRecipe:
    """All that decides the weights."""

    seed: int
    steps: int  # environment steps, all lanes together
    quick_steps: int  # for trying the chain out; the policy need not be good
    envs: int  # lanes that run in parallel
    normalize_observations: bool
    hyperparameters: Mapping[str, Setting]


@dataclass(frozen=True, slots=True)
class ScoreRecipe:
    """What the source policy reaches without exploration noise, measured."""

    mean_return: float
    std_return: float
    success_rate: float | None  # 0..1; None where the environment reports no success
    episodes: int
    seed: int  # of the first episode; episode i has seed + i


@dataclass(frozen=True, slots=True)
class GateRecipe:
    """What the int8 policy has to keep to be released."""

    episodes: int  # most paired episodes a verdict may spend
    margin: float  # share of (source mean return - random_return) that may be lost
    failure: FailureRule  # an episode fails by its return, or by info["success"]
    failure_return: float | None  # with failure = "return": a lower return is a failed episode
    failure_margin: float  # allowed increase of the failure rate, 0.01 = one point
    random_return: float  # mean return of random play, measured
    min_agreement: float | None  # discrete actions: least share of equal actions, 0..1
    max_action_error: (
        float | None
    )  # box actions: greatest mean error as a share of the action range
    # share of the same scale that int8 may lose against its source under each disturbance
    robustness_margin: float | None = None
    equivalence: bool = False  # whether a gain beyond the margin fails as well
    # mean return the source reaches where it is judged, if that is not where it was scored
    source_return: float | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """One trained policy: what it is, how it is made, how good it is, what it must keep."""

    name: str
    task: str  # one line for people
    algorithm: str
    framework: str
    source: str  # weights file in the policy's folder
    normalizer: str | None  # .npz in the folder: mean, var, epsilon, clip_obs
    step_hz: float  # control rate
    env: EnvRecipe
    train: TrainRecipe
    score: ScoreRecipe | None  # None until the policy has been trained
    gate: GateRecipe


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe in `folder`.

    Raises:
        InputError: no recipe there, not TOML, or keys that are missing, unknown or of the wrong
            kind; all of them are named.
    """
    path = folder / RECIPE_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: there is no {RECIPE_FILE}. A policy's folder holds {RECIPE_FILE} and "
            "its weights."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    recipe = parse_recipe(text, str(path))
    if recipe.name != folder.resolve().name:
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
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not a TOML file: {error}") from error
    root = _Table(table, "", [])
    recipe = _read_root(root)
    root.close()
    if root.problems:
        raise InputError(
            f"{where}: {len(root.problems)} problem(s):\n"
            + "\n".join(f"  {problem}" for problem in root.problems)
        )
    return recipe


def _read_root(root: _Table) -> Recipe:
    recipe = Recipe(
        name=root.text("name"),
        task=root.line("task"),
        algorithm=root.text("algorithm"),
        framework=root.text("framework"),
        source=root.file_name("source"),
        normalizer=root.file_name("normalizer") if "normalizer" in root else None,
        step_hz=root.number("step_hz", low=0.0, above=True),
        env=_read_env(root.table("env")),
        train=_read_train(root.table("train")),
        score=_read_score(root.table("score")) if "score" in root else None,
        gate=_read_gate(root.table("gate")),
    )
    if recipe.normalizer is not None and not recipe.train.normalize_observations:
        root.problems.append("normalizer: given, but [train] normalize_observations is false")
    return recipe


def _read_env(table: _Table) -> EnvRecipe:
    env = EnvRecipe(
        id=table.text("id"),
        kwargs=table.settings("kwargs") if "kwargs" in table else {},
        gate_kwargs=table.settings("gate_kwargs") if "gate_kwargs" in table else {},
    )
    table.close()
    return env


def _read_train(table: _Table) -> TrainRecipe:
    train = TrainRecipe(
        seed=table.integer("seed", low=0),
        steps=table.integer("steps", low=1),
        quick_steps=table.integer("quick_steps", low=1),
        envs=table.integer("envs", low=1),
        normalize_observations=table.flag("normalize_observations"),
        hyperparameters=table.settings("hyperparameters"),
    )
    table.close()
    return train


def _read_score(table: _Table) -> ScoreRecipe:
    score = ScoreRecipe(
        mean_return=table.number("mean_return"),
        std_return=table.number("std_return", low=0.0),
        success_rate=table.share("success_rate") if "success_rate" in table else None,
        episodes=table.integer("episodes", low=1),
        seed=table.integer("seed", low=0),
    )
    table.close()
    return score


def _read_gate(table: _Table) -> GateRecipe:
    failure = table.text("failure")
    if failure not in ("return", "success", ""):
        table.problem("failure", f'"{failure}"; allowed: "return", "success"')
    by_return = failure != "success"
    if by_return and failure == "return" and "failure_return" not in table:
        table.problem("failure_return", 'missing; failure = "return" needs it')
    gate = GateRecipe(
        episodes=table.integer("episodes", low=2),
        margin=table.share("margin"),
        failure="return" if by_return else "success",
        failure_return=table.number("failure_return") if "failure_return" in table else None,
        failure_margin=table.share("failure_margin"),
        random_return=table.number("random_return"),
        min_agreement=table.share("min_agreement") if "min_agreement" in table else None,
        max_action_error=table.share("max_action_error") if "max_action_error" in table else None,
        robustness_margin=table.share("robustness_margin")
        if "robustness_margin" in table
        else None,
        equivalence=table.flag("equivalence") if "equivalence" in table else False,
        source_return=table.number("source_return") if "source_return" in table else None,
    )
    table.close()
    return gate


class _Table:
    """A TOML table that hands out checked values and collects what is wrong with it.

    A value that is missing or wrong is replaced by a stand-in of the right type, so that reading
    goes on and every problem is found.
    """

    def __init__(self, table: dict[str, object], prefix: str, problems: list[str]) -> None:
        self._table = table
        self._prefix = prefix
        self._used: set[str] = set()
        self.problems = problems

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def problem(self, key: str, found: str) -> None:
        self.problems.append(f"{self._prefix}{key}: {found}")

    def close(self) -> None:
        """Report the unknown keys."""
        for key in self._table:
            if key not in self._used:
                self.problem(key, f"unknown key; known here: {', '.join(sorted(self._used))}")

    def table(self, key: str) -> _Table:
        value = self._take(key, "a table")
        if value is not None and not isinstance(value, dict):
            self.problem(key, f"{value!r}; allowed: a table")
        return _Table(
            value if isinstance(value, dict) else {}, f"{self._prefix}{key}.", self.problems
        )

    def text(self, key: str) -> str:
        value = self._take(key, "text")
        if isinstance(value, str) and value.strip():
            return value
        if value is not None:
            self.problem(key, f"{value!r}; allowed: text that is not empty")
        return ""

    def line(self, key: str) -> str:
        value = self.text(key)
        if "\n" in value:
            self.problem(key, "more than one line")
        return value

    def file_name(self, key: str) -> str:
        value = self.text(key)
        if value and (Path(value).name != value or "\\" in value or value.startswith(".")):
            self.problem(key, f'"{value}"; allowed: the name of a file in the policy\'s folder')
        return value

    def flag(self, key: str) -> bool:
        value = self._take(key, "true or false")
        if isinstance(value, bool):
            return value
        if value is not None:
            self.problem(key, f"{value!r}; allowed: true or false")
        return False

    def integer(self, key: str, *, low: int) -> int:
        value = self._take(key, "an integer")
        if isinstance(value, int) and not isinstance(value, bool) and value >= low:
            return value
        if value is not None:
            self.problem(key, f"{value!r}; allowed: an integer of {low} or more")
        return low

    def number(
        self,
        key: str,
        *,
        low: float = float("-inf"),
        high: float = float("inf"),
        above: bool = False,
    ) -> float:
        value = self._take(key, "a number")
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
            if (
                number == number
                and abs(number) != float("inf")
                and (number > low if above else number >= low)
                and number <= high
            ):
                return number
        if value is not None:
            bound = (
                "a finite number"
                if low == float("-inf")
                else f"a number {'above' if above else 'from'} {low:g}"
            )
            self.problem(
                key, f"{value!r}; allowed: {bound}{'' if high == float('inf') else f' to {high:g}'}"
            )
        return 0.0

    def share(self, key: str) -> float:
        return self.number(key, low=0.0, high=1.0)

    def settings(self, key: str) -> Mapping[str, Setting]:
        value = self._take(key, "a table")
        if value is None:
            return {}
        setting = self._setting(key, value)
        if isinstance(setting, dict):
            return setting
        self.problem(key, f"{value!r}; allowed: a table")
        return {}

    def _setting(self, key: str, value: object) -> Setting:
        if isinstance(value, dict):
            return {name: self._setting(f"{key}.{name}", item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._setting(key, item) for item in value]
        if isinstance(value, str | int | float):  # bool is an int
            return value
        self.problem(key, f"{value!r}; allowed: text, a number, true or false, a list, a table")
        return ""

    def _take(self, key: str, wanted: str) -> object | None:
        self._used.add(key)
        if key not in self._table:
            self.problem(key, f"missing; it is {wanted}")
            return None
        return self._table[key]
