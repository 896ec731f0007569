"""Training: a recipe becomes a complete folder that plays as its score says, again with the same
seed, and on from a checkpoint.
"""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from quarl.errors import InputError
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.episodes import run_episodes
from quarl.sources.recipe import RECIPE_FILE, ScoreRecipe, parse_recipe, read_recipe
from quarl.train import folder as policy_folder
from quarl.train import train
from tests.conftest import need

pytestmark = pytest.mark.train

ROOT = Path(__file__).parents[2]

PPO = """\
name = "tiny_ppo"
task = "Balance a pole for a moment"
algorithm = "PPO"
framework = "stable-baselines3"
source = "policy.zip"
normalizer = "normalizer.npz"
step_hz = 50.0

[env]
id = "CartPole-v1"

[train]
seed = 3
steps = 512
quick_steps = 128
envs = 4
normalize_observations = true

[train.hyperparameters]
net_arch = [8, 8]  # small
activation = "tanh"
n_steps = 32
batch_size = 64
n_epochs = 2
learning_rate = 1e-3
learning_rate_end = 0.0
evaluations = 2

[gate]
episodes = 100
margin = 0.05
failure = "return"
failure_return = 10.0
failure_margin = 0.05
random_return = 0.0  # measured
"""

DQN = (
    PPO.replace("tiny_ppo", "tiny_dqn")
    .replace('algorithm = "PPO"', 'algorithm = "DQN"')
    .replace('normalizer = "normalizer.npz"\n', "")
    .replace("normalize_observations = true", "normalize_observations = false")
    .replace("envs = 4", "envs = 1")
    .replace(
        "n_steps = 32\nbatch_size = 64\nn_epochs = 2\n",
        "learning_starts = 64\nbuffer_size = 1_000\n",
    )
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    need("torch", "stable_baselines3")
    for name, count in {
        "SCORE_EPISODES": 8,
        "RANDOM_EPISODES": 6,
        "FEWEST_EPISODES": 4,
        "MOST_EPISODES": 6,
    }.items():
        monkeypatch.setattr(f"quarl.train.{name}", count)
    monkeypatch.setattr("quarl.train.sb3.CHECKPOINT_EPISODES", 4)


def recipe_folder(root: Path, text: str) -> Path:
    folder = root / parse_recipe(text, "test").name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE_FILE).write_text(text)
    return folder


def test_training_writes_a_complete_folder_that_plays_as_its_score_says(tmp_path: Path) -> None:
    from stable_baselines3 import PPO as SB3PPO

    folder = recipe_folder(tmp_path / "recipes", PPO)
    out = tmp_path / "out" / "tiny_ppo"
    seen = []
    recipe = train(folder, out, runs=tmp_path / "runs", progress=seen.append)
    assert {path.name for path in out.iterdir()} == {
        "recipe.toml", "policy.zip", "normalizer.npz", "calibration.npz", "heldout.npz", "SOURCE.md"
    }  # fmt: skip
    assert recipe == read_recipe(out)
    assert recipe.score is not None
    assert [progress.steps for progress in seen] == sorted({progress.steps for progress in seen})
    assert seen[-1].total == 512

    with np.load(out / "normalizer.npz") as file:
        assert set(file) == {"mean", "var", "epsilon", "clip_obs"}
        statistics = {key: file[key] for key in file}
    model = SB3PPO.load(out / "policy.zip", device="cpu")

    def act(obs: np.ndarray) -> np.ndarray:
        scaled = (obs - statistics["mean"]) / np.sqrt(statistics["var"] + statistics["epsilon"])
        clipped = np.clip(scaled, -statistics["clip_obs"], statistics["clip_obs"])
        return model.predict(clipped.astype(np.float32), deterministic=True)[0]

    episodes = run_episodes(
        EnvSpec("CartPole-v1"),
        act,
        range(recipe.score.seed, recipe.score.seed + recipe.score.episodes),
    )
    assert episodes.returns.mean() == pytest.approx(recipe.score.mean_return, abs=1e-3)
    assert recipe.gate.random_return == pytest.approx(22.0, abs=12.0)


