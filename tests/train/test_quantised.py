"""Quantisation-aware training: the actor that learns is the one that ships."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl import pipeline
from quarl.errors import InputError
from quarl.exporter.export import ExportRequest
from quarl.graph.reference import act
from quarl.importers import ImportOptions, read_policy
from quarl.quantize.ladder import TRAINED_RUNG
from quarl.quantize.quantizer import widths_of
from quarl.quantize.widths import Widths
from quarl.sources.recipe import Recipe, parse_recipe
from quarl.train import train
from quarl.train.trained import Progress, Run, Trained
from tests.conftest import need
from tests.support.trained_integers import QAT, anywhere, shipped_as_trained, steps_of
from tests.train.test_sb3 import DDPG, DQN, PPO, few_episodes, recipe_folder

__all__ = ["few_episodes"]  # a fixture of this module too


def on(text: str, algorithm: str, name: str) -> str:
    old = parse_recipe(text, "test")
    return text.replace(f'"{old.algorithm}"', f'"{algorithm}"').replace(old.name, name)


def normalised(text: str) -> str:
    return text.replace(
        'source = "policy.zip"\n', 'source = "policy.zip"\nnormalizer = "normalizer.npz"\n'
    ).replace("normalize_observations = false", "normalize_observations = true")


NOISE = 'action_noise = 0.3\naction_noise_kind = "ornstein-uhlenbeck"\n'
SAC = on(DDPG, "SAC", "tiny_sac").replace(NOISE, "")
RECIPES = {
    "ppo": PPO,
    "ppo_box": on(PPO, "PPO", "tiny_box").replace("CartPole-v1", "Pendulum-v1"),
    "a2c": on(PPO, "A2C", "tiny_a2c").replace("batch_size = 64\nn_epochs = 2\n", ""),
    "dqn": DQN,
    "dqn_normalised": normalised(on(DQN, "DQN", "tiny_dqnn")),
    "ddpg": DDPG,
    "td3": on(DDPG, "TD3", "tiny_td3"),
    "sac": SAC,
    "sac_normalised": normalised(on(SAC, "SAC", "tiny_sacn")),
    "sac_gsde": on(SAC, "SAC", "tiny_sde").replace("evalua", "use_sde = true\nevalua"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every forward pass of every training here, a target network's too, uses the weights of the
    moment.
    """
    from quarl.finetune.student import Student

    constants = Student._constants

    def watched(self: Student) -> dict[str, Any]:
        used = constants(self)
        self._frozen = None
        for name, expected in constants(self).items():
            for part, other in zip(used[name], expected, strict=True):
                assert bool((part == other).all()), f"{name}: made of weights of an earlier update"
        return used

    monkeypatch.setattr(Student, "_constants", watched)


def fit(text: str, run: Path, **options: Any) -> tuple[Recipe, Trained]:
    from quarl.train import sb3

    recipe = parse_recipe(text + QAT, "test")
    return recipe, sb3.fit(recipe, Run(run, **options))


