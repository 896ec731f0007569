"""The Pi as it describes itself: what its agent answers when it is asked for the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Machine:
    """The Pi as it describes itself."""

    machine: str
    bits: int
    model: str | None
    cpu_part: str | None
    cpu_features: tuple[str, ...]
    cores: int
    memory_bytes: int
    system: str
    libc: str
    python: str
    last_core: int = 0  # that a process may use; where everything is measured


def machine_from(table: Mapping[str, Any]) -> Machine:
    """Return the machine a table describes."""
    names = Machine.__dataclass_fields__
    return Machine(
        **{**{name: table[name] for name in names}, "cpu_features": tuple(table["cpu_features"])}
    )
