"""Checkpoints laid out as chainer.serializers writes them, by NumPy and h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from tests.support.sources.sample import Sample, box, choice, told

Arrays = dict[str, NDArray[Any]]


def linear(name: str, inputs: int, outputs: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed + inputs + 7 * outputs)
    weights = rng.normal(0, 0.4, (outputs, inputs)).astype(np.float32)
    return {f"{name}/W": weights, f"{name}/b": rng.normal(0, 0.1, outputs).astype(np.float32)}


def mlp(prefix: str = "", outputs: int = 3) -> Arrays:
    return {
        **linear(f"{prefix}l1", 5, 8),
        **linear(f"{prefix}l2", 8, 8),
        **linear(f"{prefix}l3", 8, outputs),
    }


def saved(arrays: Arrays, path: Path) -> Path:
    """Write arrays as `save_npz` or `save_hdf5` does, compressed as by default."""
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
        return path
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression=4 if array.size > 1 else None)
    return path


def agent(folder: Path) -> Path:
    """An actor and a critic, as ChainerRL names them."""
    names = ("hidden_layers/0", "hidden_layers/1", "output")
    widths = (5, 8), (8, 8), (8, 2)
    arrays: Arrays = {}
    for name, (inputs, outputs) in zip(names, widths, strict=True):
        arrays |= linear(f"pi/model/{name}", inputs, outputs)
    critic = {**linear("v/hidden_layers/0", 5, 8), **linear("v/output", 8, 1)}
    return saved(arrays | critic, folder / "model.npz")


CHAINER: tuple[Sample, ...] = (
    Sample(
        "Chainer HDF5",
        "a chain of Linear",
        "vector, Discrete",
        lambda folder: saved(mlp(), folder / "model.h5"),
        told(choice(3), activation="relu"),
    ),
    Sample(
        "ChainerRL .npz",
        "actor beside a critic, tanh at the end",
        "vector, Box",
        agent,
        told(box(2, 3.0), activation="relu,tanh"),
    ),
)