def test_calibration_and_heldout_are_raw_observations_of_other_episodes(tmp_path: Path) -> None:
    folder = recipe_folder(tmp_path, PPO)
    train(folder, folder, runs=tmp_path / "runs", quick=True)
    seen = {}
    for name, episodes in (("calibration", 6), ("heldout", 3)):
        with np.load(folder / f"{name}.npz") as file:
            obs, episode = file["obs"], file["episode"]
        assert obs.dtype == np.float32
        assert obs.shape == (len(episode), 4)
        assert episode.dtype == np.int32
        assert set(episode.tolist()) == set(range(episodes))
        assert np.abs(obs[:, 2]).max() < 0.3, "angles in radians, as the environment gives them"
        seen[name] = {row.tobytes() for row in obs}
    assert not seen["calibration"] & seen["heldout"]


def test_the_same_seed_gives_the_same_file_and_another_one_another(tmp_path: Path) -> None:
    digests = []
    for number, text in enumerate((PPO, PPO, PPO.replace("seed = 3", "seed = 4"))):
        folder = recipe_folder(tmp_path / str(number), text)
        train(folder, folder, runs=tmp_path / str(number) / "runs", quick=True)
        digests.append(hashlib.sha256((folder / "policy.zip").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("text", [PPO, DQN], ids=["PPO", "DQN"])
def test_a_resumed_training_goes_on_where_the_checkpoint_stands(tmp_path: Path, text: str) -> None:
    folder = recipe_folder(tmp_path, text)
    runs = tmp_path / "runs"
    train(folder, folder, runs=runs, quick=True)
    train(folder, folder, runs=runs, resume=True)
    with (runs / folder.name / "curve.csv").open(newline="") as file:
        steps = [int(row["steps"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))
    assert steps[0] <= 128 < 512 <= steps[-1]


def test_resuming_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    folder = recipe_folder(tmp_path, PPO)
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        train(folder, folder, runs=tmp_path / "runs", resume=True)


def test_a_folded_normalizer_is_gone_and_the_policy_acts_on_raw_observations(
    tmp_path: Path,
) -> None:
    from stable_baselines3 import PPO as SB3PPO

    plain = PPO.replace("evaluations = 2", "evaluations = 1\nclip_obs = 1e9")
    folded = plain.replace('normalizer = "normalizer.npz"\n', "").replace(
        "clip_obs = 1e9", "clip_obs = 1e9\nfold_normalizer = true"
    )
    folders = [
        recipe_folder(tmp_path / str(number), text) for number, text in enumerate((plain, folded))
    ]
    for folder in folders:
        train(folder, folder, runs=folder.parent / "runs", quick=True)
    with np.load(folders[0] / "normalizer.npz") as file:
        mean, std = file["mean"], np.sqrt(file["var"] + file["epsilon"])
    assert not (folders[1] / "normalizer.npz").exists()
    obs = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    scaled, raw = (SB3PPO.load(folder / "policy.zip", device="cpu").policy for folder in folders)
    expected = scaled.get_distribution(
        scaled.obs_to_tensor(((obs - mean) / std).astype(np.float32))[0]
    ).distribution.logits
    found = raw.get_distribution(raw.obs_to_tensor(obs)[0]).distribution.logits
    np.testing.assert_allclose(found.detach(), expected.detach(), atol=1e-5)


def test_the_zip_is_small_and_carries_no_training_state(tmp_path: Path) -> None:
    folder = recipe_folder(tmp_path, DQN)
    train(folder, folder, runs=tmp_path / "runs", quick=True)
    with zipfile.ZipFile(folder / "policy.zip") as archive:
        data, system = archive.read("data").decode(), archive.read("system_info.txt").decode()
    assert "_last_obs" not in data
    assert "Linux" not in system
    assert "Stable-Baselines3" in system
    assert (folder / "policy.zip").stat().st_size < 20_000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('algorithm = "PPO"', 'algorithm = "PPPO"', "PPPO"),
        ('framework = "stable-baselines3"', 'framework = "baselines"', "quarl trains with"),
        ('activation = "tanh"', 'activation = "sine"', "tanh, relu, elu"),
        ('id = "CartPole-v1"', 'id = "NoSuch-v1"', "NoSuch-v1"),
        ("evaluations = 2", "evaluations = 0", "evaluations"),
    ],
)
def test_a_recipe_that_cannot_be_trained_says_why(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    folder = recipe_folder(tmp_path, PPO.replace(old, new))
    with pytest.raises(InputError, match=message):
        train(folder, folder, runs=tmp_path / "runs", quick=True)


def test_the_measured_part_of_a_recipe_is_rewritten_and_the_rest_stays() -> None:
    first = policy_folder.fill_measured(PPO, ScoreRecipe(100.0, 5.0, 500, 1_000_000), 22.1)
    second = policy_folder.fill_measured(first, ScoreRecipe(123.4567, 6.0, 400, 7, 0.5), -1.5)
    recipe = parse_recipe(second, "test")
    assert recipe.score == ScoreRecipe(123.4567, 6.0, 400, 7, 0.5)
    assert recipe.gate.random_return == -1.5
    assert second.count("[score]") == 1
    assert "random_return = -1.5000  # measured" in second
    assert "net_arch = [8, 8]  # small" in second
    before, _, after = PPO.partition("[gate]")
    assert second.startswith(before.rstrip())
    assert policy_folder.fill_measured(second, recipe.score, -1.5) == second
    assert after.split("random_return")[0] in second


def test_one_command_trains_a_policy(tmp_path: Path) -> None:
    folder, runs = recipe_folder(tmp_path, PPO), tmp_path / "runs"
    done = quarl_train(tmp_path, str(folder), "--quick", "--runs", str(runs))
    assert done.returncode == 0, done.stderr
    assert " over " in done.stdout
    assert (runs / "tiny_ppo/policy/tiny_ppo/policy.zip").exists()


def test_the_command_answers_a_missing_recipe_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = quarl_train(tmp_path, str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert done.stderr.startswith("quarl: ")
    assert "Traceback" not in done.stderr


def quarl_train(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "quarl", "train", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


DDPG = (
    DQN.replace("tiny_dqn", "tiny_ddpg")
    .replace('"DQN"', '"DDPG"')
    .replace("CartPole-v1", "Pendulum-v1")
    .replace("failure_return = 10.0", "failure_return = -2000.0")
    .replace(
        "evaluations = 2",
        'action_noise = 0.3\naction_noise_kind = "ornstein-uhlenbeck"\nevaluations = 2',
    )
)  # fmt: skip


def test_ddpg_explores_with_the_noise_of_the_recipe(tmp_path: Path) -> None:
    from stable_baselines3 import DDPG as SB3DDPG

    folder = recipe_folder(tmp_path / "recipes", DDPG)
    train(folder, tmp_path / "out" / "tiny_ddpg", runs=tmp_path / "runs", quick=True)
    model = SB3DDPG.load(tmp_path / "out" / "tiny_ddpg" / "policy.zip")
    assert model.action_noise is not None
    assert "sigma=[0.3]" in repr(model.action_noise)
    assert "Ornstein" in repr(model.action_noise)


def test_another_kind_of_noise_is_refused(tmp_path: Path) -> None:
    text = DDPG.replace("ornstein-uhlenbeck", "pink")
    folder = recipe_folder(tmp_path / "recipes", text)
    with pytest.raises(InputError, match="action_noise_kind: 'pink'; allowed: normal, ornstein"):
        train(folder, tmp_path / "out" / "tiny_ddpg", runs=tmp_path / "runs", quick=True)
