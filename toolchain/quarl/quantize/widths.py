"""Widths: how many bits weights, hidden activations, observations and outputs have.

In: what a user asks for. Out: one frozen value that every stage of quantisation reads. Whatever the
widths, the arithmetic is that of decision 0001; narrower integers only have closer clamps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from quarl.errors import InputError

WEIGHT_BITS = (2, 8)
ACTIVATION_BITS = (2, 16)
INPUT_BITS = (3, 16)
OUTPUT_BITS = (2, 8)
NAMES = "int2 to int8, or one of them with -all"
_NAME = re.compile(r"int([2-8])(-all)?")


@dataclass(frozen=True, slots=True)
class Widths:
    """Bits of each kind of number; None: as the rung of the ladder says.

    Up to 8 bits a hidden activation has exactly so many; above 8 it has as many as 2^24 allows.
    """

    weights: int = 8  # per output channel, of the layers between the first and the last
    edges: int = 8  # weights of the first and the last layer
    activations: int | None = None
    inputs: int | None = None  # of each observation feature; pixels always have 8
    output: int | None = None  # of the last layer's integers

    def __post_init__(self) -> None:
        asked = (
            ("weights", self.weights, WEIGHT_BITS),
            ("weights of the first and last layer", self.edges, WEIGHT_BITS),
            ("activations", self.activations, ACTIVATION_BITS),
            ("inputs", self.inputs, INPUT_BITS),
            ("output", self.output, OUTPUT_BITS),
        )
        wrong = [
            f"{what}: {bits!r} bits, allowed are {least} to {most}"
            for what, bits, (least, most) in asked
            if bits is not None and not (type(bits) is int and least <= bits <= most)
        ]
        if wrong:
            raise InputError("; ".join(wrong))

    @property
    def name(self) -> str:
        """What the weights are called: int8, int4 (inner layers only), int4-all."""
        if self.edges == self.weights < 8:
            return f"int{self.weights}-all"
        return f"int{self.weights}"

    def sentence(self) -> str:
        """Return the widths for people: weights int4, activations 8, inputs 12."""
        parts = [f"weights {self.name}"]
        for what in ("activations", "inputs", "output"):
            bits = getattr(self, what)
            parts += [] if bits is None else [f"{what} {bits}"]
        return ", ".join(parts)


INT8 = Widths()


def widths_named(text: str) -> Widths:
    """Return the widths whose weights are called `text`; the rest is left to the rung.

    Raises:
        InputError: there are no such weights.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise InputError(f"--weights {text}: must be {NAMES}")
    bits = int(match[1])
    return replace(INT8, weights=bits, edges=bits if match[2] else 8)


def largest_weight(bits: int) -> int:
    """Return the largest integer a weight of so many bits may have; the smallest is its
    negative.
    """
    return int(2 ** (bits - 1) - 1)
