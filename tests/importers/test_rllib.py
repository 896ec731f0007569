"""Checkpoints of RLlib: read as data, with the outputs that RLlib itself gave for them.

The files of `tests/golden/rllib` are RLlib's own; `make_rllib.py` beside them wrote them.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, QuarlError, UntrustedFileError
from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, detect_format, read_policy
from quarl.importers.rllib_folder import MADE_WITH, MODULES, STATE
from tests.support.bombs import Bomb

GOLDEN = Path(__file__).parents[1] / "golden" / "rllib"
MODULE = f"{MODULES}/default_policy"


def read(path: Path, **said: Any) -> Policy:
    policy = read_policy(path, ImportOptions(**said))
    assert isinstance(policy, Policy)
    return policy


def copied(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / name, folder / name))


def centred(values: Any) -> Any:
    return values - values.mean(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("name", "algorithm", "meaning"),
    [
        ("ppo_choice", "PPO", lambda outputs: outputs),
        ("ppo_box", "PPO", lambda outputs: outputs[:, :1]),
        ("dqn", "DQN", centred),
        ("sac", "SAC", lambda outputs: np.tanh(outputs[:, :1])),
    ],
)
def test_a_checkpoint_gives_the_outputs_of_rllib(
    name: str, algorithm: str, meaning: Callable[[Any], Any]
) -> None:
    assert detect_format(GOLDEN / name) == "rllib"
    policy = read(GOLDEN / name)
    example = np.load(GOLDEN / name / "example.npz")
    found = policy.outputs(example["obs"])
    if name == "dqn":  # the value of duelling heads is the same for all actions
        found = centred(found)
    np.testing.assert_allclose(found, meaning(example["outputs"]), atol=1e-6)
    assert np.ptp(found) > 0.05
    assert (policy.algorithm, policy.framework) == (algorithm, "rllib")


def test_actions_are_spread_as_the_connectors_say(tmp_path: Path) -> None:
    action = read(GOLDEN / "ppo_box").contract.action
    assert (action.low, action.high, action.transform) == ((-2.0,), (2.0,), "unscale")
    path = copied("ppo_box", tmp_path)
    file = path / "env_runner/module_to_env_connector" / MADE_WITH
    content = file.read_bytes()
    assert content.count(b"normalize_actions\x94\x88") == 1  # True
    file.write_bytes(content.replace(b"normalize_actions\x94\x88", b"normalize_actions\x94\x89"))
    assert read(path).contract.action.transform == "clip"


def test_a_module_alone_is_asked_about_its_bounds(tmp_path: Path) -> None:
    alone = shutil.copytree(GOLDEN / "ppo_box" / MODULE, tmp_path / "box")
    with pytest.raises(InputError, match="--action box:1"):
        read(Path(alone))
    given = Action("box", 1, (-1.0,), (1.0,))
    assert read(Path(alone), action_space=given).contract.action == given
    alone = shutil.copytree(GOLDEN / "ppo_choice" / MODULE, tmp_path / "choice")
    assert read(Path(alone)).contract.action.count == 2


def test_the_activation_is_said_to_be_the_files_or_rllibs_own() -> None:
    assert "activation relu: the file" in read(GOLDEN / "ppo_box").contract.stated


def test_of_several_modules_one_is_asked_for(tmp_path: Path) -> None:
    path = copied("dqn", tmp_path)
    shutil.copytree(path / MODULE, path / MODULES / "other")
    with pytest.raises(InputError, match="2 modules") as caught:
        read(path)
    named = str(caught.value).rpartition(" ")[2]
    assert read(Path(named)).contract.action.count == 2


def test_a_filter_of_observations_is_asked_about(tmp_path: Path) -> None:
    path = copied("dqn", tmp_path)
    (path / "env_runner/env_to_module_connector/003_mean_std_filter").mkdir(parents=True)
    with pytest.raises(InputError, match=r"--obs-norm FILE.npz.*--no-obs-norm"):
        read(path)
    assert read(path, no_normalizer=True).contract.observation.normalizer is None


def test_other_networks_are_refused_with_a_way(tmp_path: Path) -> None:
    path = copied("dqn", tmp_path)
    file = path / MODULE / STATE
    state = {f"lstm.{key}": value for key, value in pickle.loads(file.read_bytes()).items()}
    file.write_bytes(pickle.dumps(state))
    with pytest.raises(QuarlError, match=r"not RLlib's MLP.*torch\.onnx\.export") as caught:
        read(path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", [STATE, MADE_WITH])
def test_a_pickle_that_would_run_code_runs_none(name: str, tmp_path: Path) -> None:
    path, marker = copied("dqn", tmp_path), tmp_path / "ran"
    (path / MODULE / name).write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises((InputError, UntrustedFileError)):
        read(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", [STATE, MADE_WITH])
def test_a_pickle_that_is_cut_off_is_one_message(name: str, tmp_path: Path) -> None:
    path = copied("dqn", tmp_path)
    file = path / MODULE / name
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(InputError, match="save the checkpoint again"):
        read(path)


def test_the_old_api_stack_is_named_with_its_way(tmp_path: Path) -> None:
    (tmp_path / "policies/default_policy").mkdir(parents=True)
    (tmp_path / "rllib_checkpoint.json").write_text("{}")
    with pytest.raises(InputError, match=r"export_model\(OUT, onnx=17\)"):
        read(tmp_path)
