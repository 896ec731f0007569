"""Checkpoints as rl_tools writes them, with examples computed by torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.sources.sample import Sample, box, shaken, told

STEPS, EPISODES, FEATURES = 40, 2, 6
META = '{"environment": {"name": "l2f", "observation": "Position.LinearVelocity"}}'


def matrix(group: Any, name: str, values: Any) -> None:
    """Write an array of parameters; a vector as a matrix of one row, as rl_tools does."""
    array = values.detach().numpy().astype(np.float32)
    own = group.create_group(name)
    own.create_dataset("parameters", data=array if array.ndim > 1 else array[None])
    own["parameters"].attrs["type"] = "matrix"


def dense(group: Any, name: str, layer: Any, activation: str) -> None:
    own = group.create_group(name)
    own.attrs["type"], own.attrs["activation_function"] = "dense", activation
    matrix(own, "weights", layer.weight)
    matrix(own, "biases", layer.bias)


def gru(group: Any, name: str, cell: Any, initial: Any) -> None:
    own = group.create_group(name)
    own.attrs["type"] = "gru"
    for place, values in (
        ("weights_input", cell.weight_ih_l0),
        ("weights_hidden", cell.weight_hh_l0),
        ("biases_input", cell.bias_ih_l0),
        ("biases_hidden", cell.bias_hh_l0),
        ("initial_hidden_state", initial),
    ):
        own.create_group(place).create_dataset("parameters", data=values.detach().numpy())


def fast_tanh(x: Any) -> Any:
    x = x.clamp(-3, 3)
    return x * (27 + x * x) / (27 + 9 * x * x)


def write(path: Path, fill: Callable[[Any], None], run: Callable[[Any], Any]) -> Path:
    """Write a checkpoint whose actor `fill` makes, with examples by `run`."""
    import h5py
    import torch

    seen = torch.randn(STEPS, EPISODES, FEATURES, generator=torch.Generator().manual_seed(5))
    with torch.no_grad(), h5py.File(path, "w") as file:
        actor = file.create_group("actor")
        actor.attrs["meta"], actor.attrs["checkpoint_name"] = META, "logs/now"
        fill(actor)
        example = file.create_group("example")
        example.create_dataset("input", data=seen.numpy())
        example.create_dataset("output", data=run(seen).numpy())
    return path


def recurrent(folder: Path) -> Path:
    """A dense layer, a GRU that does not start at zero, a dense layer."""
    from torch import nn, tanh, zeros

    first, cell = shaken(nn.Linear(FEATURES, 8)), shaken(nn.GRU(8, 8))
    last, initial = shaken(nn.Linear(8, 3)), shaken(nn.Linear(8, 1)).weight[0]

    def fill(actor: Any) -> None:
        actor.attrs["type"] = "sequential"
        layers = actor.create_group("layers")
        dense(layers, "0", first, "RELU")
        gru(layers, "1", cell, initial)
        dense(layers, "2", last, "TANH")

    def run(seen: Any) -> Any:
        start = zeros(1, EPISODES, 8) + initial
        return tanh(last(cell(first(seen).relu(), start)[0]))

    return write(folder / "gru.h5", fill, run)


def squashed(folder: Path) -> Path:
    """The actor of SAC: an MLP of means and log deviations, of which the means are squashed."""
    from torch import nn, tanh

    parts = [
        shaken(nn.Linear(*sizes), seed) for seed, sizes in enumerate([(6, 16), (16, 16), (16, 6)])
    ]

    def fill(actor: Any) -> None:
        actor.attrs["type"] = "sequential"
        layers = actor.create_group("layers")
        mlp = layers.create_group("0")
        mlp.attrs["type"], mlp.attrs["num_layers"] = "mlp", 3
        for name, part, activation in (
            ("input_layer", parts[0], "FAST_TANH"),
            ("hidden_layer_0", parts[1], "SIGMOID"),
            ("output_layer", parts[2], "IDENTITY"),
        ):
            dense(mlp, name, part, activation)
        layers.create_group("1").attrs["type"] = "sample_and_squash"

    def run(seen: Any) -> Any:
        return tanh(parts[2](parts[1](fast_tanh(parts[0](seen))).sigmoid())[..., :3])

    return write(folder / "sac.h5", fill, run)


RL_TOOLS: tuple[Sample, ...] = (
    Sample(
        "rl_tools HDF5",
        "recurrent, GRU that does not start at zero",
        "vector, Box",
        recurrent,
        told(box(3)),
    ),
    Sample(
        "rl_tools HDF5", "SAC, FAST_TANH, sample and squash", "vector, Box", squashed, told(box(3))
    ),
)
