"""How far the state of an int8 policy drifts from its source's, both carrying their own.

In: a recurrent source, its integers, and observations in the order in which they were met. Out:
frozen figures. Both see the same observations, whatever they would have done, so what differs is
the state alone. The integers are those of the reference, which every backend equals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import next_integers, real_state, start_integers, step_results
from quarl.graph.rows import join_rows, split_rows, start_of

DRIFT_STEPS = 500
SEQUENCES = 8  # the observations from as many beginnings
ENDS = 50  # steps at the beginning and at the end that are averaged


@dataclass(frozen=True, slots=True)
class StateDrift:
    """Mean and largest distance of the states, as shares of the largest value each state's source
    has.
    """

    steps: int
    sequences: int
    early: float  # mean over the first ENDS steps
    late: float  # mean over the last
    largest: float


def state_drift(
    source: Policy, quantized: QuantPolicy, rows: NDArray[Any], steps: int = DRIFT_STEPS
) -> StateDrift | None:
    """Return the drift over rows (`quarl.graph.rows`) in their order, begun again where they end;
    None for a policy without a state.
    """
    if not source.contract.state:
        return None
    obs = split_rows(source.contract, rows)[0]
    places = np.arange(SEQUENCES) * len(obs) // SEQUENCES
    state = np.repeat(start_of(source.contract)[None], SEQUENCES, axis=0)
    integers = np.repeat(start_integers(quantized)[None], SEQUENCES, axis=0)
    wanted, made = [], []
    for step in range(steps):
        seen = obs[(places + step) % len(obs)]
        state = source.step(join_rows(seen, state))[1]
        observed = quantized.observation.quantize(seen)
        results = step_results(quantized, np.concatenate([observed, integers], axis=1))
        integers = next_integers(quantized, results)
        wanted.append(state)
        made.append(real_state(quantized, integers))
    reals = np.stack(wanted).astype(np.float64)  # [steps, sequences, values]
    shares = np.abs(np.stack(made) - reals) / _ranges(source, reals)
    return StateDrift(
        steps,
        SEQUENCES,
        float(shares[:ENDS].mean()),
        float(shares[-ENDS:].mean()),
        float(shares.max()),
    )


def _ranges(source: Policy, reals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64 [values]: the largest value of the state that each belongs to."""
    largest, at = [], 0
    for state in source.contract.state:
        part = np.abs(reals[..., at : at + state.length]).max()
        largest.append(np.full(state.length, max(float(part), np.finfo(np.float32).tiny)))
        at += state.length
    return np.concatenate(largest)
