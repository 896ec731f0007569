"""Settings and model cards beside a policy are read as text, and what they say is said to come from
there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from quarl.errors import InputError
from quarl.importers import ImportOptions
from quarl.sources.beside import card_environment, stated_rate
from quarl.sources.source import open_source
from tests.importers.test_stated import JOINTS, saved

ISAAC = """\
viewer:
  eye: !!python/tuple
  - 7.5
sim:
  physics_prim_path: /physicsScene
  device: cuda:0
  dt: 0.005
  render_interval: 4
  physx:
    solver_type: 1
decimation: 4
episode_length_s: 20.0
"""
CARD = """\
---
library_name: stable-baselines3
tags:
- LunarLander-v3
- deep-reinforcement-learning
model-index:
- name: PPO
  results:
  - task:
      type: reinforcement-learning
    dataset:
      name: LunarLander-v3
      type: LunarLander-v3
---
# PPO agent playing **CartPole-v1**
"""


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("params/env.yaml", ISAAC, (50.0, "params/env.yaml")),
        ("exported/env.yaml", ISAAC, (50.0, "env.yaml")),
        ("params/deploy.yaml", "step_dt: 0.02\nstiffness: [1]\n", (50.0, "params/deploy.yaml")),
        ("params/env.yaml", ISAAC.replace("decimation: 4", "decimation: 0"), None),
        ("params/env.yaml", ISAAC.replace("0.005", "fast"), None),
        ("params/env.yaml", ISAAC + "decimation: 8\n", None),
        ("params/env.yaml", "sim:\n  a: 1\nother:\n  dt: 0.1\ndecimation: 4\n", None),
        ("params/agent.yaml", ISAAC, None),
    ],
)
def test_the_control_rate_is_what_the_settings_say(
    name: str, text: str, found: tuple[float, str] | None, tmp_path: Path
) -> None:
    written(tmp_path, name, text)
    (tmp_path / "exported").mkdir(exist_ok=True)
    assert stated_rate(tmp_path / "exported" / "policy.onnx") == found


def test_a_rate_from_the_settings_is_in_the_contract_with_its_file(tmp_path: Path) -> None:
    written(tmp_path, "params/env.yaml", ISAAC)
    (tmp_path / "exported").mkdir()
    path = saved(tmp_path / "exported" / "policy.onnx", {"joint_names": JOINTS})
    contract = open_source(str(path), ImportOptions(), None).policy.contract
    assert contract.step_hz == 50
    assert "rate: params/env.yaml" in contract.stated
    told = ImportOptions(step_hz=100.0, step_hz_by="contract.toml")
    contract = open_source(str(path), told, None).policy.contract
    assert (contract.step_hz, "rate: contract.toml" in contract.stated) == (100, True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CARD, "LunarLander-v3"),
        (
            CARD.replace("dataset:\n", "metrics:\n"),
            "LunarLander-v3",
        ),
        ("---\ntags:\n- robots\n---\n# CartPole-v1", ""),
        ("# CartPole-v1", ""),
        ("", ""),
    ],
)
def test_the_environment_is_what_the_cards_head_names(
    text: str, found: str, tmp_path: Path
) -> None:
    written(tmp_path, "README.md", text)
    assert card_environment(tmp_path / "policy.onnx") == found


def test_a_question_about_actions_says_what_the_card_names(tmp_path: Path) -> None:
    written(tmp_path, "README.md", CARD)
    path = saved(tmp_path / "policy.onnx", {})
    with pytest.raises(InputError, match=r"README.md\) names LunarLander-v3: --env LunarLander-v3"):
        open_source(str(path), ImportOptions(), None)
