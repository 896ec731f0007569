"""Stable-Baselines3 and sb3-contrib zips: equal to the framework's own outputs, and refused where
they cannot be.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions
from quarl.importers import read_policy as ask_policy
from quarl.importers.proofs import ImportProof, NotProven, prove_import, sample_observations
from tests.conftest import need
from tests.support.answers import answering
from tests.support.bombs import bomb_pickle, replaced, torch_file, zip_bytes

need("torch", "stable_baselines3", "sb3_contrib")
# ruff: noqa: E402 (the imports below are what is needed)

import gymnasium as gym
import sb3_contrib as contrib
import stable_baselines3 as sb3
import torch
from gymnasium import spaces

torch.set_num_threads(1)
LOW, HIGH = (
    np.array([-1, 0, -3], np.float32),
    np.array([2, 1 / 3, 2.0943951], np.float32),
)  # uneven, one not exact in 8 digits


class Toy(gym.Env[Any, Any]):
    """Any spaces, no meaning."""

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


read_policy = answering(ask_policy)
VECTOR = spaces.Box(-np.inf, np.inf, (5,), np.float32)
PIXELS = spaces.Box(0, 255, (52, 44, 3), np.uint8)
FRAMES = spaces.Box(0, 255, (4, 52, 44), np.uint8)
CHOICES = spaces.Discrete(6)
PICTURE = spaces.Box(0, 255, (3, 52, 44), np.uint8)
BOX = spaces.Box(LOW, HIGH)
TORCH = torch.nn

Maker = Callable[..., Any]


def made(
    algorithm: Maker,
    policy: str,
    observations: spaces.Space[Any],
    actions: spaces.Space[Any],
    **options: Any,
) -> Any:
    """Return an agent with random weights large enough to reach every non-linearity."""
    if algorithm in (sb3.DQN, contrib.QRDQN, sb3.SAC, sb3.TD3, sb3.DDPG, contrib.TQC):
        options["buffer_size"] = 10
    agent = algorithm(policy, Toy(observations, actions), seed=3, device="cpu", **options)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for values in agent.policy.parameters():
            gain = 1.6 / max(1, values[0].numel()) ** 0.5 if values.ndim > 1 else 0.3
            values.copy_(torch.randn(values.shape, generator=generator) * gain)
    return agent


def saved(agent: Any, folder: Path, name: str = "policy.zip") -> Path:
    agent.save(folder / name)
    return folder / name


def proven(agent: Any, path: Path, policy: Policy) -> None:
    """Check outputs against the framework's network and actions against its `predict`."""
    proof = prove_import(path, policy, trust=True)
    assert isinstance(proof, ImportProof)
    assert proof.holds, proof
    assert proof.largest_output > 0.1, "outputs near 0 would prove nothing"
    assert proof.differing_actions == 0
    obs = sample_observations(policy.contract.observation, 64, np.random.default_rng(1))
    normalizer = policy.contract.observation.normalizer
    theirs, _ = agent.predict(
        obs if normalizer is None else normalizer.apply(obs).astype(np.float32), deterministic=True
    )
    ours = policy.act(obs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    if not policy.contract.observation.is_image:  # noise pictures look alike to a random network
        assert len(np.unique(ours)) > 1


def kwargs(**values: Any) -> dict[str, Any]:
    return {"policy_kwargs": values}


CASES: dict[str, tuple[str, int, tuple[Any, ...], dict[str, Any]]] = {
    # name: algorithm, nodes, (class, policy, observations, actions), options
    "ppo_discrete": ("PPO", 5, (sb3.PPO, "MlpPolicy", VECTOR, CHOICES), {}),
    "ppo_box_relu": (
        "PPO",
        5,
        (sb3.PPO, "MlpPolicy", VECTOR, BOX),
        kwargs(activation_fn=TORCH.ReLU),
    ),
    "ppo_elu_uneven": (
        "PPO",
        7,
        (sb3.PPO, "MlpPolicy", VECTOR, BOX),
        kwargs(activation_fn=TORCH.ELU, net_arch={"pi": [9, 7, 8], "vf": [4]}),
    ),
    "ppo_sigmoid": (
        "PPO",
        5,
        (sb3.PPO, "MlpPolicy", VECTOR, BOX),
        kwargs(activation_fn=TORCH.Sigmoid),
    ),
    "ppo_linear": ("PPO", 1, (sb3.PPO, "MlpPolicy", VECTOR, BOX), kwargs(net_arch=[])),
    "ppo_gsde": ("PPO", 5, (sb3.PPO, "MlpPolicy", VECTOR, BOX), {"use_sde": True}),
    "ppo_gsde_squashed": (
        "PPO",
        6,
        (sb3.PPO, "MlpPolicy", VECTOR, BOX),
        {"use_sde": True, **kwargs(squash_output=True)},
    ),
    "a2c": ("A2C", 5, (sb3.A2C, "MlpPolicy", VECTOR, CHOICES), kwargs(activation_fn=TORCH.ReLU6)),
    "trpo": ("TRPO", 5, (contrib.TRPO, "MlpPolicy", VECTOR, BOX), {}),
    "dqn": ("DQN", 5, (sb3.DQN, "MlpPolicy", VECTOR, CHOICES), {}),
    "dqn_tanh": (
        "DQN",
        3,
        (sb3.DQN, "MlpPolicy", VECTOR, CHOICES),
        kwargs(activation_fn=TORCH.Tanh, net_arch=[12]),
    ),
    "qrdqn": ("QR-DQN", 5, (contrib.QRDQN, "MlpPolicy", VECTOR, CHOICES), kwargs(n_quantiles=25)),
    "sac": ("SAC", 6, (sb3.SAC, "MlpPolicy", VECTOR, BOX), {}),
    "sac_gsde": ("SAC", 8, (sb3.SAC, "MlpPolicy", VECTOR, BOX), {"use_sde": True}),
    "sac_gsde_unclipped": (
        "SAC",
        6,
        (sb3.SAC, "MlpPolicy", VECTOR, BOX),
        {"use_sde": True, **kwargs(clip_mean=0.0)},
    ),
    "tqc_gsde": (
        "TQC",
        8,
        (contrib.TQC, "MlpPolicy", VECTOR, BOX),
        {"use_sde": True, **kwargs(clip_mean=0.7)},
    ),
    "td3": ("TD3", 6, (sb3.TD3, "MlpPolicy", VECTOR, BOX), {}),
    "ddpg": ("DDPG", 6, (sb3.DDPG, "MlpPolicy", VECTOR, BOX), {}),
    "ars": ("ARS", 6, (contrib.ARS, "MlpPolicy", VECTOR, BOX), {}),
    "ars_clipped": (
        "ARS",
        5,
        (contrib.ARS, "MlpPolicy", VECTOR, BOX),
        kwargs(squash_output=False, with_bias=False),
    ),
    "ars_discrete": ("ARS", 5, (contrib.ARS, "MlpPolicy", VECTOR, CHOICES), {}),
    "ars_linear": ("ARS", 1, (contrib.ARS, "LinearPolicy", VECTOR, BOX), {}),
    "ars_linear_squashed": (
        "ARS",
        2,
        (contrib.ARS, "LinearPolicy", VECTOR, BOX),
        kwargs(squash_output=True),
    ),
    "ppo_cnn": ("PPO", 10, (sb3.PPO, "CnnPolicy", PIXELS, CHOICES), {}),
    "ppo_cnn_separate": (
        "PPO",
        14,
        (sb3.PPO, "CnnPolicy", PIXELS, BOX),
        kwargs(share_features_extractor=False, net_arch=[8, 8]),
    ),
    "a2c_cnn_raw_pixels": (
        "A2C",
        10,
        (sb3.A2C, "CnnPolicy", FRAMES, CHOICES),
        kwargs(normalize_images=False),
    ),
    "dqn_cnn_frames": ("DQN", 10, (sb3.DQN, "CnnPolicy", FRAMES, CHOICES), {}),
    "qrdqn_cnn": (
        "QR-DQN",
        10,
        (contrib.QRDQN, "CnnPolicy", FRAMES, CHOICES),
        kwargs(n_quantiles=9),
    ),
    "sac_cnn": (
        "SAC",
        15,
        (sb3.SAC, "CnnPolicy", PIXELS, BOX),
        kwargs(features_extractor_kwargs={"features_dim": 33}, net_arch=[16, 16]),
    ),
    "td3_cnn": ("TD3", 11, (sb3.TD3, "CnnPolicy", PIXELS, BOX), kwargs(net_arch=[])),
    "mlp_on_pixels": ("PPO", 6, (sb3.PPO, "MlpPolicy", PIXELS, CHOICES), {}),
    "quantiles_straight_from_pixels": (
        "QR-DQN",
        2,
        (contrib.QRDQN, "MlpPolicy", PIXELS, CHOICES),
        kwargs(net_arch=[], n_quantiles=5),
    ),
    "clipped_mean_straight_from_pixels": (
        "SAC",
        5,
        (sb3.SAC, "MlpPolicy", PIXELS, BOX),
        {"use_sde": True, **kwargs(net_arch=[])},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_import_equals_stable_baselines3(case: str, tmp_path: Path) -> None:
    algorithm, nodes, arguments, options = CASES[case]
    agent = made(*arguments, **options)
    path = saved(agent, tmp_path)
    policy = read_policy(path)
    assert (policy.algorithm, len(policy.nodes)) == (algorithm, nodes)
    assert policy.framework == f"stable-baselines3 {sb3.__version__}"
    proven(agent, path, policy)


def test_gsde_really_clips_the_mean_in_the_case_above() -> None:
    agent = made(*CASES["sac_gsde"][2], use_sde=True)
    with torch.no_grad():
        means = agent.policy.actor.mu(agent.policy.actor.latent_pi(torch.randn(200, 5)))
    assert (means.abs() == 2).any()
    assert (means.abs() < 2).any()


def test_zips_of_earlier_releases_are_read(tmp_path: Path) -> None:
    agent = made(sb3.PPO, "CnnPolicy", PIXELS, CHOICES)
    path = saved(agent, tmp_path)
    expected = read_policy(path)

    def as_before(tensors: dict[str, Any]) -> None:  # one feature extractor, not named three times
        for name in [name for name in tensors if name.startswith(("pi_", "vf_"))]:
            del tensors[name]

    def in_gym(fields: dict[str, Any]) -> None:
        space = fields["action_space"]
        space.update({":type:": "<class 'gym.spaces.discrete.Discrete'>", "n": 6})
        del space["start"], space["_shape"]
        fields["observation_space"]["shape"] = fields["observation_space"].pop("_shape")

    data = edited(with_tensors(path.read_bytes(), as_before), in_gym)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {
            name: archive.read(name)
            for name in archive.namelist()
            if name != "_stable_baselines3_version"
        }
    path.write_bytes(zip_bytes(members))
    policy = read_policy(path)
    obs = sample_observations(policy.contract.observation, 8, np.random.default_rng(0))
    assert policy.framework == "stable-baselines3 of unknown version"
    assert np.array_equal(policy.outputs(obs), expected.outputs(obs))


def test_box_bounds_come_from_the_zip(tmp_path: Path) -> None:
    action = read_policy(saved(made(sb3.SAC, "MlpPolicy", VECTOR, BOX), tmp_path)).contract.action
    assert (action.kind, action.count, action.transform) == ("box", 3, "unscale")
    assert (action.low, action.high) == (tuple(LOW.tolist()), tuple(HIGH.tolist()))


def test_the_environments_bounds_are_taken_where_given_because_they_are_exact(
    tmp_path: Path,
) -> None:
    path = saved(made(sb3.PPO, "MlpPolicy", VECTOR, BOX), tmp_path)
    exact = Action("box", 3, tuple(LOW.astype(float)), tuple(HIGH.astype(float)))
    assert read_policy(path, ImportOptions(action_space=exact)).contract.action == exact
    with pytest.raises(InputError, match="give the environment it was trained on"):
        read_policy(path, ImportOptions(action_space=replace(exact, high=(2.0, 0.5, 2.0))))
    with pytest.raises(InputError, match=r"a box of 3 values .* discrete with 4 choices"):
        read_policy(path, ImportOptions(action_space=Action("discrete", 4)))


def test_bounds_printed_only_in_part_need_the_environment(tmp_path: Path) -> None:
    many = spaces.Box(np.linspace(-2, -1, 1001, dtype=np.float32), np.ones(1001, np.float32))
    agent = made(sb3.PPO, "MlpPolicy", VECTOR, many, policy_kwargs={"net_arch": [4]})
    path = saved(agent, tmp_path)
    with pytest.raises(
        InputError, match=r"bounds of its 1001 action values are not in the file: add --env ID"
    ):
        read_policy(path)
    given = Action("box", 1001, tuple(many.low.tolist()), tuple(many.high.tolist()))
    proven(agent, path, read_policy(path, ImportOptions(action_space=given)))
    with pytest.raises(InputError, match="the policy has 1001 action values"):
        read_policy(path, ImportOptions(action_space=Action("discrete", 2)))


def test_an_environment_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = saved(made(sb3.PPO, "MlpPolicy", VECTOR, CHOICES), tmp_path)
    with pytest.raises(
        InputError,
        match=r"a vector of shape \(5,\), --env says a vector of shape "
        r"\(4,\)",
    ):
        read_policy(path, ImportOptions(observation=Observation((4,), "float32", "vector")))


def test_pixels_keep_the_layout_of_the_environment_where_given(tmp_path: Path) -> None:
    path = saved(made(sb3.PPO, "CnnPolicy", PIXELS, CHOICES), tmp_path)
    assert read_policy(path).contract.observation == Observation((3, 52, 44), "uint8", "chw")
    given = Observation((52, 44, 3), "uint8", "hwc")
    policy = read_policy(path, ImportOptions(observation=given, step_hz=15.0))
    assert (policy.contract.observation, policy.contract.step_hz) == (given, 15.0)
    obs = sample_observations(given, 5, np.random.default_rng(0))
    assert np.array_equal(policy.outputs(obs), read_policy(path).outputs(obs.transpose(0, 3, 1, 2)))


def normalised(agent_class: Maker, **options: Any) -> tuple[Any, Any]:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    wide = spaces.Box(-1000, 1000, (5,), np.float32)
    env = VecNormalize(DummyVecEnv([lambda: Toy(wide, CHOICES)]), clip_obs=1.2)
    agent = agent_class("MlpPolicy", env, seed=3, device="cpu", **options)
    agent.learn(32)
    return agent, env


def statistics(env: Any) -> Normalizer:
    return Normalizer(
        tuple(env.obs_rms.mean.tolist()), tuple(env.obs_rms.var.tolist()), env.epsilon, env.clip_obs
    )


def test_a_policy_trained_under_vecnormalize_needs_its_statistics(tmp_path: Path) -> None:
    agent, env = normalised(sb3.PPO, n_steps=16, batch_size=16)
    path = saved(agent, tmp_path)
    with pytest.raises(
        InputError, match=r"trained with VecNormalize .*--obs-norm vecnorm.*or say --no-obs-norm"
    ):
        read_policy(path)
    assert (
        read_policy(path, ImportOptions(no_normalizer=True)).contract.observation.normalizer is None
    )
    policy = read_policy(path, ImportOptions(normalizer=statistics(env)))
    obs = np.random.default_rng(0).uniform(-1000, 1000, (200, 5)).astype(np.float32)
    seen = env.normalize_obs(obs)
    assert (np.abs(seen) == np.float32(1.2)).any(), "the clip must bite"
    theirs, _ = agent.predict(seen, deterministic=True)
    assert np.array_equal(policy.act(obs), theirs)
    assert np.array_equal(policy.graph_input(obs), seen)


def test_a_policy_trained_without_vecnormalize_needs_none(tmp_path: Path) -> None:
    for agent in (
        sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16),
        sb3.DQN("MlpPolicy", "CartPole-v1", learning_starts=4),
    ):
        agent.learn(32)
        assert read_policy(saved(agent, tmp_path)).contract.observation.normalizer is None


@pytest.mark.parametrize("kind", ["DQN", "SAC", "TD3"])
def test_an_off_policy_agent_on_vectors_is_always_asked(tmp_path: Path, kind: str) -> None:
    space = CHOICES if kind == "DQN" else BOX
    path = saved(made(getattr(sb3, kind), "MlpPolicy", VECTOR, space), tmp_path)
    with pytest.raises(InputError, match=rf"a {kind} agent does not say .*--no-obs-norm"):
        ask_policy(path)
    policy = ask_policy(path, ImportOptions(no_normalizer=True))
    assert "normaliser: none, --no-obs-norm" in policy.contract.stated


@pytest.mark.parametrize(
    ("zip_name", "pickle_name"),
    [
        ("agent.zip", "vecnormalize.pkl"),
        ("Env-v1.zip", "Env-v1/vecnormalize.pkl"),
        ("rl_model_500_steps.zip", "rl_model_vecnormalize_500_steps.pkl"),
    ],
)
def test_a_vecnormalize_file_beside_the_zip_is_not_overlooked(
    zip_name: str, pickle_name: str, tmp_path: Path
) -> None:
    agent, env = normalised(sb3.DQN, learning_starts=4, buffer_size=100)
    path = saved(agent, tmp_path, zip_name)
    (tmp_path / pickle_name).parent.mkdir(exist_ok=True)
    env.save(str(tmp_path / pickle_name))
    with pytest.raises(InputError, match=r"vecnormalize.*\.pkl lies beside it"):
        read_policy(path)
    assert (
        read_policy(path, ImportOptions(normalizer=statistics(env))).contract.observation.normalizer
        is not None
    )


def test_statistics_of_another_length_are_refused(tmp_path: Path) -> None:
    path = saved(made(sb3.PPO, "MlpPolicy", VECTOR, CHOICES), tmp_path)
    with pytest.raises(InputError, match="the normaliser has 2 features"):
        read_policy(path, ImportOptions(normalizer=Normalizer((0.0, 0.0), (1.0, 1.0), 1e-8, 10.0)))


def test_both_normaliser_options_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="were both given"):
        ImportOptions(normalizer=Normalizer((0.0,), (1.0,), 1e-8, 10.0), no_normalizer=True)


class Extractor(sb3.common.torch_layers.BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 5)

    def forward(self, observations: Any) -> Any:
        return observations * 2


REFUSED: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "activation": (
        "activation Softshrink is not carried over, only Tanh, ReLU, ReLU6, ELU, Sigmoid",
        (sb3.PPO, "MlpPolicy", VECTOR, CHOICES),
        kwargs(activation_fn=TORCH.Softshrink),
    ),
    "function": (
        "activation_fn is <function",
        (sb3.PPO, "MlpPolicy", VECTOR, CHOICES),
        kwargs(activation_fn=lambda: TORCH.Tanh()),
    ),
    "extractor": (
        "feature extractor Extractor is not carried over",
        (sb3.PPO, "MlpPolicy", VECTOR, CHOICES),
        kwargs(features_extractor_class=Extractor),
    ),
    "float_pixels": (
        "observations are float32 of shape",
        (sb3.PPO, "CnnPolicy", spaces.Box(0, 1, (3, 52, 44)), CHOICES),
        kwargs(normalize_images=False),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_carried_over_is_refused_by_name(case: str, tmp_path: Path) -> None:
    message, arguments, options = REFUSED[case]
    path = saved(made(*arguments, **options), tmp_path)
    with pytest.raises(UnsupportedError, match=message):
        read_policy(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound zip to damage."""
    return saved(
        made(sb3.SAC, "MlpPolicy", VECTOR, BOX), tmp_path_factory.mktemp("good")
    ).read_bytes()


def written(folder: Path, data: bytes) -> Path:
    path = folder / "policy.zip"
    path.write_bytes(data)
    return path


def edited(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        fields = json.loads(archive.read("data"))
    change(fields)
    return replaced(data, {"data": json.dumps(fields).encode()})


def with_tensors(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        tensors = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    change(tensors)
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return replaced(data, {"policy.pth": buffer.getvalue()})


def test_a_cut_off_zip_is_refused(good: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a complete zip"):
        read_policy(written(tmp_path, good[: len(good) // 2]))


def test_a_pickle_bomb_instead_of_the_weights_does_not_run(good: bytes, tmp_path: Path) -> None:
    bomb = bomb_pickle(tmp_path / "ran")
    for weights in (torch_file(bomb), bomb):
        with pytest.raises(InputError, match=r"posix.system|not a complete zip"):
            read_policy(written(tmp_path, replaced(good, {"policy.pth": weights})))
    with pytest.raises(UntrustedFileError):
        read_policy(written(tmp_path, replaced(good, {"policy.pth": torch_file(bomb)})))
    assert not (tmp_path / "ran").exists()


def test_a_pickle_bomb_in_the_json_is_never_loaded(good: bytes, tmp_path: Path) -> None:
    import base64

    bomb = base64.b64encode(bomb_pickle(tmp_path / "ran")).decode()

    def plant(fields: dict[str, Any]) -> None:
        objects = [
            value
            for value in fields.values()
            if isinstance(value, dict) and ":serialized:" in value
        ]
        assert len(objects) > 3
        for value in objects:
            value[":serialized:"] = bomb

    path = written(tmp_path, edited(good, plant))
    policy = read_policy(path)
    assert np.array_equal(
        policy.outputs(np.ones((1, 5))),
        read_policy(written(tmp_path, good)).outputs(np.ones((1, 5))),
    )
    proof = prove_import(written(tmp_path, edited(good, plant)), policy)
    assert isinstance(proof, NotProven)
    assert "--trust" in proof.reason
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_and_counted(
    good: bytes, value: float, tmp_path: Path
) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["actor.latent_pi.2.weight"][1, 2:4] = value

    with pytest.raises(
        InputError, match=r"actor.latent_pi.2: 2 of 65536 weights are NaN or infinite"
    ):
        read_policy(written(tmp_path, with_tensors(good, spoil)))


def _rename(tensors: dict[str, Any]) -> None:
    tensors["actor.latent_pi.3.weight"] = tensors.pop("actor.latent_pi.2.weight")
    tensors["actor.latent_pi.3.bias"] = tensors.pop("actor.latent_pi.2.bias")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("actor.mu.weight"), "has no tensor actor.mu.weight"),
        (
            lambda t: t.update({"actor.latent_pi.0.weight": torch.ones(256, 7)}),
            "takes 7 inputs, is given shape",
        ),
        (
            lambda t: t.update({"actor.mu.bias": torch.ones(2)}),
            r"weights \(3, 256\) and bias \(2,\) do not fit",
        ),
        (
            lambda t: t.update({"actor.latent_pi.1.weight": torch.ones(256)}),
            "actor.latent_pi.1 is not a Linear layer",
        ),
        (
            lambda t: t.update({"actor.latent_pi.0.running_mean": torch.ones(2)}),
            "with actor.latent_pi.0.running_mean",
        ),
        (_rename, "actor.latent_pi is not a plain sequence"),
        (
            lambda t: t.update({"actor.features_extractor.net.weight": torch.ones(2)}),
            "actor.features_extractor has tensors",
        ),
        (lambda t: t.clear(), "a state dict .* is needed"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    good: bytes, change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_policy(written(tmp_path, with_tensors(good, change)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("action_space"), "data has no action_space"),
        (lambda d: d.update(observation_space=3), "data has no observation_space"),
        (lambda d: d["action_space"].update(_shape=["x"]), "data has 'x' for shape"),
        (lambda d: d["action_space"].update(low="[-1. -inf  0.]"), "they must be finite"),
        (
            lambda d: d["action_space"].update(low="[1. 2.]"),
            "3 action values, but bounds for 2 and 3",
        ),
        (
            lambda d: d["action_space"].update(
                {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "many"}
            ),
            "data has 'many' for n",
        ),
        (
            lambda d: d["action_space"].update(
                {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "7"}
            ),
            "the action needs .7,.",
        ),
        (
            lambda d: d["policy_class"].update(__module__="__main__"),
            "policies of __main__ are not carried over",
        ),
        (lambda d: d.pop("policy_class"), "policies of an unnamed module"),
        (lambda d: d.update(policy_kwargs={"clip_mean": "x"}), "clip_mean is 'x'"),
    ],
)
def test_json_that_does_not_fit_is_named(
    good: bytes, change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_policy(written(tmp_path, edited(good, change)))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_member_that_is_not_the_json_is_refused(good: bytes, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data is (not JSON|not a JSON object)"):
        read_policy(written(tmp_path, replaced(good, {"data": data})))


def test_the_import_needs_neither_torch_nor_stable_baselines3_nor_tensorflow(
    good: bytes, tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from quarl.importers import *\n"
        "options = ImportOptions(no_normalizer=True)\n"
        "print(read_policy(Path(sys.argv[1]), options).algorithm)\n"
        "print([m for m in ('torch', 'stable_baselines3', 'tensorflow', 'gymnasium', "
        "'cloudpickle', 'onnx') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, written(tmp_path, good)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split("\n") == ["SAC", "[]", ""]


def test_a_layout_mistake_would_not_pass_the_proof(tmp_path: Path) -> None:
    from quarl.graph.policy import Dense, Node

    path = saved(made(sb3.PPO, "CnnPolicy", PIXELS, CHOICES), tmp_path)
    policy = read_policy(path)

    def naive(node: Node) -> Node:  # columns left in torch's order
        if not isinstance(node.op, Dense) or node.op.weights.shape[1] != 3 * 64 * 2:
            return node
        weights: NDArray[np.floating[Any]] = (
            node.op.weights.reshape(-1, 3, 2, 64)
            .transpose(0, 3, 1, 2)
            .reshape(node.op.weights.shape)
        )
        return replace(node, op=Dense(np.ascontiguousarray(weights), node.op.bias))

    wrong = replace(policy, nodes=tuple(naive(node) for node in policy.nodes))
    proof = prove_import(path, wrong, trust=True)
    assert isinstance(proof, ImportProof)
    assert not proof.holds