@pytest.mark.every(2)
@pytest.mark.parametrize("name", RECIPES)
def test_what_acts_while_it_learns_is_what_is_exported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 actions of the model's own forward pass differ from the integers', on raw observations; the
    real weights behind the integers decide nearly alike.
    """
    from quarl.train import quantised

    finish = quantised.Quantise.finish
    compared: list[float] = []

    def watched(self: Any) -> Any:
        obs = anywhere(self.model.observation_space, 2_000)
        wanted = act(self.graft.integers(), obs)
        made, _ = self.model.predict(obs, deterministic=True)
        compared.append(float(np.abs(made.astype(np.float64) - wanted).max()))
        return finish(self)

    monkeypatch.setattr(quantised.Quantise, "finish", watched)
    recipe, trained = fit(RECIPES[name], tmp_path)
    # the actor of SAC is squashed by its distribution: the table of the export has 2^16 entries
    assert compared == [pytest.approx(0, abs=4 * 2.0**-15 if name.startswith("sac") else 0)]
    assert trained.integers is not None
    assert widths_of(trained.integers) == Widths(4, 8, 6)
    assert trained.integers.rung == TRAINED_RUNG
    assert (trained.normalizer is not None) == recipe.train.normalize_observations

    trained.save(tmp_path / "policy.zip")
    options = ImportOptions(trained.normalizer, no_normalizer=trained.normalizer is None)
    policy = read_policy(tmp_path / "policy.zip", options)
    with np.load(tmp_path / "checkpoint" / "graft.npz") as seen:
        obs = seen["obs"]
    source, made = policy.act(obs), act(trained.integers, obs)  # type: ignore[union-attr]
    if source.dtype.kind == "i":
        assert (source == made).mean() > 0.85
    else:
        assert np.abs(source - made).mean() < 0.06 * 4  # of the torque's range


def test_the_folder_ships_the_integers_that_were_trained(tmp_path: Path) -> None:
    folder = recipe_folder(tmp_path / "recipes", PPO + QAT)
    out = tmp_path / "out" / "tiny_ppo"
    recipe = train(folder, out, runs=tmp_path / "runs")
    assert recipe.qat is not None
    assert "weights int4, activations 6, inputs 10" in (out / "SOURCE.md").read_text()
    source = shipped_as_trained(out, tmp_path / "bundle")
    rounded = pipeline.export(source, tmp_path / "other", ExportRequest(rung=3))
    assert rounded.manifest.rung == 3


def test_integers_of_other_weights_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out" / "tiny_ppo"
    train(recipe_folder(tmp_path / "recipes", PPO + QAT), out, runs=tmp_path / "runs")
    text = (out / "recipe.toml").read_text()
    (out / "recipe.toml").write_text(text.replace("step_hz = 50.0", "step_hz = 25.0"))
    with pytest.raises(InputError, match=r"integers\.npz: belongs to other weights or another"):
        pipeline.import_source(str(out))


def test_a_killed_training_goes_on_in_integers(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(at: Progress) -> None:
        if at.steps > 400:
            raise KilledError

    text = RECIPES["ppo"].replace("evaluations = 2", "evaluations = 8")
    with pytest.raises(KilledError):
        fit(text, tmp_path, progress=kill)
    told: list[Progress] = []
    _, trained = fit(text, tmp_path, resume=True, progress=told.append)
    assert trained.integers is not None
    assert told[0].steps > 400
    assert told[-1].steps >= 512


def test_integers_of_an_earlier_training_do_not_come_back(tmp_path: Path) -> None:
    """A second training in the same folder, killed in its delay, resumes in float."""

    class KilledError(Exception):
        pass

    def kill(at: Progress) -> None:
        raise KilledError

    text = RECIPES["ppo"].replace("evaluations = 2", "evaluations = 8")
    fit(text, tmp_path)
    assert (tmp_path / "checkpoint" / "graft.pt").is_file()
    with pytest.raises(KilledError):
        fit(text, tmp_path, progress=kill)
    assert not (tmp_path / "checkpoint" / "graft.pt").is_file()


def test_a_delay_longer_than_the_training_is_told(tmp_path: Path) -> None:
    from quarl.train import sb3

    recipe = parse_recipe(PPO + QAT.replace("delay = 0.5", "delay = 9000"), "test")
    with pytest.raises(InputError, match=r"ended after 512 steps, before .* delay of 9,000"):
        sb3.fit(recipe, Run(tmp_path))


def test_the_delay_is_a_share_or_a_number_of_steps() -> None:
    recipe = parse_recipe(PPO + QAT, "test")
    assert recipe.qat is not None
    assert recipe.qat.delay_steps(1000) == 500
    assert replace(recipe.qat, delay=300).delay_steps(1000) == 300


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("weights = 4", "weights = 1", "qat.weights"),
        ("activations = 6", "activations = 17", "qat.activations"),
        ("inputs = 10", "inputs = 2", "qat.inputs"),
        ("delay = 0.5", "delay = -1", "qat.delay"),
        ("delay = 0.5", 'delay = 0.5\nmethod = "magic"', "qat.method"),
        ("delay = 0.5", "delay = 0.5\nbits = 4", "qat.bits"),
    ],
)
def test_a_wrong_table_is_refused_by_its_key(old: str, new: str, found: str) -> None:
    with pytest.raises(InputError, match=found):
        parse_recipe(PPO + QAT.replace(old, new), "test")


def test_an_algorithm_without_it_is_refused(tmp_path: Path) -> None:
    need("sb3_contrib")
    text = on(DQN, "QRDQN", "tiny_qrdqn")
    with pytest.raises(InputError, match=r"\[qat\]: QRDQN is not one of PPO, A2C, DQN"):
        fit(text, tmp_path)


def test_fixed_steps_do_not_move(tmp_path: Path) -> None:
    from quarl.train import quantised

    seen: list[Any] = []
    begin = quantised.Quantise.begin

    def watched(self: Any, obs: Any, **options: Any) -> None:
        begin(self, obs, **options)
        seen.append(self.graft.student)
        seen.append({n: p.clone() for n, p in self.graft.student.named_parameters()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantised.Quantise, "begin", watched)
        from quarl.train import sb3

        recipe = parse_recipe(PPO + QAT + 'method = "fixed"\n', "test")
        sb3.fit(recipe, Run(tmp_path))
    student, before = seen
    moved = {n: not bool((p == before[n]).all()) for n, p in student.named_parameters()}
    assert not any(is_moved for name, is_moved in moved.items() if name.endswith("log"))
    assert any(is_moved for name, is_moved in moved.items() if name.endswith("weight"))


def test_rounding_at_the_end_of_the_delay_is_the_first_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Integers that training spoils are not what ships: the rounded policy of the delay is."""
    from quarl.train import quantised

    rounded: list[Any] = []
    begin = quantised.Quantise.begin

    def watched(self: Any, obs: Any, **options: Any) -> None:
        begin(self, obs, **options)
        rounded.append(self.graft.integers())
        self.model.lr_schedule = lambda left: 10.0  # what learns on from here is lost

    monkeypatch.setattr(quantised.Quantise, "begin", watched)
    _, trained = fit(RECIPES["ppo"].replace("evaluations = 2", "evaluations = 8"), tmp_path)
    obs = np.random.default_rng(0).uniform(-1, 1, (500, 4)).astype(np.float32)
    assert trained.integers is not None
    np.testing.assert_array_equal(act(trained.integers, obs), act(rounded[0], obs))
    steps = steps_of(tmp_path)
    assert len(steps) == len(set(steps)) + 1  # twice at the delay's end: in float and in integers
