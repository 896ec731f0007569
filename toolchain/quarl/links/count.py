"""What an emulator counted: blocks of instructions, how often each was executed, how often it ended
in a jump.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of code executed from its first instruction to its last."""

    address: int
    bytes: int
    instructions: tuple[str, ...]  # "mnemonic operands", for the cycle model


@dataclass(frozen=True, slots=True)
class Count:
    """What one call of a function executed: blocks with how often, and how often the next block was
    not the one that follows.
    """

    blocks: tuple[tuple[Block, int, int], ...]  # block, executions, taken branches at its end

    @property
    def instructions(self) -> int:
        """Instructions executed."""
        return sum(len(block.instructions) * times for block, times, _ in self.blocks)

    @property
    def taken_branches(self) -> int:
        """How often execution went on elsewhere than behind the block."""
        return sum(taken for _, _, taken in self.blocks)


def merged(counts: Sequence[Count]) -> Count:
    """Return the sum of several counts."""
    total: dict[Block, list[int]] = {}
    for count in counts:
        for block, times, taken in count.blocks:
            entry = total.setdefault(block, [0, 0])
            entry[0] += times
            entry[1] += taken
    return Count(tuple((block, times, taken) for block, (times, taken) in total.items()))
