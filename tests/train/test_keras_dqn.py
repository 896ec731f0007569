"""Training with Keras: a folder whose `.keras` plays as its score says, again with the same seed,
and on from a checkpoint.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from quarl.errors import InputError
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions
from quarl.rollouts.episodes import run_episodes
from quarl.sources.recipe import RECIPE_FILE, parse_recipe, read_recipe
from quarl.sources.source import open_source
from quarl.train import train
from quarl.train.trained import Progress, Run
from tests.conftest import need

pytestmark = pytest.mark.train

ROOT = Path(__file__).parents[2]

TINY = """\
name = "tiny_dqn"
task = "Balance a pole for a moment"
algorithm = "DQN"
framework = "keras"
source = "policy.keras"
step_hz = 50.0

[env]
id = "CartPole-v1"

[train]
seed = 3
steps = 400
quick_steps = 200
envs = 4
normalize_observations = true

[train.hyperparameters]
layers = [8, 8]
learning_rate = 1e-3
learning_rate_end = 1e-4
batch_size = 16
gamma = 0.98
n_step = 3
reward_scale = 0.1
buffer_size = 1_000
learning_starts = 64
updates_per_step = 1
target_update = 10
epsilon = 0.4
evaluations = 2

[gate]
episodes = 100
margin = 0.05
failure = "return"
failure_return = 10.0
failure_margin = 0.05
random_return = 0.0
"""


@pytest.fixture(autouse=True)
def few_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    need("tensorflow", "keras")
    for name, count in {
        "SCORE_EPISODES": 8,
        "RANDOM_EPISODES": 6,
        "FEWEST_EPISODES": 4,
        "MOST_EPISODES": 6,
    }.items():
        monkeypatch.setattr(f"quarl.train.{name}", count)
    monkeypatch.setattr("quarl.train.keras_dqn.CHECKPOINT_EPISODES", 4)
    monkeypatch.setattr("quarl.train.keras_dqn.NORMALIZED_STEPS", 20)


def recipe_folder(root: Path, text: str) -> Path:
    folder = root / parse_recipe(text, "test").name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE_FILE).write_text(text)
    return folder


def test_training_writes_a_complete_folder_that_plays_as_its_score_says(tmp_path: Path) -> None:
    import keras

    out = tmp_path / "out" / "tiny_dqn"
    recipe = train(recipe_folder(tmp_path, TINY), out, runs=tmp_path / "runs")
    assert {path.name for path in out.iterdir()} == {
        "recipe.toml",
        "policy.keras",
        "calibration.npz",
        "heldout.npz",
        "SOURCE.md",
    }
    assert recipe == read_recipe(out)
    assert recipe.score is not None
    network = keras.saving.load_model(out / "policy.keras", compile=False)

    def act(obs: np.ndarray) -> np.ndarray:
        return network(obs).numpy().argmax(axis=1)

    episodes = run_episodes(
        EnvSpec("CartPole-v1"),
        act,
        range(recipe.score.seed, recipe.score.seed + recipe.score.episodes),
    )
    assert episodes.returns.mean() == pytest.approx(recipe.score.mean_return, abs=1e-3)


def test_the_file_is_read_back_as_the_network_that_was_trained(tmp_path: Path) -> None:
    import keras

    folder = recipe_folder(tmp_path, TINY)
    train(folder, folder, runs=tmp_path / "runs", quick=True)
    policy = open_source(str(folder), ImportOptions(), None).policy
    assert isinstance(policy, Policy)
    with np.load(folder / "heldout.npz") as held:
        obs = held["obs"]
    network = keras.saving.load_model(folder / "policy.keras", compile=False)
    np.testing.assert_allclose(policy.outputs(obs), network(obs).numpy(), atol=1e-5)


def test_the_same_seed_gives_the_same_file_and_another_one_another(tmp_path: Path) -> None:
    digests = []
    for number, text in enumerate((TINY, TINY, TINY.replace("seed = 3", "seed = 4"))):
        folder = recipe_folder(tmp_path / str(number), text)
        train(folder, folder, runs=tmp_path / str(number) / "runs", quick=True)
        digests.append(hashlib.sha256((folder / "policy.keras").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_a_resumed_training_goes_on_where_the_checkpoint_stands(tmp_path: Path) -> None:
    folder, runs = recipe_folder(tmp_path, TINY), tmp_path / "runs"
    train(folder, folder, runs=runs, quick=True)
    train(folder, folder, runs=runs, resume=True)
    with (runs / folder.name / "curve.csv").open(newline="") as file:
        steps = [int(row["steps"]) for row in csv.DictReader(file)]
    assert steps == [100, 200, 400]


def test_a_resumed_training_keeps_its_normalisation(tmp_path: Path) -> None:
    import keras

    from quarl.train import keras_dqn

    class KilledError(Exception):
        pass

    def kill(at: Progress) -> None:
        raise KilledError

    recipe = parse_recipe(TINY, "test")
    with pytest.raises(KilledError):
        keras_dqn.fit(recipe, Run(tmp_path / "killed", progress=kill))
    keras_dqn.fit(recipe, Run(tmp_path / "killed", resume=True))
    keras_dqn.fit(recipe, Run(tmp_path / "whole"))
    means = [
        keras.saving.load_model(tmp_path / name / "best.keras", compile=False)
        .get_layer("normalization")
        .get_config()["mean"]
        for name in ("killed", "whole")
    ]
    np.testing.assert_array_equal(means[0], means[1])


def test_a_student_learns_its_teachers_values_and_its_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarl.train.keras_dqn.models_dir", lambda: tmp_path)
    teacher = recipe_folder(tmp_path, TINY)
    train(teacher, teacher, runs=tmp_path / "runs", quick=True)
    text = TINY.replace("tiny_dqn", "tiny_student").replace(
        "epsilon = 0.4", 'epsilon = 0.4\nteacher = "tiny_dqn"\nteacher_updates = 20'
    )
    student = recipe_folder(tmp_path, text)
    train(student, student, runs=tmp_path / "runs")
    assert (
        "in the first 20 updates the network learns the values that `tiny_dqn` gives"
        in (student / "SOURCE.md").read_text()
    )
    with (tmp_path / "runs" / "tiny_student" / "curve.csv").open(newline="") as file:
        assert int(next(csv.DictReader(file))["steps"]) > 64 + 20 * 4, (
            "the teacher's part is not judged"
        )

    stranger = recipe_folder(
        tmp_path, text.replace("tiny_student", "stranger").replace("CartPole-v1", "Acrobot-v1")
    )
    with pytest.raises(InputError, match="the same environment"):
        train(stranger, stranger, runs=tmp_path / "runs", quick=True)


def test_a_policy_that_may_not_be_the_best_is_not_kept(tmp_path: Path) -> None:
    from quarl.rollouts.episodes import Episodes
    from quarl.train.journal import Journal

    def played(mean: float) -> Episodes:
        return Episodes((1, 2), np.array([mean, mean]), np.array([3, 3], np.int32), None)

    journal = Journal(Run(tmp_path), 100)
    assert not journal.judge(10, played(9.0), may_be_best=False)
    assert journal.judge(20, played(5.0))
    assert not journal.judge(30, played(4.0))
    again = Journal(Run(tmp_path, resume=True), 100)
    assert again.steps == 30
    assert not again.judge(40, played(4.5))
    assert again.judge(50, played(5.0))


def test_resuming_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    folder = recipe_folder(tmp_path, TINY)
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        train(folder, folder, runs=tmp_path / "runs", resume=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('algorithm = "DQN"', 'algorithm = "PPO"', "quarl trains DQN with keras"),
        ('id = "CartPole-v1"', 'id = "NoSuch-v1"', "NoSuch-v1"),
        ('id = "CartPole-v1"', 'id = "Pendulum-v1"', "discrete actions"),
        ("gamma = 0.98\n", "", r"missing \['gamma'\]"),
        ("gamma = 0.98", "gamma = 0.98\nlambda = 1", r"unknown \['lambda'\]"),
        ("layers = [8, 8]", "layers = [8, 0]", "widths above 0"),
        ("batch_size = 16", "batch_size = 1.5", "an integer above 0"),
        ("epsilon = 0.4", "epsilon = 0", "a number above 0"),
    ],
)
def test_a_recipe_that_cannot_be_trained_says_why(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    folder = recipe_folder(tmp_path, TINY.replace(old, new))
    with pytest.raises(InputError, match=message):
        train(folder, folder, runs=tmp_path / "runs", quick=True)


def test_the_navigation_recipe_goes_its_whole_way_in_the_quick_form(tmp_path: Path) -> None:
    policy = ROOT / "models" / "nav_dqn_small"
    text = (
        (policy / "recipe.toml")
        .read_text(encoding="utf-8")
        .replace("quick_steps = 40_000", "quick_steps = 4_096")
    )
    recipe = train(
        recipe_folder(tmp_path, text),
        tmp_path / "out" / "nav_dqn_small",
        runs=tmp_path / "runs",
        quick=True,
    )
    assert recipe.score is not None
    assert recipe.score.success_rate is not None
