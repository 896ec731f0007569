"""The state of a recurrent policy: what it remembers from one step to the next.

In: a name, a length and the value at the start of an episode, as the contract says them. Out: the
same in floats, and in the integers of a quantised policy.
A graph reads the state under the name `STATE` + its name, and says which nodes make the next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.quant_tensor import QuantTensor

STATE = "state/"  # what the names of state inputs begin with in a graph
MOST_LENGTH = 1 << 16


@dataclass(frozen=True, slots=True)
class StateVector:
    """One vector that is carried from step to step.

    initial: its value at the start of an episode; empty: zeros.
    """

    name: str
    length: int
    initial: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.isascii() or len(self.name) > 40:
            raise InputError(
                f"contract: a state is called {self.name[:60]!r}; it must be a letter, then "
                "letters, digits and underscores, at most 40"
            )
        if type(self.length) is not int or not 1 <= self.length <= MOST_LENGTH:
            raise InputError(
                f"contract: the state {self.name} has {self.length} values, allowed are 1 to "
                f"{MOST_LENGTH:,}"
            )
        if self.initial and (
            len(self.initial) != self.length or not all(map(math.isfinite, self.initial))
        ):
            raise InputError(
                f"contract: the state {self.name} has {self.length} values, its initial value has "
                f"{len(self.initial)}: both must be as many, and finite numbers"
            )

    @property
    def tensor_name(self) -> str:
        """What the graph calls it."""
        return f"{STATE}{self.name}"

    @property
    def start(self) -> NDArray[np.float32]:
        """float32 [length]: the value at the start of an episode."""
        return np.array(self.initial or (0.0,) * self.length, np.float32)


def states_from(table: Sequence[Mapping[str, Any]]) -> tuple[StateVector, ...]:
    """Return the states that a contract's JSON lists; LookupError or TypeError where it is none."""
    return tuple(
        StateVector(state["name"], state["length"], tuple(state["initial"])) for state in table
    )


@dataclass(frozen=True, slots=True)
class QuantState:
    """A state in integers: how they mean numbers, and the node that makes the next ones."""

    name: str
    tensor: QuantTensor
    next: str

    @property
    def tensor_name(self) -> str:
        """What the graph calls it."""
        return f"{STATE}{self.name}"

    @property
    def dtype(self) -> type[np.int8] | type[np.int16]:
        """What an artifact holds it in."""
        return np.int8 if self.tensor.is_int8 else np.int16
