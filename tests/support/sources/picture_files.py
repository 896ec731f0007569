"""ONNX files with a picture among several inputs, as torch, Stable-Baselines3 and ML-Agents export
them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from quarl.sources.spaces import observation_from
from tests.support.sources.onnx_files import module
from tests.support.sources.sample import Sample, box, choice, to_onnx, told
from tests.support.sources.sb3_files import agent

ML_AGENTS = ("version_number", "continuous_actions", "deterministic_continuous_actions")
UNITY = "image:18x20x3+vector:5"


def camera(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    """Bytes, channels last, divided inside; a vector before them."""

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.eye = nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.ReLU(), nn.Flatten())
            self.body = nn.Sequential(nn.Linear(4 * 5 * 6 + 5, 8), nn.Tanh(), nn.Linear(8, 2))

        def forward(self, state: Any, view: Any) -> Any:
            seen = self.eye(view.permute(0, 3, 1, 2).float() / 255)
            return self.body(torch.cat([seen, state], dim=1))

    return Net(), (torch.zeros(2, 5), torch.zeros(2, 18, 20, 3, dtype=torch.uint8))


def unity(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    """As ML-Agents exports an agent with a camera: floats from 0 to 1, channels first."""

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.eye = nn.Sequential(
                *(nn.Conv2d(3, 4, 4, stride=2), nn.LeakyReLU()),
                *(nn.Conv2d(4, 4, 3, stride=2), nn.LeakyReLU(), nn.Flatten()),
                *(nn.Linear(4 * 3 * 4, 8), nn.LeakyReLU()),
            )
            self.body = nn.Sequential(nn.Linear(13, 8), nn.SiLU(), nn.Linear(8, 2))
            self.register_buffer("version", torch.full((1,), 3))

        def forward(self, obs_0: Any, obs_1: Any) -> Any:
            mean = self.body(torch.cat([self.eye(obs_0), obs_1], dim=1))
            drawn = torch.clamp(mean + torch.randn_like(mean), -3, 3) / 3
            return self.version, drawn, torch.clamp(mean, -3, 3) / 3

    return Net(), (torch.zeros(2, 3, 18, 20), torch.zeros(2, 5))


def of_agent(folder: Path) -> Path:
    """As the documentation of Stable-Baselines3 exports a policy, of a Dict with an image."""
    import torch
    from stable_baselines3 import PPO

    zip_file = agent("PPO", "dict with image", "Discrete", "MultiInputPolicy")(folder)
    policy = PPO.load(zip_file, device="cpu").policy

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.policy = policy

        def forward(self, view: Any, speed: Any) -> Any:
            return self.policy({"speed": speed, "view": view}, deterministic=True)

    view = torch.zeros(2, 3, 36, 36, dtype=torch.uint8)
    return to_onnx(
        Net(), (view, torch.zeros(2, 5)), folder / "agent.onnx",
        ("action", "value", "log_prob"), input_names=["view", "speed"],
    )  # fmt: skip


def unity_file() -> Callable[[Path], Path]:
    made: Callable[[Path], Path] = module(unity, outputs=ML_AGENTS, input_names=["obs_0", "obs_1"])
    return made


PICTURES: tuple[Sample, ...] = (
    Sample(
        "ONNX from torch",
        "CNN beside a vector, two inputs",
        "Dict with an image, Box",
        module(camera, input_names=["state", "view"]),
        told(box(2)),
    ),
    Sample(
        "ONNX of ML-Agents",
        "CNN beside a vector, drawn and deterministic actions",
        "Dict with an image, Box",
        unity_file(),
        told(box(2), observation_from(UNITY, "--observation")),
    ),
    Sample(
        "ONNX as Stable-Baselines3 documents it",
        "MultiInputPolicy",
        "Dict with an image, Discrete",
        of_agent,
        told(choice(3)),
    ),
)
