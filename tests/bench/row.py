"""One line of the benchmark's tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number."""

    what: str
    found: str
    goal: str
    holds: bool | None  # None: no goal of its own
