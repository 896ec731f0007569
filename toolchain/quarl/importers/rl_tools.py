"""Checkpoints of rl_tools (HDF5) read as data: dense layers, MLPs, GRU cells, and the end of SAC.

In: the group `actor` of a file, whose groups say their type. Out: a `Policy`. Format: the reader in
Python that rl_tools ships with its policies (foundation_policy 1.0.2 on PyPI).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.files.open import source_digest
from quarl.graph.policy import INPUT, Activation, Dense, Function, Policy
from quarl.importers.cells import Cell, Gate, Place, add_cell
from quarl.importers.draft import Draft, DraftBuilder, selection
from quarl.importers.fold import finish
from quarl.importers.hdf5 import Hdf5File, open_hdf5
from quarl.importers.options import ImportOptions

ROOT, EXAMPLE = "actor", "example"
FUNCTIONS: dict[str, Function | None] = {
    "IDENTITY": None,
    "RELU": "relu",
    "TANH": "tanh",
    "SIGMOID": "sigmoid",
    # x of -3 to 3, then x (27 + x^2) / (27 + 9 x^2)
    "FAST_TANH": "mul(clip(x,-3,3),div(add(27,mul(clip(x,-3,3),clip(x,-3,3))),"
    "add(27,mul(9,mul(clip(x,-3,3),clip(x,-3,3))))))",
}
GATES = "rzn"  # in the file's order
MOST_PARTS = 64  # of one sequence


def read_rl_tools(path: Path, options: ImportOptions) -> Policy:
    """Return the actor of a checkpoint.

    Raises:
        InputError: damaged or incomplete, or the action or observation is unknown.
        UnsupportedError: a layer without exact counterpart; named with its type.
        UntrustedFileError: links, or sizes beyond the limits.
    """
    return finish(path, _draft(path), options)


def examples(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return observations [steps, episodes, features] and outputs [steps, episodes, count] that the
    file itself holds; None where it holds none.
    """
    file = open_hdf5(path, path.name)
    places = f"{EXAMPLE}/input", f"{EXAMPLE}/output"
    if not all(len(_shape(file, place)) == 3 for place in places):
        return None
    seen, made = (file.array(place, _shape(file, place)) for place in places)
    return (seen, made) if seen.shape[:2] == made.shape[:2] else None


def _draft(path: Path) -> Draft:
    file = open_hdf5(path, path.name)
    parts = list(_leaves(file, ROOT))
    features = _features(file, parts)
    builder = DraftBuilder(path, (features,))
    last, cells = INPUT, 0
    for place, kind in parts:
        match kind:
            case "dense":
                last = _dense(file, builder, place, last)
            case "gru":
                cells += 1
                last = _gru(file, builder, place, last, cells)
            case "sample_and_squash":
                count = builder.shapes[last][0]
                mean = selection(np.arange(count // 2), count)
                last = builder.add(f"{place}/mean", mean, [last], place)
                last = builder.add(place, Activation("tanh"), [last], place)
    digest = source_digest(path)
    return builder.draft(last, "vector", "float32", "rl_tools", digest, _notes(file))


def _leaves(file: Hdf5File, place: str) -> list[tuple[str, str]]:
    """Return the layers in their order, each with its type."""
    kind = file.text(place, "type")
    match kind:
        case "sequential":
            found: list[tuple[str, str]] = []
            for number in range(MOST_PARTS):
                if f"{place}/layers/{number}" not in file.texts:
                    break
                found += _leaves(file, f"{place}/layers/{number}")
            return found
        case "mlp":
            hidden = (f"{place}/hidden_layer_{number}" for number in range(MOST_PARTS))
            names = [f"{place}/input_layer", *(name for name in hidden if name in file.texts)]
            return [(name, "dense") for name in (*names, f"{place}/output_layer")]
        case "dense" | "gru" | "sample_and_squash":
            return [(place, kind)]
    if kind is None:
        raise InputError(
            f"{file.name}: {place} does not say its type: it is not a checkpoint of rl_tools, or "
            "incomplete"
        )
    raise UnsupportedError(
        f"{file.name}: {place} is a layer of the type {kind[:40]!r}, carried over are dense, mlp, "
        "gru, sample_and_squash and sequential: train with those"
    )


def _features(file: Hdf5File, parts: list[tuple[str, str]]) -> int:
    place, kind = parts[0] if parts else (ROOT, "")
    name = "weights_input" if kind == "gru" else "weights"
    shape = _shape(file, f"{place}/{name}/parameters")
    if kind not in ("dense", "gru") or len(shape) != 2:
        raise InputError(
            f"{file.name}: {place} has no weights [outputs, features]: the file is incomplete, "
            "save the checkpoint again"
        )
    return shape[1]


def _shape(file: Hdf5File, place: str) -> tuple[int, ...]:
    """Return the shape of an array, empty where there is none that can be read."""
    return tuple(file.index.get(place, {}).get("shape", ()))


def _array(file: Hdf5File, place: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an array; a vector may be stored as a matrix of one row."""
    place = f"{place}/parameters"
    stored = (1, *shape) if _shape(file, place) == (1, *shape) else shape
    return file.array(place, stored).reshape(shape)


def _dense(file: Hdf5File, builder: DraftBuilder, place: str, last: str) -> str:
    rows = (*_shape(file, f"{place}/weights/parameters"), 0)[0]
    weights = _array(file, f"{place}/weights", (rows, builder.shapes[last][0]))
    op = Dense(weights, _array(file, f"{place}/biases", (rows,)))
    last = builder.add(place, op, [last], place)
    name = file.text(place, "activation_function") or ""
    if name not in FUNCTIONS:
        raise UnsupportedError(
            f"{file.name}: {place} has the activation {name[:40]!r}, carried over are "
            f"{', '.join(FUNCTIONS)}: train with one of those"
        )
    function = FUNCTIONS[name]
    if function is None:
        return last
    return builder.add(f"{place}/{name.lower()}", Activation(function), [last], place)


def _gru(file: Hdf5File, builder: DraftBuilder, place: str, last: str, number: int) -> str:
    features = builder.shapes[last][0]
    hidden = (0, *_shape(file, f"{place}/initial_hidden_state/parameters"))[-1]
    rows = len(GATES) * hidden
    arrays = (
        _array(file, f"{place}/weights_input", (rows, features)),
        _array(file, f"{place}/weights_hidden", (rows, hidden)),
        _array(file, f"{place}/biases_input", (rows,)),
        _array(file, f"{place}/biases_hidden", (rows,)),
    )
    parts = [np.split(array.astype(np.float64), len(GATES)) for array in arrays]
    gates = {letter: Gate(*(part[turn] for part in parts)) for turn, letter in enumerate(GATES)}
    start = _array(file, f"{place}/initial_hidden_state", (hidden,))
    initial = tuple(float(value) for value in start) if start.any() else ()
    return add_cell(builder, Cell("gru", gates), last, Place(place, place, number, initial))[0]


def _notes(file: Hdf5File) -> tuple[str, ...]:
    """Return what the trainer noted of the environment; nothing where it is not JSON."""
    try:
        noted = json.loads(file.text(ROOT, "meta") or "{}")["environment"]
        texts = [f"{key} {noted[key]}"[:200] for key in ("name", "observation") if key in noted]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    return tuple(f"environment: {text} (the file's own note)" for text in texts)
