"""Rows: what a policy decides on in one step, its observation and, of a recurrent one, its state.

A policy without a state has observations [n, *shape] as its rows. A recurrent one has rows [n,
features + state values]: the observation in environment units, then each state of the contract in
its order. A plain observation stands for the first step of an episode. So whatever compares single
decisions needs to know nothing of states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Contract


def state_length(contract: Contract) -> int:
    """Return how many values all states have together; 0 of a policy without any."""
    return sum(state.length for state in contract.state)


def row_shape(contract: Contract) -> tuple[int, ...]:
    """Return the shape of a row: that of an observation where there is no state."""
    length, shape = state_length(contract), contract.observation.shape
    return (shape[0] + length,) if length else shape


def start_of(contract: Contract) -> NDArray[np.float32]:
    """Return float32 [state values]: all states at the start of an episode."""
    starts = [state.start for state in contract.state]
    return np.concatenate(starts) if starts else np.zeros(0, np.float32)


def split_rows(contract: Contract, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the observations [n, *shape], and the states [n, values] in float32, of rows or plain
    observations.
    """
    length = state_length(contract)
    if length and rows.ndim == 2 and rows.shape[1] == contract.observation.shape[0] + length:
        return rows[:, :-length], rows[:, -length:].astype(np.float32, copy=False)
    start = start_of(contract)
    count = rows.shape[0] if rows.ndim else 0  # a single number is refused by whoever reads it
    return rows, np.broadcast_to(start, (count, length))


def join_rows(obs: NDArray[Any], state: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows of observations [n, features] and states [n, values] of any number type."""
    return np.concatenate([obs, state], axis=1).astype(np.float32)


def check_rows(contract: Contract, rows: NDArray[Any]) -> None:
    """Check that these are rows of the contract.

    Raises:
        InputError: the shape is another one; names both.
    """
    contract.observation.to_graph(split_rows(contract, rows)[0])


def state_parts(contract: Contract, state: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the states [n, values] by the names that the graph gives them."""
    parts, at = {}, 0
    for one in contract.state:
        parts[one.tensor_name] = state[:, at : at + one.length]
        at += one.length
    return parts
