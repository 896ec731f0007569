"""Sampled actions: a choice drawn from the softmax of the outputs, the same on the host and in C.

In: outputs in real units and random numbers. Out: actions. Probabilities are those of
`quarl.graph.softmax`, of which each becomes a whole number of 2^24ths; where a random number falls
among their sums decides. So equal outputs and equal random numbers give equal actions everywhere.
Random numbers: PCG32 (M. O'Neill, HMC-CS-2014-0905), one generator an episode, seeded with the
episode's seed, one number a choice. firmware_harness/kernels/ql_random_seed.c, ql_random_next.c and
ql_sample_f32.c do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Action
from quarl.graph.softmax import softmax

MULTIPLIER, INCREMENT = np.uint64(6364136223846793005), np.uint64(1442695040888963407)
WHOLE = np.float32(1 << 24)
BITS = np.uint64(32)


def seeded(seeds: Sequence[int]) -> NDArray[np.uint64]:
    """Return the states of one generator per seed; of a seed only the lowest 64 bits count."""
    states = np.zeros(len(seeds), np.uint64)
    states = draw(states)[1] + np.array([seed % 2**64 for seed in seeds], np.uint64)
    return draw(states)[1]


def draw(states: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Return the next number of each generator, and the states after it."""
    mixed = (((states >> np.uint64(18)) ^ states) >> np.uint64(27)).astype(np.uint32)
    turn = (states >> np.uint64(59)).astype(np.uint32)
    numbers = (mixed >> turn) | (mixed << ((np.uint32(32) - turn) & np.uint32(31)))
    return numbers, states * MULTIPLIER + INCREMENT


def sample(
    action: Action, outputs: NDArray[Any], states: NDArray[np.uint64], beta: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the drawn actions [n] or [n, choices] for outputs [n, count], and the states after.

    Args:
        beta: the factor of the outputs in the softmax.
    """
    counts = action.counts or (action.count,)
    chosen = []
    for part in np.split(outputs, np.cumsum(counts)[:-1], axis=1):
        numbers, states = draw(states)
        chosen.append(_place(softmax(part, beta), numbers))
    if action.kind == "discrete":
        return chosen[0] + action.start, states
    return np.stack(chosen, axis=1), states


def _place(probabilities: NDArray[np.float32], numbers: NDArray[np.uint32]) -> NDArray[np.int64]:
    sums = (probabilities * WHOLE).astype(np.uint64).cumsum(axis=1)
    places = (numbers.astype(np.uint64) * sums[:, -1]) >> BITS
    first: NDArray[np.int64] = (sums > places[:, None]).argmax(axis=1)
    return first
