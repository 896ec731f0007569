"""Loops: the states of a recurrent policy while it is quantised.

In: a policy's units, and which of them makes the next value of which state. Out: which tensors are
held with many bits, and units that read them with few.
A state that adds up from step to step (the cell of an LSTM, the hidden vector of a GRU) gets
`STATE_BITS`, and so does all that is added to it: with 8 bits, a small step would be rounded away
forever. Products with it stay below 2^24, where every target is exact, if the other factor has
`GATE_BITS`. What is not a product or a sum reads it through a change of scale to few bits.
Measured: toolchain/docs/decisions/0011-recurrent-policies.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from quarl.graph.policy import Activation, Add, Function, Mul, Policy
from quarl.quantize.transforms import Unit

STATE_BITS = 15
GATE_BITS = 10
STATE_MARGIN = 1.25  # of the range seen on the calibration: what drifts may leave it
SAME_NUMBERS: Function = "x"
NEGATIVE_SIGMOID: Function = "neg(sigmoid(x))"
GATES = ("sigmoid", NEGATIVE_SIGMOID)
Loops: TypeAlias = tuple[tuple[str, str], ...]
"""The name of each state input, and of the unit that makes its next value."""


def loops_of(policy: Policy) -> Loops:
    """Return the policy's states and what makes the next ones."""
    names = (state.tensor_name for state in policy.contract.state)
    return tuple(zip(names, policy.next_state, strict=True))


def accumulated(units: tuple[Unit, ...], loops: Loops) -> frozenset[str]:
    """Return the names of all tensors that add up from step to step, or are added to one."""
    groups: dict[str, frozenset[str]] = {}
    sums = [(unit.name, *unit.inputs) for unit in units if isinstance(unit.op, Add)]
    for names in (*sums, *loops):
        merged = frozenset(names).union(*(groups.get(name, frozenset()) for name in names))
        groups.update(dict.fromkeys(merged, merged))
    summed = {name for names in sums for name in names}
    held = [groups[state] for state, _ in loops if groups[state] & summed]
    return frozenset().union(*held)


def with_narrow_copies(units: tuple[Unit, ...], loops: Loops) -> tuple[Unit, ...]:
    """Return the units with a change of scale before each that reads an accumulated tensor and is
    neither a product nor a sum.
    """
    held = accumulated(units, loops)
    made: set[str] = set()
    result: list[Unit] = []
    for unit in units:
        if not isinstance(unit.op, Add | Mul):
            for name in sorted(held.intersection(unit.inputs) - made):
                result.append(Unit(narrow_name(name), Activation(SAME_NUMBERS), (name,)))
                made.add(name)
            inputs = tuple(narrow_name(n) if n in held else n for n in unit.inputs)
            unit = replace(unit, inputs=inputs)
        result.append(unit)
    return tuple(result)


def narrow_name(name: str) -> str:
    """Return what the copy of few bits is called."""
    return f"{name}.narrow"


def is_narrow_copy(unit: Unit) -> bool:
    """Whether a unit changes the scale alone."""
    return unit.op == Activation(SAME_NUMBERS)


def gates(units: tuple[Unit, ...], held: frozenset[str]) -> frozenset[str]:
    """Return the names of the gates: sigmoids whose results are only multiplied into what adds
    up.
    """
    found = set()
    for unit in units:
        readers = [other for other in units if unit.name in other.inputs]
        if (
            isinstance(unit.op, Activation)
            and unit.op.function in GATES
            and readers
            and all(isinstance(other.op, Mul) and other.name in held for other in readers)
        ):
            found.add(unit.name)
    return frozenset(found)
