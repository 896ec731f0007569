"""The operations of a policy's graph, one frozen value each, with float32 parameters.

The graph works on [n, features] or [n, height, width, channels]; convolution weights are [out,
height, width, in], dense weights [out, in]; `Flatten` is row-major over [height, width, channels].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.graph.functions import Function

INPUT = "observation"
Padding = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """y = x W^T + b. weights float32 [out, in], bias float32 [out]."""

    weights: NDArray[np.floating[Any]]
    bias: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Conv2D:
    """Cross-correlation over [height, width]. weights float32 [out, height, width, in], bias
    float32 [out]; padding is explicit zeros.
    """

    weights: NDArray[np.floating[Any]]
    bias: NDArray[np.floating[Any]]
    stride: tuple[int, int] = (1, 1)
    padding: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class DepthwiseConv2D:
    """Each channel by its own filter. weights float32 [channels, height, width], bias float32
    [channels].
    """

    weights: NDArray[np.floating[Any]]
    bias: NDArray[np.floating[Any]]
    stride: tuple[int, int] = (1, 1)
    padding: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True)
class MaxPool2D:
    """The largest value under each window [height, width]; padding never is."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function, as `quarl.graph.functions` writes it."""

    function: Function


@dataclass(frozen=True, slots=True)
class Flatten:
    """[n, height, width, channels] -> [n, height * width * channels]."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The values of a vector from place `first` on, laid out in `shape`, row-major: a picture, or
    the vectors beside it, out of one observation.
    """

    first: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Concat:
    """Joins its inputs along the last axis."""


@dataclass(frozen=True, slots=True)
class Add:
    """Adds two inputs of one shape."""


@dataclass(frozen=True, slots=True)
class Mul:
    """Multiplies two inputs of one shape, place by place."""


Op: TypeAlias = (
    Dense
    | Conv2D
    | DepthwiseConv2D
    | MaxPool2D
    | Activation
    | Flatten
    | Columns
    | Concat
    | Add
    | Mul
)
Weighted: TypeAlias = Dense | Conv2D | DepthwiseConv2D
Copying: TypeAlias = Flatten | Columns | MaxPool2D  # what comes out went in


@dataclass(frozen=True, slots=True)
class Node:
    """One operation; `inputs` are names of earlier nodes or `INPUT`."""

    name: str
    op: Op
    inputs: tuple[str, ...]
