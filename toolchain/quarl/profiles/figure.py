"""A figure: one number, measured, emulated or estimated, with its unit and how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["exact", "tested", "measured", "emulated", "estimated"]
"""How a figure was made: exact (the same on every run), tested (a confidence bound), measured (a
clock on the device),
emulated (exact instruction counts), estimated (a model, with its assumptions)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the profile that a budget may limit."""

    name: str
    value: float
    unit: str
    kind: Kind
    # share by which it differs between runs of the same thing, where that was measured
    noise: float = 0.0
    # the machine a measured figure belongs to; figures of two machines are not compared
    where: str = ""
