"""Layer and RMS normalisation, written out in the few operations of the graph.

In: a vector, and how steps are appended. Out: (x - mean) * gain / sqrt(variance + epsilon), plus an
offset.
The mean folds into the layer before, the square and the inverse root are tables, and the last step
is a product of two tensors: all of them exact in integers (decision 0012).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarl.graph.functions import VARIABLE, Call, text_of
from quarl.graph.policy import Activation, Mul
from quarl.importers.draft import Affine, DraftOp, Linear

Append = Callable[[DraftOp, Sequence[str], str], str]
"""Appends a step that reads the named ones, under a suffix, and returns its name."""


@dataclass(frozen=True, slots=True, eq=False)
class Normalisation:
    """gain and offset float64 [count]; `is_centred` is false of RMS normalisation."""

    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    epsilon: float
    is_centred: bool


def normalised(append: Append, value: str, how: Normalisation) -> str:
    """Return the step that ends the normalisation of a vector."""
    count = len(how.gain)
    if how.is_centred:
        centring = np.eye(count) - np.full((count, count), 1 / count)
        value = append(Linear(centring, np.zeros(count)), [value], ".centred")
    squares = append(Activation("mul(x,x)"), [value], ".squares")
    mean = Linear(np.full((1, count), 1 / count), np.zeros(1))
    variance = append(mean, [squares], ".variance")
    inside = Call("add", (Call("max", (VARIABLE, 0.0)), how.epsilon))
    root = text_of(Call("div", (1.0, Call("sqrt", (inside,)))))
    inverse = append(Activation(root), [variance], ".inverse")
    gains = append(Linear(how.gain[:, None], np.zeros(count)), [inverse], ".gains")
    result = append(Mul(), [value, gains], "")
    if how.offset.any():
        result = append(Affine(np.ones(count), how.offset), [result], ".offset")
    return result
