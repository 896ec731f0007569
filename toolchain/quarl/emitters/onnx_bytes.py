"""int8 integers as `.onnx` holds them: as bytes, weights in ONNX's order (decision 0003)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantWeighted,
)

OFFSET = 128  # a byte of the graph is the int8 plus this


def weights_as_stored(op: QuantWeighted) -> NDArray[np.int8]:
    """Return the weights in ONNX's order [out, in, height, width]; dense ones as they are."""
    match op:
        case QuantDense():
            return op.weights
        case QuantConv2D():
            return np.ascontiguousarray(op.weights.transpose(0, 3, 1, 2))
        case QuantDepthwiseConv2D():
            return op.weights[:, None]


def as_bytes(integers: NDArray[np.signedinteger[Any]]) -> NDArray[np.uint8]:
    """Return int8 integers as the bytes q + 128."""
    return (integers.astype(np.int16) + OFFSET).astype(np.uint8)
