"""Keras layers on a window [history, features] of a vector observation, written out as the dense
layers they are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Dense
from quarl.importers.draft import Linear, same_padding
from quarl.importers.keras.description import LayerSpec
from quarl.importers.keras.walk import Meanings, Walk
from quarl.importers.unrolled import convolution_matrix

MOST_NUMBERS = 1 << 22  # of one layer written out as a matrix


def dense_rows(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    """Append a dense layer that takes each row of a window."""
    rows, length = walk.shape(inputs[0])
    units = int(layer.config["units"])
    kernel = walk.variable(layer, place, 0, ("kernel",), (length, units))
    bias = _bias(walk, layer, place, units)
    _check(walk, layer, rows * units, rows * length)
    weights = np.kron(np.eye(rows, dtype=np.float32), kernel.T)
    made = walk.add(layer, Dense(weights, np.tile(bias, rows)), inputs)
    walk.windows[made] = (rows, units)
    return walk.activation(layer, layer.config.get("activation"), made)


def _conv1d(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape = layer.config, walk.shape(inputs[0])
    if len(shape) != 2 or config.get("data_format") not in (None, "channels_last"):
        raise walk.unsupported(
            layer, f"is applied to shape {shape}, it needs [history, features], channels last"
        )
    length, channels = shape
    filters, groups = int(config["filters"]), int(config.get("groups", 1))
    size, stride, dilation = (
        _one(config.get(key, 1)) for key in ("kernel_size", "strides", "dilation_rate")
    )
    kernel = walk.variable(layer, place, 0, ("kernel",), (size, channels // groups, filters))
    reach = (size - 1) * dilation + 1
    padding = config.get("padding", "valid")
    if padding not in ("valid", "same", "causal") or min(size, stride, dilation, groups) < 1:
        raise walk.unsupported(layer, f"has the padding {padding!r}")
    pads = {
        "valid": (0, 0),
        "same": same_padding(length, reach, stride),
        "causal": (reach - 1, 0),
    }[padding]
    count = (length + sum(pads) - reach) // stride + 1
    if count < 1:
        raise walk.unsupported(layer, f"does not fit into {length} rows")
    _check(walk, layer, filters * count, length * channels)
    places = np.arange(length * channels).reshape(length, channels).T
    matrix = convolution_matrix(
        places,
        kernel.transpose(2, 1, 0).astype(np.float64),
        ((stride,), (dilation,), (pads,)),
        groups,
        length * channels,
    )
    rows = matrix.reshape(filters, count, -1).transpose(1, 0, 2).reshape(count * filters, -1)
    bias = np.tile(_bias(walk, layer, place, filters), count)
    made = walk.add(layer, Dense(np.ascontiguousarray(rows, np.float32), bias), inputs)
    walk.windows[made] = (count, filters)
    return walk.activation(layer, config.get("activation"), made)


def _global_average(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape = walk.shape(inputs[0])
    if len(shape) != 2 or layer.config.get("data_format") not in (None, "channels_last"):
        raise walk.unsupported(layer, f"is applied to shape {shape}, it needs [history, features]")
    length, channels = shape
    mean = np.tile(np.eye(channels) / length, (1, length))
    made = walk.add(layer, Linear(mean, np.zeros(channels)), inputs)
    if layer.config.get("keepdims"):
        walk.windows[made] = (1, channels)
    return made


def flattened(walk: Walk, layer: LayerSpec, value: str) -> str:
    """Return a window as the vector it lies in: a step that folds into the layer behind it."""
    count = math.prod(walk.shape(value))
    return walk.add(layer, Linear(np.eye(count), np.zeros(count)), [value])


def _bias(walk: Walk, layer: LayerSpec, place: str, count: int) -> NDArray[np.float32]:
    if not layer.config.get("use_bias", True):
        return np.zeros(count, np.float32)
    return walk.variable(layer, place, 1, ("bias",), (count,))


def _check(walk: Walk, layer: LayerSpec, outputs: int, inputs: int) -> None:
    if outputs * inputs > MOST_NUMBERS:
        raise walk.unsupported(
            layer, f"is written out as {outputs:,} x {inputs:,} numbers, too many for a small board"
        )


def _one(value: Any) -> int:
    numbers = value if isinstance(value, list | tuple) else [value]
    return int(numbers[0])


WINDOWS: Meanings = {
    "Conv1D": _conv1d,
    "GlobalAveragePooling1D": _global_average,
}
