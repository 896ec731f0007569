"""Convolutions and means over windows of a vector, written out as the matrices they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Window = tuple[Sequence[int], Sequence[int], Sequence[tuple[int, int]]]  # strides, dilations, pads


def convolution_matrix(
    places: NDArray[np.int64],
    weights: NDArray[np.float64],
    window: Window,
    group: int,
    count: int,
) -> NDArray[np.float64]:
    """Return float64 [outputs * positions, count]: what a convolution does to a vector.

    Args:
        places: int64 [channels, *lengths], the vector's place that each point shows.
        weights: float64 [outputs, channels / group, *kernel].
        count: length of the vector.
    """
    strides, dilations, pads = window
    padded = np.pad(places, [(0, 0), *pads], constant_values=-1)
    kernel = weights.shape[2:]
    positions = [
        (length - dilation * (size - 1) - 1) // stride + 1
        for length, size, stride, dilation in zip(
            padded.shape[1:], kernel, strides, dilations, strict=True
        )
    ]
    outputs, channels = weights.shape[:2]
    # by position; the last column takes the padding
    grid = np.zeros((int(np.prod(positions)), outputs, count + 1))
    rows = np.arange(outputs) // (outputs // group) * channels
    for spot, position in enumerate(product(*(range(length) for length in positions))):
        for offset in product(*(range(size) for size in kernel)):
            point = [
                p * stride + o * dilation
                for p, stride, o, dilation in zip(position, strides, offset, dilations, strict=True)
            ]
            for channel in range(channels):
                columns = padded[(rows + channel, *point)]
                taps: NDArray[np.float64] = weights[:, channel].reshape(outputs, -1)
                place = int(np.ravel_multi_index(offset, kernel))
                np.add.at(grid[spot], (np.arange(outputs), columns), taps[:, place])
    return grid.transpose(1, 0, 2).reshape(-1, count + 1)[:, :count]


def mean_matrix(places: NDArray[np.int64], axes: Sequence[int], count: int) -> NDArray[np.float64]:
    """Return float64 [means, count]: the mean along some axes of a vector's places.

    Args:
        places: int64, the vector's place that each point of the tensor shows.
        count: length of the vector.
    """
    kept = [axis for axis in range(places.ndim) if axis not in axes]
    rows = places.transpose([*kept, *axes]).reshape(
        int(np.prod([places.shape[axis] for axis in kept], dtype=np.int64)), -1
    )
    matrix = np.zeros((len(rows), count))
    for row, columns in enumerate(rows):
        np.add.at(matrix[row], columns, 1 / rows.shape[1])
    return matrix
