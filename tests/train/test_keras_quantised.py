"""Quantisation-aware training of a Keras DQN: the student that learns is the policy that ships, and
the Keras file holds the real weights behind it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, ToolMissingError
from quarl.graph.reference import act, integer_outputs, real_outputs
from quarl.quantize.ladder import TRAINED_RUNG
from quarl.quantize.quantizer import widths_of
from quarl.quantize.widths import Widths
from quarl.sources.recipe import Recipe, parse_recipe
from quarl.train import train
from quarl.train.replay import Batch, Replay
from quarl.train.trained import Progress, Run, Trained
from tests.conftest import need
from tests.support.trained_integers import QAT, shipped_as_trained, steps_of
from tests.train.test_keras_dqn import TINY, few_episodes, recipe_folder

__all__ = ["few_episodes"]  # a fixture of this module too

pytestmark = pytest.mark.train

RECIPES = {
    "normalised": TINY + QAT,
    "raw": TINY.replace("normalize_observations = true", "normalize_observations = false") + QAT,
    "fixed": TINY + QAT + 'method = "fixed"\n',
    "three_layers": TINY.replace("layers = [8, 8]", "layers = [12, 9, 8]") + QAT,
    "point_to_point": TINY.replace('"CartPole-v1"', '"quarl.envs:quarl/PointToPoint-v0"').replace(
        "[train]\n", 'kwargs = { actions = "discrete" }\n\n[train]\n', 1
    )
    + QAT,
}


class KilledError(Exception):
    """What ends a training in the middle."""


@pytest.fixture(autouse=True)
def torch_is_there() -> None:
    need("torch")


def fit(text: str, run: Path, **options: Any) -> tuple[Recipe, Trained]:
    from quarl.train import keras_dqn

    recipe = parse_recipe(text, "test")
    return recipe, keras_dqn.fit(recipe, Run(run, **options))


def killed_after(steps: int) -> Callable[[Progress], None]:
    def kill(at: Progress) -> None:
        if at.steps > steps:
            raise KilledError

    return kill


def learner_of(run: Path, text: str = RECIPES["raw"]) -> Any:
    """Return the learner of a short training's run folder, as a resumed training has it."""
    from quarl.train.dqn_plan import read_plan
    from quarl.train.keras_quantised import Quantise

    recipe = parse_recipe(text, "test")
    assert recipe.qat is not None
    if not (run / "graft.pt").is_file():
        fit(text, run, quick=True)
    return Quantise(recipe.qat, read_plan(recipe), run).resume()


