"""Recurrent cells from the tensors of torch's LSTM, GRU and RNN modules."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quarl.errors import InputError, UnsupportedError
from quarl.importers.cells import Cell, Gate, Kind
from quarl.importers.torch.layers import TorchState

GATES: Mapping[Kind, str] = {"lstm": "ifgo", "gru": "rzn", "rnn": "n"}  # in torch's order


def torch_cells(state: TorchState, module: str) -> tuple[Cell, ...]:
    """Return the cells of a recurrent module, one for each of its layers.

    Raises:
        InputError: a tensor is missing, or does not fit the others.
        UnsupportedError: it runs both ways, or projects its results.
    """
    others = [
        key
        for key in state.tensors
        if key.startswith(f"{module}.") and ("_reverse" in key or "weight_hr" in key)
    ]
    if others:
        raise UnsupportedError(
            f"{state.file}: {others[0]}: cells that run backwards or project their results are "
            "not carried over"
        )
    cells: list[Cell] = []
    while f"{module}.weight_ih_l{len(cells)}" in state.tensors:
        cells.append(_cell(state, module, len(cells)))
    if not cells:
        raise InputError(f"{state.file}: has no tensor {module}.weight_ih_l0: it is incomplete")
    return tuple(cells)


def _cell(state: TorchState, module: str, layer: int) -> Cell:
    names = (f"{module}.{name}_l{layer}" for name in ("weight_ih", "weight_hh"))
    inputs, recurrent = (state.tensors.get(name, np.zeros(0)).astype(np.float64) for name in names)
    hidden = max(recurrent.shape[-1], 1)
    found = [
        name for name, gates in GATES.items() if recurrent.shape == (len(gates) * hidden, hidden)
    ]
    if inputs.ndim != 2 or len(inputs) != len(recurrent) or not found:
        raise InputError(
            f"{state.file}: {module}: weights {inputs.shape} and {recurrent.shape} of layer "
            f"{layer} are those of no LSTM, GRU or RNN"
        )
    kind, letters, rows = found[0], GATES[found[0]], len(recurrent)
    biases = [
        state.tensors.get(f"{module}.{name}_l{layer}", np.zeros(rows)).astype(np.float64)
        for name in ("bias_ih", "bias_hh")
    ]
    if any(bias.shape != (rows,) for bias in biases):
        raise InputError(f"{state.file}: {module}: the biases of layer {layer} do not fit")
    parts = [np.split(array, len(letters)) for array in (inputs, recurrent, *biases)]
    gates = {letter: Gate(*(part[turn] for part in parts)) for turn, letter in enumerate(letters)}
    return Cell(kind, gates)
