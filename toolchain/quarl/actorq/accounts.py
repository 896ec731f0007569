"""Where the time of a run goes: one account a process, in the terms of the paper's table.

In: nanoseconds, as a process spends them. Out: frozen accounts that add up and go to JSON.
Phases are wall time of the process; CPU seconds are counted beside them, for the whole process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

PHASES = (
    *("inference", "environment", "noise", "insert", "pull", "deserialise", "load"),
    *("sample", "learn", "quantise", "broadcast", "wait", "checkpoint", "check"),
)


@dataclass(frozen=True, slots=True)
class Account:
    """What one process has spent."""

    name: str
    phases_s: tuple[float, ...] = (0.0,) * len(PHASES)  # in the order of PHASES
    wall_s: float = 0.0
    cpu_s: float = 0.0  # of all threads of the process
    steps: int = 0  # environment steps of an actor, learner steps of a learner
    bytes_sent: int = 0
    bytes_received: int = 0
    pulls: int = 0  # policies taken by an actor, published by a learner
    pid: int = 0
    node: str = ""  # of Ray, that it runs on

    def phase(self, name: str) -> float:
        """Return the seconds of one phase."""
        return self.phases_s[PHASES.index(name)]

    def to_table(self) -> dict[str, object]:
        """Return it as a table for JSON."""
        return {**asdict(self), "phases_s": dict(zip(PHASES, self.phases_s, strict=True))}


@dataclass(slots=True)
class Ledger:
    """Adds up while a process works; `account` is what it has spent so far."""

    name: str
    spent_ns: list[int] = field(default_factory=lambda: [0] * len(PHASES))
    steps: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    pulls: int = 0
    node: str = ""
    began_ns: int = field(default_factory=time.perf_counter_ns)
    cpu_began_s: float = field(default_factory=time.process_time)

    def add(self, phase: str, nanoseconds: int) -> None:
        """Book nanoseconds."""
        self.spent_ns[PHASES.index(phase)] += nanoseconds

    @contextmanager
    def booking(self, phase: str) -> Iterator[None]:
        """Book what the block takes."""
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter_ns() - start)

    @property
    def account(self) -> Account:
        """What was spent so far."""
        return Account(
            self.name,
            tuple(ns / 1e9 for ns in self.spent_ns),
            (time.perf_counter_ns() - self.began_ns) / 1e9,
            time.process_time() - self.cpu_began_s,
            self.steps,
            self.bytes_sent,
            self.bytes_received,
            self.pulls,
            os.getpid(),
            self.node,
        )
