"""ONNX files as torch, robot stacks, game engines and RL libraries export them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from quarl.graph.contract import Action
from tests.support.sources.sample import (
    Sample,
    box,
    choice,
    image,
    shaken,
    to_onnx,
    told,
    vector,
)

INFINITE = float("inf")


def layers(*functions: str) -> Callable[[Path], Path]:
    """Return the maker of an MLP with these activations, one behind the other."""

    def make(folder: Path) -> Path:
        import torch
        from torch import nn

        kinds = {
            "ELU(0.5)": lambda: nn.ELU(0.5),
            "GELU(tanh)": lambda: nn.GELU(approximate="tanh"),
            "PReLU": lambda: nn.PReLU(8),
            "BatchNorm": lambda: nn.BatchNorm1d(8),
            "RMSNorm": lambda: nn.RMSNorm(8),
            "LayerNorm": lambda: nn.LayerNorm(8),
        }
        body: list[Any] = []
        for function in functions:
            make_one = kinds.get(function) or getattr(nn, function)
            body += [nn.Linear(5 if not body else 8, 8), make_one()]
        module = nn.Sequential(*body, nn.Linear(8, 3))
        return to_onnx(shaken(module), (torch.zeros(2, 5),), folder / "policy.onnx")

    return make


def module(build: Callable[[Any, Any], tuple[Any, tuple[Any, ...]]], **more: Any) -> Any:
    """Return the maker of a file from `build(torch, nn)`, which gives a module and its inputs."""

    def make(folder: Path) -> Path:
        import torch
        from torch import nn

        made, example = build(torch, nn)
        return to_onnx(shaken(made), example, folder / "policy.onnx", **more)

    return make


def cnn(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 4, 3, stride=2, padding=1),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.ZeroPad2d((1, 0, 0, 1)),
                nn.Conv2d(4, 4, 3, groups=4),
                nn.SiLU(),
                nn.MaxPool2d(2),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(4, 3),
            )

        def forward(self, x: Any) -> Any:
            return self.body(x.float() / 255)

    return Net(), (torch.zeros(2, 3, 12, 10, dtype=torch.uint8),)


def window(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    body = nn.Sequential(nn.Conv1d(3, 6, 3, padding=1), nn.ELU(), nn.Flatten(), nn.Linear(48, 2))
    return body, (torch.zeros(2, 3, 8),)


def history(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    body = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Flatten(), nn.Linear(32, 2))
    return body, (torch.zeros(2, 8, 3),)


def pooled(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    body = nn.Sequential(
        nn.Conv1d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    return body, (torch.zeros(2, 3, 8),)


def encoder(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.code, self.head = nn.Linear(6, 4), nn.Linear(8, 3)
            self.register_buffer("order", torch.tensor([3, 1, 0, 2]), persistent=False)

        def forward(self, x: Any) -> Any:
            state, seen = x[:, :4], x[:, 4:]
            left, right = torch.split(torch.tanh(self.code(seen)), 2, dim=1)
            return self.head(torch.cat([state[:, self.order], right, left], dim=1))

    return Net(), (torch.zeros(2, 10),)


def residual(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            h = torch.relu(self.first(x))
            return self.head(h + torch.tanh(self.second(h)))

    return Net(), (torch.zeros(2, 5),)


def ensemble(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(
                nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(3)
            )

        def forward(self, x: Any) -> Any:
            return torch.stack([part(x) for part in self.parts]).mean(dim=0)

    return Net(), (torch.zeros(2, 5),)


def duelling(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body, self.a, self.v = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 1)

        def forward(self, x: Any) -> Any:
            h = torch.relu(self.body(x))
            gain = self.a(h)
            return self.v(h) + gain - gain.mean(dim=1, keepdim=True)

    return Net(), (torch.zeros(2, 5),)


def halves(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    return nn.Sequential(nn.Linear(5, 8), nn.ELU(), nn.Linear(8, 6)), (torch.zeros(2, 5),)


def recipe(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    """As the documentation of Stable-Baselines3 exports PPO: actions, values, log-probability."""

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body, self.action_net = nn.Linear(5, 8), nn.Linear(8, 2)
            self.value_net, self.log_std = nn.Linear(8, 1), nn.Parameter(torch.zeros(2))

        def forward(self, x: Any) -> Any:
            h = torch.tanh(self.body(x))
            mean = self.action_net(h)
            spread = torch.ones_like(mean) * self.log_std.exp()
            log_prob = (-((mean - mean) ** 2) / (2 * spread**2) - spread.log()).sum(dim=1)
            return mean, self.value_net(h), log_prob

    return Net(), (torch.zeros(2, 5),)


def squashed(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2), nn.Tanh()), (
        torch.zeros(2, 5),
    )


def clipped(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
            self.register_buffer("mean", torch.zeros(5))
            self.register_buffer("var", torch.ones(5))

        def forward(self, x: Any) -> Any:
            seen = torch.clamp((x - self.mean) / torch.sqrt(self.var + 1e-8), -5.0, 5.0)
            return torch.clamp(self.body(seen), -2.0, 2.0)

    return Net(), (torch.zeros(2, 5),)


def godot(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))

        def forward(self, obs: Any, state_ins: Any) -> Any:
            return self.body(obs), state_ins

    return Net(), (torch.zeros(2, 5), torch.zeros(2, 1))


def masked(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 4))

        def forward(self, obs_0: Any, action_masks: Any) -> Any:
            return self.body(obs_0) + (action_masks - 1) * 1e8

    return Net(), (torch.zeros(2, 5), torch.ones(2, 4))


def several(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 2))

        def forward(self, position: Any, speed: Any) -> Any:
            return self.body(torch.cat([position, speed], dim=1))

    return Net(), (torch.zeros(2, 4), torch.zeros(2, 3))


def heads(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body, self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 1), nn.Linear(8, 1)

        def forward(self, x: Any) -> Any:
            h = torch.relu(self.body(x))
            return torch.tanh(self.a(h)), torch.sigmoid(self.b(h))

    return Net(), (torch.zeros(2, 5),)


def soft(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    body = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(dim=-1))
    return body, (torch.zeros(2, 5),)


def gru(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRU(5, 8), nn.Linear(8, 2)

        def forward(self, obs: Any, h_in: Any) -> Any:
            seen, h_out = self.cell(obs.unsqueeze(0), h_in)
            return self.head(seen.squeeze(0)), h_out

    return Net(), (torch.zeros(1, 5), torch.zeros(1, 1, 8))


def attention(torch: Any, nn: Any) -> tuple[Any, tuple[Any, ...]]:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(9, 2)

        def forward(self, x: Any) -> Any:
            seen = x.reshape(-1, 3, 4)
            scores = self.q(seen) @ self.k(seen).transpose(1, 2)
            return self.head(torch.relu(scores).flatten(1))

    return Net(), (torch.zeros(2, 12),)


def of_type(kind: type[np.floating[Any]]) -> Callable[[Path], Path]:
    """Return the maker of a file whose weights have another width."""

    def make(folder: Path) -> Path:
        path = layers("Tanh", "ReLU")(folder)
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(values.astype(kind), tensor.name))
        number = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.elem_type = number
        onnx.save(model, path)
        return path

    return make


TORCH = "ONNX from torch"
FIVE = told(choice(3))
ONNX: tuple[Sample, ...] = (
    Sample(TORCH, "Linear, Tanh, ReLU", "vector, Discrete", layers("Tanh", "ReLU"), FIVE),
    Sample(
        TORCH,
        "ELU, SELU, LeakyReLU",
        "vector, Discrete",
        layers("ELU(0.5)", "SELU", "LeakyReLU"),
        FIVE,
    ),
    Sample(
        TORCH,
        "SiLU, GELU, GELU (tanh)",
        "vector, Discrete",
        layers("SiLU", "GELU", "GELU(tanh)"),
        FIVE,
    ),
    Sample(
        TORCH,
        "Softplus, Mish, Hardswish",
        "vector, Discrete",
        layers("Softplus", "Mish", "Hardswish"),
        FIVE,
    ),
    Sample(
        TORCH,
        "Hardtanh, Softsign, Sigmoid",
        "vector, Discrete",
        layers("Hardtanh", "Softsign", "Sigmoid"),
        FIVE,
    ),
    Sample(TORCH, "PReLU, a slope per unit", "vector, Discrete", layers("PReLU", "CELU"), FIVE),
    Sample(
        TORCH,
        "BatchNorm, Dropout, Identity",
        "vector, Discrete",
        layers("BatchNorm", "Dropout", "Identity"),
        FIVE,
    ),
    Sample(TORCH, "float16 weights", "vector, Discrete", of_type(np.float16), FIVE),
    Sample(TORCH, "float64 weights", "vector, Discrete", of_type(np.float64), FIVE),
    Sample(
        TORCH, "Conv2d, BatchNorm2d, ZeroPad2d, pooling", "uint8 image, Discrete", module(cnn), FIVE
    ),
    Sample(TORCH, "Conv1d", "window, Box", module(window), told(box(2))),
    Sample(TORCH, "Conv1d, global pooling", "window, Box", module(pooled), told(box(2))),
    Sample(TORCH, "Linear over each row", "window, Box", module(history), told(box(2))),
    Sample(TORCH, "Slice, Split, Gather, Concat", "vector, Discrete", module(encoder), FIVE),
    Sample(TORCH, "residual sum", "vector, Discrete", module(residual), FIVE),
    Sample(TORCH, "mean of an ensemble", "vector, Discrete", module(ensemble), FIVE),
    Sample(TORCH, "duelling heads", "vector, Discrete", module(duelling), FIVE),
    Sample(
        TORCH, "normaliser, clip to the bounds", "vector, Box", module(clipped), told(box(2, 2.0))
    ),
    Sample(TORCH, "tanh at the end", "vector, Box", module(squashed), told(box(2, 3.0))),
    Sample(TORCH, "softmax at the end", "vector, Discrete", module(soft)),
    Sample(
        TORCH,
        "mean and log std in one output",
        "vector, Box",
        module(halves),
        told(box(3), output=":3"),
    ),
    Sample(
        TORCH,
        "tanh and sigmoid outputs, one action",
        "vector, Box",
        module(heads, outputs=("angle", "throttle")),
        told(Action("box", 2, (-1.0, 0.0), (1.0, 1.0))),
    ),
    Sample(
        "ONNX as Stable-Baselines3 documents it",
        "action, value, log-probability",
        "vector, Box",
        module(recipe, outputs=("action", "value", "log_prob")),
        told(box(2, 2.0)),
    ),
    Sample(
        "ONNX of Isaac Lab",
        "ELU, no bounds",
        "vector, Box without bounds",
        module(halves),
        told(box(6, INFINITE)),
    ),
    Sample(
        "ONNX of Godot RL Agents",
        "a state that nothing reads",
        "vector, Box",
        module(godot, outputs=("output", "state_outs"), input_names=["obs", "state_ins"]),
        told(box(2)),
    ),
    Sample(
        "ONNX of ML-Agents",
        "SiLU, action masks",
        "vector, Discrete",
        module(masked, input_names=["obs_0", "action_masks"]),
        told(choice(4)),
    ),
    Sample(
        TORCH,
        "two vectors as inputs",
        "Dict of vectors, Box",
        module(several, input_names=["position", "speed"]),
        told(box(2)),
    ),
    Sample(
        TORCH,
        "several choices",
        "vector, MultiDiscrete",
        module(halves),
        told(Action("multi_discrete", 6, counts=(3, 3))),
    ),
    Sample(
        TORCH,
        "a logit each",
        "vector, MultiBinary",
        module(halves),
        told(Action("multi_discrete", 12, counts=(2,) * 6)),
    ),
    Sample(TORCH, "LayerNorm", "vector, Discrete", layers("LayerNorm", "Tanh"), FIVE),
    Sample(
        TORCH,
        "recurrent, GRU with its state as input and output",
        "vector, Box",
        module(gru, outputs=("action", "h_out"), input_names=["obs", "h_in"]),
        told(box(2)),
    ),
    Sample(
        TORCH,
        "attention",
        "vector, Box",
        module(attention),
        told(box(2)),
        refusal="as attention does",
        way="distil it into an MLP, which carries over",
    ),
)
__all__ = ["ONNX", "image", "vector"]
