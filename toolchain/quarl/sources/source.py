"""Sources: the name of a shipped policy, or a file of trained weights or of int8, becomes a policy
with the observations it meets.

In: what the user typed. Out: a `Source`: policy, environment, calibration and held-out observations
(of other episodes).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from quarl.bundle.manifest import INT8_FILE, made_by
from quarl.errors import InputError
from quarl.files.html_table import html_table
from quarl.files.tables import did_you_mean
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import ImportOptions, MissingActionError, parameters_in, read_policy
from quarl.resources import default_cache_dir, models_dir
from quarl.sources.beside import CARD, card_environment, stated_rate
from quarl.sources.hub import fetch, is_hub_file
from quarl.sources.recipe import RECIPE_FILE, Recipe, list_recipes, read_recipe
from quarl.sources.run_folder import find_run
from quarl.sources.weights import VARIABLE, find_file, read_stored
from quarl.workers.progress import Stage, quietly

CALIBRATION_FILE, HELDOUT_FILE = "calibration.npz", "heldout.npz"
INTEGERS_FILE = "integers.npz"  # of a policy that was trained through them


@dataclass(frozen=True, slots=True)
class Source:
    """A trained policy and where it came from."""

    policy: Policy | QuantPolicy  # integers from the start where the file is an int8 `.tflite`
    file: Path
    recipe: Recipe | None
    env: EnvSpec | None  # the one int8 is chosen and judged in
    observations: tuple[Path, Path] | None = None  # the recipe's own: calibration and held-out
    integers: QuantPolicy | None = None  # the recipe's own: those it was trained with
    output: str | None = None  # the output that the user chose, where a file has several
    given_name: str | None = None  # --name

    def __repr__(self) -> str:
        """Return what it is, without its numbers."""
        return f"Source({self.name!r}, {made_by(self.algorithm, self.framework)}, {self.policy!r})"

    def _repr_html_(self) -> str:
        """Return the policy as a table for a notebook."""
        contract = self.policy.contract
        rows = [
            ("file", self.file.name),
            ("algorithm", made_by(self.algorithm, self.framework)),
            ("environment", "none" if self.env is None else self.env.id),
            ("observation", f"{contract.observation.shape} {contract.observation.dtype}"),
            ("action", f"{contract.action.kind}, {contract.action.count}"),
        ]
        return html_table(f"quarl policy {self.name}", rows)

    @property
    def name(self) -> str:
        """Name for the bundle."""
        if self.given_name is not None:
            return self.given_name
        return self.file.stem if self.recipe is None else self.recipe.name

    @property
    def is_shipped(self) -> bool:
        """Whether the file is one of quarl's own; a folder with a recipe is anybody's."""
        return self.file.resolve().is_relative_to(models_dir().resolve())

    @property
    def algorithm(self) -> str:
        """What it was trained with, as its recipe says or else its file; Keras files do not say."""
        if self.recipe is not None:
            return self.recipe.algorithm
        return "unknown" if isinstance(self.policy, QuantPolicy) else self.policy.algorithm

    @property
    def framework(self) -> str:
        """What wrote the file."""
        return INT8_FILE if isinstance(self.policy, QuantPolicy) else self.policy.framework


def open_source(
    source: str, options: ImportOptions, env: EnvSpec | None, fetching: Stage = quietly
) -> Source:
    """Return the source: a shipped policy's name, a policy's folder with a recipe, or a file of
    weights.

    Args:
        fetching: told about weights that are fetched (`quarl.sources.weights`).
    Raises:
        InputError: neither a policy nor a file; or the file is missing or cannot be imported.
    """
    folder = _find_recipe(source)
    if folder is None:
        path = fetch(source) if is_hub_file(source) else Path(source)
        if not path.exists():
            raise InputError(
                f"{source}: neither a file nor a shipped policy: give a path, or one of "
                f"{_shipped(source)}"
            )
        if path.is_dir() and (run := find_run(path)) is not None:
            run.check_env(env)
            path, options = run.agent, run.completed(options)
            env = env or EnvSpec(run.env_id)
        told = _with_rate(_with_spaces(options, env), path, env)
        return Source(_read(path, told), path, None, env, output=options.output)
    recipe = read_recipe(folder)
    if recipe.normalizer is not None and options.normalizer is None:
        from quarl.sources.normalizer_file import read_normalizer

        statistics = read_normalizer(folder / recipe.normalizer)
        by = f"the recipe, {recipe.normalizer}"
        options = replace(options, normalizer=statistics, normalizer_by=by)
    elif options.normalizer is None:
        options = replace(options, no_normalizer=True, normalizer_by="the recipe")
    own_env = env or EnvSpec(recipe.env.id, recipe.env.judged_kwargs)
    options = replace(options, step_hz=options.step_hz or recipe.step_hz)
    origin, cache = os.environ.get(VARIABLE), default_cache_dir()
    file, fitted, held = (
        find_file(folder, name, origin=origin, cache=cache, fetching=fetching)
        for name in (recipe.source, CALIBRATION_FILE, HELDOUT_FILE)
    )
    if not file.is_file():
        raise InputError(
            f"{recipe.name}: its weights ({recipe.source}) are not in {folder}: restore them, "
            f"or train it: quarl train {folder}"
        )
    env_by = "--env" if env is not None else "the recipe,"
    policy = read_policy(file, _with_spaces(options, own_env, env_by))
    integers = _trained_integers(folder, recipe, policy)
    return Source(policy, file, recipe, own_env, (fitted, held), integers)


def _with_rate(options: ImportOptions, path: Path, env: EnvSpec | None) -> ImportOptions:
    """Return the options with the control rate that a file beside the policy states, or else the
    environment.
    """
    if options.step_hz is not None:
        return options
    found = stated_rate(path)
    if found is None and env is not None:
        from quarl.importers.spaces import rate_of

        rate = rate_of(env)
        found = None if rate is None else (rate, f"render_fps of {env.id}")
    return options if found is None else replace(options, step_hz=found[0], step_hz_by=found[1])


def _read(path: Path, options: ImportOptions) -> Policy | QuantPolicy:
    """Return the policy; a question about its actions says which environment its card names."""
    try:
        return read_policy(path, options)
    except MissingActionError as error:
        if not (env_id := card_environment(path)):
            raise
        words = f"{error}. The model card beside it ({CARD}) names {env_id}: --env {env_id}"
        raise MissingActionError(words, error.count) from error


def _trained_integers(
    folder: Path, recipe: Recipe, policy: Policy | QuantPolicy
) -> QuantPolicy | None:
    """Return the integers the policy was trained with; None where there are none.

    Raises:
        InputError: float weights, or integers that belong to others.
    """
    name = recipe.integers or (INTEGERS_FILE if recipe.qat is not None else None)
    if name is None or (recipe.integers is None and not (folder / name).is_file()):
        return None
    integers = read_policy(folder / name)
    if not isinstance(integers, QuantPolicy):
        raise InputError(f"{folder / name}: holds float weights, the recipe calls them integers")
    if recipe.qat is not None and (
        integers.source_sha256 != policy.source_sha256 or integers.contract != policy.contract
    ):
        raise InputError(
            f"{folder / name}: belongs to other weights or another contract than the folder's: "
            "train the policy again, or remove the file to quantise after training"
        )
    return integers


@dataclass(frozen=True, slots=True)
class Shipped:
    """A policy that ships with quarl."""

    recipe: Recipe
    parameters: int | None  # None where it has not been trained yet
    weights_bytes: int | None  # of the file of its weights


def list_shipped() -> tuple[Shipped, ...]:
    """Return the shipped policies by name, those whose weights are not installed among them."""
    models = models_dir()
    stored = read_stored(models)
    shipped = []
    for recipe in list_recipes(models):
        file, known = (
            models / recipe.name / recipe.source,
            stored.get(f"{recipe.name}/{recipe.source}"),
        )
        if known is not None:
            shipped.append(Shipped(recipe, known.parameters, known.bytes))
        elif file.is_file():
            shipped.append(Shipped(recipe, parameters_in(file), file.stat().st_size))
        else:
            shipped.append(Shipped(recipe, None, None))
    return tuple(shipped)


def recipe_folder(policy: str) -> Path:
    """Return the folder of a shipped policy, or the folder itself.

    Raises:
        InputError: there is no recipe.
    """
    folder = _find_recipe(policy)
    if folder is None:
        raise InputError(
            f"{policy}: neither a folder with a {RECIPE_FILE} nor a shipped policy: give one "
            f"of {_shipped(policy)}"
        )
    return folder


def _find_recipe(source: str) -> Path | None:
    shipped = models_dir() / source
    if Path(source).name == source and (shipped / RECIPE_FILE).is_file():
        return shipped
    return Path(source) if (Path(source) / RECIPE_FILE).is_file() else None


def _shipped(wanted: str) -> str:
    """Return the names of the shipped policies, and the closest to what was wanted."""
    names = sorted(path.parent.name for path in models_dir().glob(f"*/{RECIPE_FILE}"))
    return f"{', '.join(names)}{did_you_mean(wanted, names)}"


def _with_spaces(
    options: ImportOptions, env: EnvSpec | None, env_by: str = "--env"
) -> ImportOptions:
    """Return the options with what the environment says and no option states.

    Args:
        env_by: who named the environment.
    """
    if env is None or (options.observation is not None and options.action_space is not None):
        return options
    from quarl.importers.spaces import spaces_of

    observation, action = spaces_of(env)
    by = f"{env_by} {env.id}"
    if options.observation is None:
        options = replace(options, observation=observation, observation_by=by)
    if options.action_space is None:
        options = replace(options, action_space=action, action_by=by)
    return options
