"""What an expert is to a network that learns from it: a player that knows more than the screen
shows and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Advice:
    """What an expert has to say before a step."""

    action: int
    odds: tuple[float, ...]  # of each action of the minimal set to be as good as any
    urgency: float  # how much hangs on it
    facts: tuple[float, ...]  # what one has to see in order to know, each about -1 to 1


class Expert(Protocol):
    """A player that reads the memory of one console."""

    facts: int  # how many

    def start(self) -> None:
        """Forget the game before."""

    def advise(self) -> Advice:
        """Return what to do now."""
        ...

    def watch(self, action: int) -> None:
        """Take in what was done, which need not be what was advised."""
