"""The control rate and the name of a policy: what an option says, and what the environment does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tests.support.short_env  # noqa: F401  # registers Short-v0
from quarl import pipeline
from quarl.bundle.policy_file import policy_bytes
from quarl.cli.option_groups import SourceOptions
from quarl.errors import InputError
from quarl.graph.contract import Action, Observation
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import linear_chain
from quarl.workers.progress import quietly
from tests.support.small_policies import dense, policy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    nodes = linear_chain([("head", dense(np.random.default_rng(0), 2, 2))])
    made = policy(nodes, Observation((2,), "float32", "vector"), Action("discrete", 2))
    path = tmp_path / "short.npz"
    path.write_bytes(policy_bytes(made))
    return path


def test_the_environments_render_fps_is_the_control_rate(file: Path) -> None:
    source = pipeline.import_source(str(file), env=EnvSpec("Short-v0"))
    assert source.policy.contract.step_hz == 20.0


def test_an_option_stands_before_the_environment(file: Path) -> None:
    options = SourceOptions(source=str(file), env="Short-v0", step_hz=125.0, name="left leg")
    source = options.open(quietly)
    assert source.policy.contract.step_hz == 125.0
    assert source.name == "left leg"
    plain = SourceOptions(source=str(file)).open(quietly)
    assert (plain.name, plain.policy.contract.step_hz) == ("short", None)


def test_the_option_stands_before_the_recipe() -> None:
    source = SourceOptions(source="cartpole_ppo", step_hz=10.0).open(quietly)
    assert source.policy.contract.step_hz == 10.0
    assert "rate: --step-hz" in source.policy.contract.stated


@pytest.mark.parametrize("step_hz", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_cannot_be_is_refused(file: Path, step_hz: float) -> None:
    with pytest.raises(InputError, match="must be a number above 0"):
        SourceOptions(source=str(file), step_hz=step_hz).open(quietly)


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", "a\nb", "a" * 201])
def test_a_name_that_cannot_be_shown_is_refused(file: Path, name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        SourceOptions(source=str(file), name=name).open(quietly)
