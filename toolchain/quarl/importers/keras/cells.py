"""Keras' recurrent layers: one step of an LSTM, a GRU or a SimpleRNN."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from quarl.importers.cells import Cell, Gate, Kind, Place, add_cell
from quarl.importers.keras.description import LayerSpec
from quarl.importers.keras.walk import Meanings, Walk

GATES: Mapping[str, tuple[Kind, str]] = {  # in the order of Keras' weights
    "LSTM": ("lstm", "ifgo"),
    "GRU": ("gru", "zrn"),
    "SimpleRNN": ("rnn", "n"),
}
SETTINGS = {
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "go_backwards": False,
    "return_state": False,
}


def _cell(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    """Append one step; sequences come one step at a time, and the state is carried."""
    shape = walk.shape(inputs[0])
    kind, letters = GATES[layer.kind]
    for name, wanted in SETTINGS.items():
        found = layer.config.get(name, wanted)
        if found != wanted:
            raise walk.unsupported(layer, f"has {name}={found!r}, carried over is {wanted!r}")
    if len(shape) != 2 or shape[0] != 1:
        raise walk.unsupported(
            layer,
            f"reads a window of shape {shape} from an empty state each time; quarl carries the "
            "state from step to step: leave the number of steps open, "
            "keras.Input((None, features))",
        )
    if not (walk.is_open or layer.config.get("stateful")):
        raise walk.unsupported(
            layer,
            "begins each step with an empty state, so nothing is remembered: set stateful=True, or "
            "leave the number of steps open",
        )
    units, features = int(layer.config["units"]), shape[1]
    rows = len(letters) * units

    def variable(index: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        array = walk.variable(layer, walk.weights.cell(place), index, (name,), shape)
        return array.astype(np.float64)

    kernel = variable(0, "kernel", (features, rows)).T
    recurrent = variable(1, "recurrent_kernel", (units, rows)).T
    after = bool(layer.config.get("reset_after", True))
    biases = np.zeros((2, rows))
    if layer.config.get("use_bias", True):
        both = kind == "gru" and after
        biases[: 2 if both else 1] = variable(2, "bias", (2, rows) if both else (rows,))
    parts = [np.split(array, len(letters)) for array in (kernel, recurrent, *biases)]
    gates = {letter: Gate(*(part[turn] for part in parts)) for turn, letter in enumerate(letters)}
    spot = Place(layer.name, layer.name, walk.next_cell())
    made = add_cell(walk.builder, Cell(kind, gates, after), inputs[0], spot)[0]
    if layer.config.get("return_sequences"):
        walk.windows[made] = (1, units)
    return made


CELLS: Meanings = dict.fromkeys(GATES, _cell)
