"""Checkpoints of Chainer and ChainerRL (`chainer.serializers`, HDF5 or .npz) read as data: a chain
of Linear links.

In: arrays named by the paths of their links, `l1/W` [out, in] and `l1/b` [out]. Out: a `Policy`.
What stands between the links is code: the user names it. Their order is the one in which each takes
what the one before gives.
Format: chainer/serializers/npz.py and hdf5.py of Chainer 7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.files.npz import read_npz
from quarl.files.open import open_file
from quarl.graph.policy import Policy
from quarl.importers.detect import HDF5_MAGIC
from quarl.importers.hdf5 import open_hdf5
from quarl.importers.options import ImportOptions
from quarl.importers.torch.trainers import NOT_ACTORS, Chain, read_chain

TORCH_NAMES = {"W": "weight", "b": "bias"}
WEIGHT, BIAS = ".weight", ".bias"
ALONE = "link"  # what a single link, which has no path, is called
VALUES = re.compile(rf"{NOT_ACTORS.pattern}|^v(_function)?$|q_func")
MOST_LAYERS = 16
MOST_TRIES = 20_000
Layers = Mapping[str, tuple[int, int]]  # name -> inputs and outputs, in the order of their names
ONNX_WAY = "export it to ONNX: onnx_chainer.export(model, x, filename='policy.onnx')"


def read_chainer(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in a checkpoint; `--output NAME` chooses among several networks.

    Raises:
        InputError: damaged, several networks, or nobody says activation or action.
        UnsupportedError: links other than Linear; named.
        UntrustedFileError: links elsewhere, objects, or sizes beyond the limits.
    """
    tensors = tensors_in(path)
    own = _chosen(path, tensors, options.output)
    others = sorted({_part(name) for name in tensors.keys() - own.keys()})
    notes = (f"{', '.join(others)}: left out, not the policy",) if others else ()
    chain = Chain("chainer", tensors, _modules(path, own), notes=notes)
    return read_chain(path, chain, options)


def tensors_in(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays by name, `l1/W` as l1.weight and `l1/b` as l1.bias; of numbers that are not
    float32 an empty array.
    """
    with open_file(path) as file:
        is_hdf5 = file.read(len(HDF5_MAGIC)) == HDF5_MAGIC
    if not is_hdf5:
        return {_torch_name(name): array for name, array in read_npz(path).items()}
    found = open_hdf5(path, path.name, whole=True)
    return {
        _torch_name(place): np.zeros(0)
        if entry.get("refused") == "type"
        else found.array(place, tuple(entry.get("shape", ())))
        for place, entry in found.index.items()
    }


def _torch_name(place: str) -> str:
    module, _, name = place.strip("/").rpartition("/")
    return f"{module or ALONE}.{TORCH_NAMES.get(name, name)}"


def _chosen(
    path: Path, tensors: dict[str, NDArray[Any]], output: str | None
) -> dict[str, NDArray[Any]]:
    """Return the arrays of the one network that acts.

    Raises:
        InputError: there are several; names them and how to choose.
    """
    parts = sorted({_part(name) for name in tensors})
    if output is not None:
        own = {name: array for name, array in tensors.items() if _part(name) == output}
        if not own:
            raise InputError(f"{path.name}: --output {output}: it has {', '.join(parts)}")
        return own
    own = {name: array for name, array in tensors.items() if not VALUES.search(_part(name))}
    chains = [part for part in parts if "/" in _first_module(own, part) and _is_chain(own, part)]
    inputs = {_layers(own, part)[0][0] for part in chains}
    if not own or (len(chains) > 1 and len(inputs) == 1):
        raise InputError(
            f"{path.name}: holds several networks ({', '.join(parts)}), and the file does not say "
            f"which is the policy: add --output NAME, for example --output {parts[0]}"
        )
    return own


def _part(name: str) -> str:
    """Return the first part of an array's path: the network it belongs to, or its link."""
    return name.rpartition(".")[0].partition("/")[0]


def _first_module(tensors: Mapping[str, Any], part: str) -> str:
    return next((name for name in tensors if _part(name) == part), "")


def _layers(tensors: Mapping[str, NDArray[Any]], part: str) -> list[tuple[int, int]]:
    """Return inputs and outputs of each Linear link of one part, in their order; empty where it is
    not a chain.
    """
    layers = {
        name.removesuffix(WEIGHT): (array.shape[1], array.shape[0])
        for name, array in tensors.items()
        if _part(name) == part and name.endswith(WEIGHT) and array.ndim == 2
    }
    return [layers[name] for name in in_order(layers) or ()]


def _is_chain(tensors: Mapping[str, NDArray[Any]], part: str) -> bool:
    return bool(_layers(tensors, part))


def _modules(path: Path, tensors: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    """Return the Linear links in their order.

    Raises:
        UnsupportedError: there are other links, or their order is not in the file.
    """
    layers: dict[str, tuple[int, int]] = {}
    for name, array in tensors.items():
        module, _, kind = name.rpartition(".")
        if kind == "weight" and array.ndim == 2:
            layers[module] = (array.shape[1], array.shape[0])
        elif kind != "bias" or array.ndim != 1:
            place = name.removesuffix(WEIGHT) + "/W" if kind == "weight" else f"{module}/{kind}"
            raise UnsupportedError(
                f"{path.name}: {place} of shape {array.shape} belongs to another link than Linear, "
                f"and the file does not say which: {ONNX_WAY}"
            )
    order = in_order(layers)
    if order is None:
        shown = ", ".join(f"{name} {ins} to {outs}" for name, (ins, outs) in layers.items())
        raise UnsupportedError(
            f"{path.name}: its Linear links ({shown}) do not follow one another in exactly one "
            f"order: {ONNX_WAY}"
        )
    return order


def in_order(layers: Layers) -> tuple[str, ...] | None:
    """Return the one order in which each layer takes what the one before gives, and those of one
    name are counted upwards; None where there is none, or more than one.
    """
    if not 0 < len(layers) <= MOST_LAYERS:
        return None
    found: list[tuple[str, ...]] = []
    pending: list[tuple[str, ...]] = [()]
    for _ in range(MOST_TRIES):
        if not pending or len(found) > 1:
            return found[0] if len(found) == 1 else None
        path = pending.pop()
        if len(path) == len(layers):
            found.append(path)
            continue
        left = [name for name in layers if name not in path]
        fits = [n for n in left if not path or layers[n][0] == layers[path[-1]][1]]
        pending += [(*path, name) for name in fits if _is_lowest(name, left)]
    return None


def _is_lowest(name: str, left: list[str]) -> bool:
    """Whether no layer that is left has the same name with a lower number."""
    stem, number = _counted(name)
    return not any(other[0] == stem and other[1] < number for other in map(_counted, left))


def _counted(name: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.*?)(\d{0,9})", name)
    assert found is not None
    return found[1], int(found[2] or -1)