@pytest.mark.parametrize("name", RECIPES)
def test_what_learns_is_what_is_exported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 outputs of the training's forward pass differ from the integers', on 5,000 raw
    observations, far ones among them; the Keras network decides nearly alike.
    """
    from quarl.train import keras_quantised

    finish = keras_quantised.Quantise.finish
    differing: list[int] = []

    def watched(self: Any, learner: Any) -> Any:
        count = learner.online.quantizer.factor.shape[0]
        obs = np.random.default_rng(0).normal(0, 1, (5_000, count)).astype(np.float32)
        obs[:500] *= 100
        learner.keep_best()
        integers, _ = finish(self, learner)
        wanted = real_outputs(integers, integer_outputs(integers, obs))
        differing.append(int((learner.values(obs) != wanted).sum()))
        return finish(self, learner)

    monkeypatch.setattr(keras_quantised.Quantise, "finish", watched)
    _, trained = fit(RECIPES[name], tmp_path)
    assert differing == [0]
    assert trained.integers is not None
    assert trained.normalizer is None
    assert widths_of(trained.integers) == Widths(4, 8, 6)
    assert trained.integers.rung == TRAINED_RUNG
    with np.load(tmp_path / "graft.npz") as seen:
        obs = seen["obs"]
    assert (trained.actor(obs) == act(trained.integers, obs)).mean() > 0.85


def test_the_folder_ships_the_integers_and_the_real_weights_behind_them(tmp_path: Path) -> None:
    import keras

    out, runs = tmp_path / "out" / "tiny_dqn", tmp_path / "runs"
    train(recipe_folder(tmp_path / "recipes", RECIPES["normalised"]), out, runs=runs, quick=True)
    page = (out / "SOURCE.md").read_text()
    assert "weights int4, activations 6, inputs 10" in page
    assert "torch " in page
    assert "after 100 steps in\nfloat" in page  # half of a quick training
    network = keras.saving.load_model(out / "policy.keras", compile=False)
    with np.load(runs / "tiny_dqn" / "best-weights.npz") as kept:
        for layer in ("hidden_1", "hidden_2", "values"):
            weights, bias = network.get_layer(layer).get_weights()
            np.testing.assert_array_equal(weights.T, kept[f"{layer}/weights"].astype(np.float32))
            np.testing.assert_array_equal(bias, kept[f"{layer}/bias"].astype(np.float32))

    shipped_as_trained(out, tmp_path / "bundle")


def test_float_learns_in_the_delay_and_integers_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quarl.train import keras_learner, keras_quantised

    updates = {"float": 0, "integers": 0}

    def count(kind: str, learner: Any) -> None:
        update = learner.update

        def counted(self: Any, batch: Batch, *, share: float) -> None:
            updates[kind] += 1
            assert (share <= 0.3) == (kind == "float")
            update(self, batch, share=share)

        monkeypatch.setattr(learner, "update", counted)

    count("float", keras_learner.KerasLearner)
    count("integers", keras_quantised.IntegerLearner)
    fit(RECIPES["raw"].replace("delay = 0.5", "delay = 120"), tmp_path)
    assert updates == {"float": (120 - 64) // 4, "integers": (400 - 120) // 4}


@pytest.mark.parametrize("name", ["normalised", "raw"])
def test_the_network_that_is_taken_over_comes_back(name: str, tmp_path: Path) -> None:
    """Before the first update: wide integers give the network's values, and the real weights behind
    them are the network's own.
    """
    import keras

    from quarl.train.dqn_plan import read_plan
    from quarl.train.keras_quantised import Quantise

    text = RECIPES[name].replace("weights = 4\nactivations = 6", "weights = 8\nactivations = 14")
    recipe, _ = fit(text, tmp_path, quick=True)
    network = keras.saving.load_model(tmp_path / "graft.keras", compile=False)
    with np.load(tmp_path / "graft.npz") as seen:
        obs = seen["obs"]
    ones = np.ones(len(obs), bool)
    store = Replay(len(obs), (4,), np.float32, 1, 0.9)
    store.add(obs, ones, ones, obs, ones, ones)
    assert recipe.qat is not None
    quantise = Quantise(recipe.qat, read_plan(recipe), tmp_path)
    quantise.forget()
    learner = quantise.take_over(network, store)
    _, made = quantise.finish(learner)
    wanted = network(obs).numpy()
    assert np.abs(learner.values(obs) - wanted).max() < 0.05 * np.ptp(wanted)
    np.testing.assert_allclose(made(obs).numpy(), wanted, atol=1e-5 * np.abs(wanted).max())


def test_an_update_moves_values_towards_their_targets(tmp_path: Path) -> None:
    learner = learner_of(tmp_path)
    rng = np.random.default_rng(0)
    obs = rng.normal(0, 0.1, (64, 4)).astype(np.float32)
    action = rng.integers(2, size=64).astype(np.int32)
    reward = np.where(action == 1, 0.8, 0.3).astype(np.float32)
    batch = Batch(obs, action, reward, np.zeros(64, np.float32), obs)

    def error() -> float:
        values = learner.values(obs)[np.arange(64), action]
        return float(np.abs(values - reward).mean())

    before = error()
    for _ in range(200):
        learner.update(batch, share=0.0)
    assert error() < 0.3 * before


def test_the_target_network_follows_in_integers(tmp_path: Path) -> None:
    import torch

    learner = learner_of(tmp_path)
    obs = np.random.default_rng(0).normal(0, 0.1, (64, 4)).astype(np.float32)
    batch = Batch(obs, *(np.ones(64, kind) for kind in (np.int32, np.float32, np.float32)), obs)
    seen = []
    for _ in range(20):
        with torch.no_grad():
            target = learner.target(torch.from_numpy(obs)).numpy()
        seen.append((bool((target == learner.values(obs)).all()), target))
        learner.update(batch, share=0.5)
    equal = [number for number, (is_equal, _) in enumerate(seen) if is_equal]
    assert [number % 10 for number in equal] == [equal[0]] * len(equal)  # target_update = 10
    assert len({target.tobytes() for _, target in seen}) <= 3


@pytest.mark.parametrize("last", [120, 200, 280])  # in the delay, at its end, after it
def test_a_killed_training_goes_on_in_either_half(tmp_path: Path, last: int) -> None:
    text = RECIPES["normalised"].replace("evaluations = 2", "evaluations = 10")
    with pytest.raises(KilledError):
        fit(text, tmp_path, progress=killed_after(last - 1))
    assert (tmp_path / "graft.pt").is_file() == (last > 200)
    told: list[Progress] = []
    _, trained = fit(text, tmp_path, resume=True, progress=told.append)
    assert trained.integers is not None
    assert told[0].steps == (200 if last == 200 else last + 40)
    judged = sorted([*range(80, 401, 40), 200])  # at the delay's end in float and in integers
    assert steps_of(tmp_path) == judged


def test_what_learned_is_what_goes_on(tmp_path: Path) -> None:
    """Values, targets and optimiser come back as they were written."""
    learner = learner_of(tmp_path)
    obs = np.random.default_rng(1).normal(0, 0.1, (64, 4)).astype(np.float32)
    batch = Batch(obs, *(np.ones(64, kind) for kind in (np.int32, np.float32, np.float32)), obs)
    for _ in range(7):
        learner.update(batch, share=0.5)
    learner.write()
    again = learner_of(tmp_path)
    for each in (learner, again):
        for _ in range(15):
            each.update(batch, share=0.6)
    np.testing.assert_array_equal(learner.values(obs), again.values(obs))


def test_integers_of_an_earlier_training_do_not_come_back(tmp_path: Path) -> None:
    fit(RECIPES["raw"], tmp_path)
    assert (tmp_path / "graft.pt").is_file()
    text = RECIPES["raw"].replace("evaluations = 2", "evaluations = 8")
    with pytest.raises(KilledError):
        fit(text, tmp_path, progress=killed_after(80))
    assert not (tmp_path / "graft.pt").is_file()


def test_fixed_steps_do_not_move(tmp_path: Path) -> None:
    for name, are_learned in (("fixed", False), ("normalised", True)):
        learner = learner_of(tmp_path / name, RECIPES[name])
        steps = [p for n, p in learner.online.named_parameters() if n.endswith("log")]
        moved = any(bool((step != 0).any()) for step in steps if step.requires_grad)
        assert moved == are_learned


def test_the_same_seed_gives_the_same_integers(tmp_path: Path) -> None:
    made = [fit(RECIPES["normalised"], tmp_path / name)[1].integers for name in "ab"]
    obs = np.random.default_rng(0).normal(0, 1, (500, 4)).astype(np.float32)
    assert made[0] is not None
    assert made[1] is not None
    np.testing.assert_array_equal(integer_outputs(made[0], obs), integer_outputs(made[1], obs))


def test_a_teacher_may_come_before_the_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarl.train.keras_dqn.models_dir", lambda: tmp_path)
    teacher = recipe_folder(tmp_path, TINY)
    train(teacher, teacher, runs=tmp_path / "runs", quick=True)
    text = RECIPES["normalised"].replace("tiny_dqn", "tiny_student")
    text = text.replace(
        "epsilon = 0.4", 'epsilon = 0.4\nteacher = "tiny_dqn"\nteacher_updates = 20'
    )
    _, trained = fit(text, tmp_path / "student")
    assert trained.integers is not None


@pytest.mark.parametrize("delay", ["9000", "1.0", "398"])
def test_a_delay_longer_than_the_training_is_told_before_it(tmp_path: Path, delay: str) -> None:
    with pytest.raises(InputError, match=r"\[qat\]: .* ends after 400 steps .* a shorter delay"):
        fit(RECIPES["raw"].replace("delay = 0.5", f"delay = {delay}"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weights = 4", "weights = 9", "qat.weights"),
        ("activations = 6", "activations = 17", "qat.activations"),
        ("inputs = 10", "inputs = 2", "qat.inputs"),
        ("layers = [8, 8]", "layers = []", "widths above 0"),
    ],
)
def test_a_recipe_that_cannot_be_learned_in_integers_says_why(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit(RECIPES["raw"].replace(old, new), tmp_path)


def test_without_torch_one_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "quarl.train.keras_quantised", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    folder = recipe_folder(tmp_path, RECIPES["raw"])
    with pytest.raises(ToolMissingError, match=r"tiny_dqn: \[qat\] .* quarl\[sb3\]"):
        train(folder, folder, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
