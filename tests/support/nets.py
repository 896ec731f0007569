"""Random chains of dense layers, with what a learner would have seen of them."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.block import NetShape
from quarl.actorq.fill import Layers, Ranges


class Net(NamedTuple):
    """A network as a learner holds it."""

    shape: NetShape
    layers: Layers
    ranges: Ranges
    obs: NDArray[np.float32]


def random_net(shape: NetShape, seed: int = 0, *, gain: float = 1.0, count: int = 256) -> Net:
    """Return a network with normal weights and the ranges of `count` normal observations."""
    rng = np.random.default_rng(seed)
    power = 2.0 if shape.hidden == "relu" else 1.0
    layers = [
        (
            (gain * rng.normal(0, (power / inputs) ** 0.5, (outputs, inputs))).astype(np.float32),
            rng.normal(0, 0.1, outputs).astype(np.float32),
        )
        for inputs, outputs in pairwise(shape.lengths)
    ]
    obs = rng.normal(rng.normal(0, 3, shape.lengths[0]), 1, (count, shape.lengths[0]))
    obs = obs.astype(np.float32)
    return Net(shape, layers, ranges_of(shape, layers, obs), obs)


def ranges_of(shape: NetShape, layers: Layers, obs: NDArray[np.float32]) -> Ranges:
    """Return the ranges a forward pass shows."""
    values, peaks = obs.astype(np.float64), []
    for index, (weights, bias) in enumerate(layers):
        values = values @ weights.T + bias
        peaks.append(float(np.abs(values).max()))
        if index < len(layers) - 1:
            values = np.maximum(values, 0) if shape.hidden == "relu" else np.tanh(values)
    return Ranges.of(obs, peaks)
