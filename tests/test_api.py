"""The public functions: few, documented, quick to import, for files and for objects in memory."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import quarl
from quarl.bundle.release import Release
from tests.conftest import need

LIMITS = {"random_return": 20.0, "episodes": 8, "failure_margin": 1.0, "margin": 1.0}


class Reach(gymnasium.Env[Any, Any]):
    """A point that walks to the middle of a line: an environment nobody has registered."""

    observation_space = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length: int = 20) -> None:
        self._length = length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._at, self._step = float(self.np_random.uniform(-5, 5)), 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._at += float(np.clip(action[0], -1, 1))
        self._step += 1
        return self._seen(), -abs(self._at), False, self._step >= self._length, {}

    def _seen(self) -> Any:
        return np.array([self._at, 0.1 * self._step], np.float32)


def test_there_are_about_ten_names_and_each_has_its_words() -> None:
    assert set(quarl.__all__) <= set(dir(quarl))
    assert len(quarl.__all__) <= 15
    for name in quarl.__all__:
        value = getattr(quarl, name)
        assert value.__doc__, name
        assert "module" not in repr(type(value)), f"{name} is hidden by a package of its name"
    for name in ("export", "gate", "ship", "profile", "parity", "report", "play", "open_bundle"):
        parameters = inspect.signature(getattr(quarl, name)).parameters
        assert len(parameters) <= 6, name
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        quarl.exprot  # noqa: B018  # type: ignore[attr-defined]


@pytest.mark.long
def test_the_names_stay_functions_whatever_was_imported() -> None:
    program = (
        "import quarl, quarl.pipeline, quarl.reports.render, quarl.reports.player, quarl.cli.app\n"
        "assert all(callable(getattr(quarl, name)) for name in quarl.__all__)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_importing_quarl_imports_nothing_else() -> None:
    program = (
        "import sys; before = set(sys.modules); import quarl\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "assert not new & {'numpy', 'onnx', 'gymnasium', 'pydantic', 'torch', 'scipy'}, new"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "foreign"),
    [
        ("--version", "numpy pydantic scipy onnx"),
        ("ship --help", "numpy scipy onnx"),
        ("boards", "numpy scipy onnx gymnasium"),
        ("policies", "scipy onnx gymnasium"),
    ],
)
def test_a_command_loads_no_more_than_it_needs(command: str, foreign: str) -> None:
    program = (
        "import sys\n"
        "from quarl.cli import _run\n"  # what main() runs in a child
        "_run()\n"
        f"found = set(sys.modules) & set({foreign!r}.split())\n"
        "sys.exit(f'loaded: {found}' if found else 0)"
    )
    subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        check=True,
        timeout=120,
        stdout=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    out = tmp_path_factory.mktemp("api") / "cartpole"
    return quarl.export("cartpole_ppo", str(out), rung=3, limits=LIMITS)


@pytest.mark.long
def test_a_shipped_policy_goes_through_the_chain_by_its_name(release: Release) -> None:
    assert release.manifest.rung == 3
    evidence = quarl.parity(release, episodes=8)
    assert all(backend.differing == 0 for backend in evidence.backends)
    verdict = quarl.gate(release)
    assert verdict.answer == "pass", [check.detail for check in verdict.failed]
    assert quarl.gate(release, {"min_agreement": 1.0, "max_action_error": 0.0}).answer != "pass"
    page = quarl.report(str(release.folder))
    assert page == release.folder / "report.html"
    assert quarl.open_bundle(release.folder).manifest == release.manifest


def test_episodes_of_a_bundle_and_of_its_policy(release: Release) -> None:
    int8 = quarl.play(release, 2, int8=True)
    assert int8.returns.shape == (2,)
    assert quarl.play("cartpole_ppo", 2).returns.shape == (2,)


def test_values_print_on_one_line(release: Release) -> None:
    source = quarl.import_policy("cartpole_ppo")
    verdict = quarl.gate(release)
    for value in (release, source, source.policy, release.quantized, verdict):
        assert len(repr(value)) < 300, repr(value)[:400]
        assert "\n" not in repr(value)
    for value in (release, source, verdict):
        page = value._repr_html_()
        assert page.startswith("<table")
        assert "cartpole" in page


def test_a_model_and_an_environment_in_memory(tmp_path: Path) -> None:
    need("stable_baselines3")
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    env = VecNormalize(DummyVecEnv([Reach]))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, seed=0, device="cpu")
    model.learn(128)
    release = quarl.export(model, tmp_path / "out", env=Reach, rung=0, name="reach", limits=LIMITS)
    assert release.manifest.name == "reach"
    normalizer = release.contract.observation.normalizer
    assert normalizer is not None
    np.testing.assert_allclose(normalizer.mean, env.obs_rms.mean, rtol=1e-6)
    again = quarl.export(model, tmp_path / "two", env=Reach(), rung=0, name="reach", limits=LIMITS)
    np.testing.assert_array_equal(again.example.outputs, release.example.outputs)
    assert len(quarl.parity(release, env=Reach, episodes=4).paired.source.seeds) == 4  # type: ignore[union-attr]


def test_a_torch_module_with_its_spaces_and_observations(tmp_path: Path) -> None:
    need("torch")
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    obs = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    release = quarl.export(
        module,
        tmp_path / "out",
        observation_space=Reach.observation_space,
        action_space=Reach.action_space,
        observations=obs,
        rung=3,
    )
    with torch.no_grad():
        expected = np.clip(module(torch.from_numpy(release.example.obs)).numpy(), -1, 1)
    assert np.abs(release.example.actions - expected).max() < 0.1
    with pytest.raises(quarl.QuarlError, match="does not say what it sees"):
        quarl.import_policy(module)


def test_what_is_not_a_policy_or_an_environment_is_refused() -> None:
    with pytest.raises(quarl.QuarlError, match=r"builtins\.list: is not a policy"):
        quarl.import_policy([1, 2])
    with pytest.raises(quarl.QuarlError, match="int is not an environment"):
        quarl.import_policy("cartpole_ppo", env=3)
    with pytest.raises(quarl.QuarlError, match="neither a file nor a shipped policy"):
        quarl.ship("no_such_policy", "out")
