"""Files that torch writes: programs, exported graphs, checkpoints, state dicts, safetensors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.sources.sample import Sample, box, choice, shaken, told

INFINITE = float("inf")


def actor(torch: Any, nn: Any) -> Any:
    class Actor(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Linear(8, 16), nn.ELU(0.5), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 16)
            )
            self.act, self.head = nn.SiLU(), nn.Linear(16, 4)
            self.register_buffer("mean", torch.zeros(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.act(self.body((x - self.mean) / 2.0))
            left, right = torch.chunk(self.head(y), 2, dim=-1)
            return torch.clamp(torch.cat([left, torch.tanh(right)], dim=-1), -1.5, 1.5)

    return shaken(Actor())


def program(kind: str) -> Callable[[Path], Path]:
    """Return the maker of a TorchScript archive or a `torch.export` file."""

    def make(folder: Path) -> Path:
        import torch
        from torch import nn

        module, example = actor(torch, nn), torch.zeros(2, 8)
        path = folder / ("policy.pt2" if kind == "export" else "policy.pt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "export":
                batch = torch.export.Dim("batch")
                made = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
                torch.export.save(made, path)
            elif kind == "trace":
                torch.jit.trace(module, example).save(str(path))
            else:
                scripted = torch.jit.script(module)
                (torch.jit.freeze(scripted) if kind == "freeze" else scripted).save(str(path))
        return path

    return make


def chain(prefix: str, *widths: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of Linear layers at 0, 2, 4 ... of a Sequential."""
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[np.float32]] = {}
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        weights = rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
        found[f"{prefix}{2 * place}.weight"] = weights
        found[f"{prefix}{2 * place}.bias"] = rng.normal(0, 0.1, outputs).astype(np.float32)
    return found


def saved(make: Callable[[], Mapping[str, Any]], name: str = "model.pt") -> Callable[[Path], Path]:
    """Return the maker of a file of `torch.save`."""

    def write(folder: Path) -> Path:
        import torch

        def tensors(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: tensors(entry) for key, entry in value.items()}
            return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

        torch.save(tensors(dict(make())), folder / name)
        return folder / name

    return write


def rsl_rl() -> Mapping[str, Any]:
    state = {**chain("actor.", 48, 32, 12), **chain("critic.", 48, 32, 1)}
    statistics = {
        f"actor_obs_normalizer.{name}": np.full((1, 48), value, np.float32)
        for name, value in (("_mean", 0.5), ("_var", 4), ("_std", 2))
    }
    return {"model_state_dict": {**state, **statistics}, "iter": 100, "infos": None}


def rl_games() -> Mapping[str, Any]:
    head = {key.replace("0.", "mu.", 1): value for key, value in chain("", 16, 4).items()}
    state = {
        **chain("a2c_network.actor_mlp.", 20, 32, 16),
        **{f"a2c_network.{key}": value for key, value in head.items()},
        "running_mean_std.running_mean": np.full(20, 0.5),
        "running_mean_std.running_var": np.full(20, 4.0),
    }
    return {"model": {f"_orig_mod.{key}": v for key, v in state.items()}, "epoch": 5}


def skrl() -> Mapping[str, Any]:
    head = {key.replace("0.", "policy_layer.", 1): v for key, v in chain("", 16, 4).items()}
    policy = {**chain("net_container.", 20, 32, 16), **head}
    scaler = {"running_mean": np.full(20, 0.5), "running_variance": np.full(20, 4.0)}
    return {"policy": policy, "state_preprocessor": scaler}


def cleanrl_sac() -> Mapping[str, Any]:
    rename = {"0.": "fc1.", "2.": "fc2.", "4.": "fc_mean."}
    tensors = {
        next(new + key[2:] for old, new in rename.items() if key.startswith(old)): value
        for key, value in chain("", 5, 16, 16, 2).items()
    }
    bounds = {"action_scale": np.full((1, 2), 2, np.float32)}
    return {**tensors, **bounds, "action_bias": np.zeros((1, 2), np.float32)}


def safetensors(folder: Path) -> Path:
    header, body = {}, b""
    for name, value in chain("actor.", 6, 16, 16, 3).items():
        data = value.tobytes()
        places = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": places}
        body += data
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def row(source: str, operators: str, space: str, make: Any, options: Any, **more: Any) -> Sample:
    return Sample(source, operators, space, make, options, **more)


LIMITS = told(box(4, 1.5))
TARGETS = told(box(12, INFINITE), activation="elu")
MIXED = "ELU, SiLU, BatchNorm, chunk, clip"
TORCH: tuple[Sample, ...] = (
    row("TorchScript, scripted", MIXED, "vector, Box", program("script"), LIMITS, trusts=True),
    row("TorchScript, traced", MIXED, "vector, Box", program("trace"), LIMITS, trusts=True),
    row("TorchScript, frozen", MIXED, "vector, Box", program("freeze"), LIMITS, trusts=True),
    row(
        "torch.export .pt2",
        MIXED,
        "vector, Box",
        program("export"),
        LIMITS,
        trusts=True,
        is_slow=True,
    ),
    row(
        "rsl_rl checkpoint", "ELU, normaliser", "vector, Box without bounds", saved(rsl_rl), TARGETS
    ),
    row(
        "rl_games checkpoint",
        "ELU, normaliser",
        "vector, Box",
        saved(rl_games),
        told(box(4, 2.0), activation="elu"),
    ),
    row(
        "skrl checkpoint",
        "ELU, normaliser",
        "vector, Box",
        saved(skrl),
        told(box(4), activation="elu"),
    ),
    row(
        "state dict",
        "a chain of Linear",
        "vector, Discrete",
        saved(lambda: chain("net.", 6, 16, 3)),
        told(choice(3), activation="silu"),
    ),
    row(
        "state dict of torch.compile",
        "a chain of Linear",
        "vector, Discrete",
        saved(lambda: chain("_orig_mod.actor.", 6, 16, 16, 3)),
        told(choice(3), activation="tanh"),
    ),
    row(
        "CleanRL checkpoint",
        "DQN",
        "vector, Discrete",
        saved(lambda: chain("network.", 6, 16, 16, 3), "agent.cleanrl_model"),
        told(),
    ),
    row(
        "CleanRL checkpoint",
        "continuous PPO",
        "vector, Box",
        saved(lambda: chain("actor_mean.", 6, 16, 16, 2)),
        told(box(2), no_normalizer=True),
    ),
    row("CleanRL checkpoint", "SAC", "vector, Box", saved(cleanrl_sac), told(no_normalizer=True)),
    row(
        "safetensors",
        "CleanRL's PPO",
        "vector, Discrete",
        safetensors,
        told(choice(3), activation="tanh"),
    ),
)
