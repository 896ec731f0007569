"""The lines that quarl prints for an agent with a network of its author's own are tried as they
stand: they write a file that is read, and that acts as the agent does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import UnsupportedError
from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, read_policy
from tests.conftest import need

MODULE = """
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

class Squares(BaseFeaturesExtractor):
    def __init__(self, space, features_dim=8):
        super().__init__(space, features_dim)
        self.body = torch.nn.Sequential(torch.nn.Linear(space.shape[0], 8), torch.nn.SiLU())
    def forward(self, obs):
        return self.body(obs)
"""


@pytest.mark.every(2)
@pytest.mark.parametrize(
    ("algorithm", "env"),
    [
        ("PPO", "Pendulum-v1"),
        ("SAC", "Pendulum-v1"),
        ("TD3", "Pendulum-v1"),
        ("DQN", "CartPole-v1"),
    ],
)
def test_the_lines_printed_write_a_file_that_acts_as_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, env: str
) -> None:
    need("stable_baselines3")
    (tmp_path / "own_network.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_network", raising=False)
    import own_network  # type: ignore[import-not-found]
    import stable_baselines3
    import torch

    torch.set_num_threads(1)
    kwargs = {"features_extractor_class": own_network.Squares, "net_arch": [8]}
    small = {} if algorithm == "PPO" else {"buffer_size": 8}
    kind: Any = getattr(stable_baselines3, algorithm)
    agent = kind("MlpPolicy", env, policy_kwargs=kwargs, seed=1, device="cpu", **small)
    agent.save(tmp_path / "agent.zip")
    with pytest.raises(UnsupportedError, match="Squares is not carried over") as caught:
        read_policy(tmp_path / "agent.zip")
    lines = str(caught.value).split("\n\n", 1)[1]
    script = tmp_path / "route.py"
    script.write_text(lines)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    space = agent.action_space
    is_box = hasattr(space, "high")
    action = Action("box", 1, (-2.0,), (2.0,)) if is_box else Action("discrete", 2)
    policy = read_policy(tmp_path / "agent.onnx", ImportOptions(action_space=action))
    assert isinstance(policy, Policy)
    obs = np.random.default_rng(0).normal(size=(32, *agent.observation_space.shape))
    wanted, _ = agent.predict(obs.astype(np.float32), deterministic=True)
    np.testing.assert_allclose(policy.act(obs.astype(np.float32)), wanted, atol=1e-5)
