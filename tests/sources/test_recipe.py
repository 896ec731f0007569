"""Recipes: read strictly, every problem named, the measured part rewritten without touching the
rest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from quarl.errors import InputError
from quarl.sources.recipe import ScoreRecipe, list_recipes, parse_recipe, read_recipe

ROOT = Path(__file__).parents[2]
ROOTS = ("models", "tests/bench/policies", "tests/bench/stress")
FOLDERS = sorted(path.parent for root in ROOTS for path in (ROOT / root).glob("*/SOURCE.md"))

TEXT = """\
name = "toy_ppo"
task = "Keep a toy upright"  # one line
algorithm = "PPO"
framework = "stable-baselines3"
source = "policy.zip"
normalizer = "normalizer.npz"
step_hz = 50

[env]
id = "CartPole-v1"
kwargs = { sutton_barto_reward = true, sizes = [1, 2.5] }

[train]
seed = 1
steps = 1_000
quick_steps = 100
envs = 4
normalize_observations = true

[train.hyperparameters]
learning_rate = 1e-3
net_arch = [8, 8]
policy_kwargs = { log_std_init = -1.0 }

[score]
mean_return = 499.5
std_return = 2.0
success_rate = 0.75
episodes = 500
seed = 1_000_000

[gate]
episodes = 200
margin = 0.02
failure = "return"
failure_return = 475.0
failure_margin = 0.01
random_return = 22.5  # measured
min_agreement = 0.95
"""


def test_every_value_of_a_recipe_arrives() -> None:
    recipe = parse_recipe(TEXT, "here")
    assert (recipe.name, recipe.task, recipe.algorithm, recipe.framework) == (
        "toy_ppo",
        "Keep a toy upright",
        "PPO",
        "stable-baselines3",
    )
    assert (recipe.source, recipe.normalizer, recipe.step_hz) == (
        "policy.zip",
        "normalizer.npz",
        50.0,
    )
    assert (recipe.env.id, recipe.env.kwargs) == (
        "CartPole-v1",
        {"sutton_barto_reward": True, "sizes": [1, 2.5]},
    )
    assert (recipe.train.seed, recipe.train.steps, recipe.train.quick_steps, recipe.train.envs) == (
        1,
        1000,
        100,
        4,
    )
    assert recipe.train.hyperparameters["policy_kwargs"] == {"log_std_init": -1.0}
    assert recipe.score == ScoreRecipe(499.5, 2.0, 500, 1_000_000, 0.75)
    assert (recipe.gate.failure, recipe.gate.failure_return, recipe.gate.margin) == (
        "return",
        475.0,
        0.02,
    )
    assert (recipe.gate.min_agreement, recipe.gate.max_action_error) == (0.95, None)


def test_a_recipe_that_was_never_trained_has_no_score() -> None:
    start, end = TEXT.index("[score]"), TEXT.index("[gate]")
    assert parse_recipe(TEXT[:start] + TEXT[end:], "here").score is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("envs = 4", "envs = 4\nlanes = 4", "train.lanes: unknown key; known here: seed,"),
        ("[gate]", "[gait]\nspeed = 1\n[gate]", "gait: unknown key"),
        ("seed = 1\n", "", "train.seed: missing; it is a whole number from 0"),
        ("envs = 4", "envs = 0", "train.envs: 0; allowed: a whole number from 1"),
        ("envs = 4", "envs = true", "train.envs: True; allowed"),
        ("envs = 4", "envs = 4.0", "train.envs: 4.0; allowed"),
        ("step_hz = 50", "step_hz = 0", "step_hz: 0; allowed: a number above 0"),
        ("step_hz = 50", "step_hz = nan", "step_hz: nan; allowed"),
        ("margin = 0.02", "margin = 2", "gate.margin: 2; allowed: a number from 0 to 1"),
        ("margin = 0.02", "margin = -0.1", "gate.margin: -0.1; allowed"),
        ("margin = 0.02", 'margin = "2 %"', "gate.margin: '2 %'; allowed"),
        (
            "random_return = 22.5",
            "random_return = inf",
            "gate.random_return: inf; allowed: a finite number",
        ),
        (
            'failure = "return"',
            'failure = "crash"',
            'gate.failure: \'crash\'; allowed: "return", "success"',
        ),
        (
            "failure_return = 475.0\n",
            "",
            'gate.failure_return: missing; failure = "return" needs it',
        ),
        (
            'source = "policy.zip"',
            'source = "../policy.zip"',
            "source: '../policy.zip'; allowed: the name of a file",
        ),
        ('source = "policy.zip"', 'source = ""', "source: ''; allowed: text"),
        (
            "normalize_observations = true",
            "normalize_observations = 1",
            "train.normalize_observations: 1; allowed: true or false",
        ),
        (
            "normalize_observations = true",
            "normalize_observations = false",
            "normalizer: given, but",
        ),
        (
            "learning_rate = 1e-3",
            "learning_rate = 2026-01-01",
            "train.hyperparameters: learning_rate is datetime.date",
        ),
        ('task = "Keep a toy upright"', 'task = "Keep\\nupright"', "task: more than one line"),
        ("[score]\n", "[[score]]\n", "score: list; allowed: a table of mean_return,"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(InputError) as error:
        parse_recipe(TEXT.replace(old, new, 1), "here")
    assert message in str(error.value)


def test_all_problems_are_reported_together() -> None:
    text = (
        TEXT.replace("step_hz = 50", "step_hz = -1")
        .replace("envs = 4", "envz = 4")
        .replace("margin = 0.02\n", "")
    )
    with pytest.raises(InputError, match="here: 4 problems:") as error:
        parse_recipe(text, "here")
    for key in ("step_hz", "train.envs", "train.envz", "gate.margin"):
        assert f"  {key}: " in str(error.value)


def test_a_file_that_is_not_toml_or_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a TOML file"):
        parse_recipe("name = ", "here")
    with pytest.raises(InputError, match=r"there is no recipe\.toml"):
        read_recipe(tmp_path)
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path)


def test_the_folder_has_the_name_of_the_policy(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "recipe.toml").write_text(TEXT)
    with pytest.raises(InputError, match='name is "toy_ppo", the folder is "other"'):
        read_recipe(folder)


def test_policies_are_listed_by_name_and_other_folders_are_passed_over(tmp_path: Path) -> None:
    for name in ("b_ppo", "a_ppo"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.toml").write_text(TEXT.replace("toy_ppo", name))
    (tmp_path / "notes").mkdir()
    assert [recipe.name for recipe in list_recipes(tmp_path)] == ["a_ppo", "b_ppo"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_trained_policy_has_a_recipe_a_score_and_its_files(folder: Path) -> None:
    recipe = read_recipe(folder)
    assert recipe.score is not None
    present = {path.name for path in folder.iterdir()}
    wanted = {"recipe.toml", "SOURCE.md", "calibration.npz", "heldout.npz", recipe.source}
    assert wanted | ({recipe.normalizer} if recipe.normalizer else set()) == present - {
        "__pycache__"
    }
    assert f"{recipe.score.mean_return:.2f}" in (folder / "SOURCE.md").read_text()
