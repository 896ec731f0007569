"""Cycle estimate: executed blocks times the timing of the core's instructions.

In: what an emulator counted. Out: a range, never a measurement. The timing and its source stand in
the core's file under `quarl.boards.cores`; `cycle_assumptions` says what is assumed.
Background: toolchain/docs/firmware.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from quarl.boards.core import Published, Timing
from quarl.boards.cortex_m import Board
from quarl.links.count import Count

UNKNOWN_WAIT_STATES = 10  # assumed for the high end where a board file does not know them
ACCESSES = ("ldr", "str")  # of one register; LDRD and STRD move two
DOUBLE_ACCESSES = ("ldrd", "strd")


@dataclass(frozen=True, slots=True)
class Cycles:
    """An estimate of cycles."""

    low: int
    mid: int
    high: int

    def latency_us(self, clock_hz: int) -> tuple[float, float, float]:
        """Return low, mid and high in microseconds at a clock."""
        return (self.low * 1e6 / clock_hz, self.mid * 1e6 / clock_hz, self.high * 1e6 / clock_hz)


def estimate_cycles(count: Count, board: Board) -> Cycles:
    """Return the estimate for what was counted on a board's core; `cycle_assumptions` says what it
    rests on.
    """
    model = board.core.cycles
    static = sum(
        _block_cycles(block.instructions, model.timing) * times for block, times, _ in count.blocks
    )
    taken = sum(branches for _, _, branches in count.blocks)
    least, usual, most = (static + taken * refill for refill in model.refill)
    waits = UNKNOWN_WAIT_STATES if board.flash_wait_states == "unknown" else board.flash_wait_states
    high = most + taken * waits
    if model.best is not None:
        low = -(-count.instructions // model.best.instructions_per_cycle)
        return Cycles(low, (low + high) // 2, high)
    return Cycles(least, usual, high)


def cycle_assumptions(board: Board) -> str:
    """Return what the estimate for a board assumes, in one sentence."""
    model = board.core.cycles
    if model.best is not None:
        timing = f"low: {model.best.words}; high: {model.basis}; mid: halfway"
    else:
        timing = (
            f"{model.basis} with memory that always answers at once; a taken branch adds "
            f"{_refill_words(model.refill)}"
        )
    return "; ".join(
        [
            timing,
            _wait_words(board.flash_wait_states),
            _validation(model.published),
            *_stand_in(board.core.emulation.stands_in),
        ]
    )


def _wait_words(wait_states: int | Literal["unknown"]) -> str:
    if wait_states == "unknown":
        return (
            f"the flash's wait states are unknown: high adds {UNKNOWN_WAIT_STATES}, more than any "
            "board that states them, to each taken branch"
        )
    if wait_states == 0:
        return "no wait states"
    return f"high adds {wait_states} flash wait states to each taken branch"


def _refill_words(refill: tuple[int, int, int]) -> str:
    least, usual, most = refill
    return f"{least}" if least == most else f"{least}, {usual} or {most} cycles"


def _stand_in(emulated: str) -> list[str]:
    return [f"executed by an emulated {emulated}, which knows all its instructions"] * bool(
        emulated
    )


def _validation(published: Sequence[Published]) -> str:
    errors = [measurement.error_percent for measurement in published]
    if not errors:
        return "not validated on silicon"
    return (
        f"on {len(errors)} published measurements of other kernels on silicon the middle "
        f"came out {min(errors)} to {max(errors)} %"
    )


def _block_cycles(instructions: Sequence[str], timing: Timing) -> int:
    total = 0
    follows_access = False
    for text in instructions:
        mnemonic, _, operands = text.partition(" ")
        mnemonic = mnemonic.removesuffix(".w")
        if follows_access and timing.has_pipelined_loads and _is_single_load(mnemonic):
            total += 1
        else:
            total += _instruction_cycles(mnemonic, operands, timing)
        follows_access = _is_single_access(mnemonic)
    return total


def _instruction_cycles(mnemonic: str, operands: str, timing: Timing) -> int:
    if not mnemonic:
        return timing.undecoded
    if mnemonic.startswith(timing.lists):
        return 1 + _registers(operands)
    rows = [start for start in timing.cycles if mnemonic.startswith(start)]
    return timing.cycles[max(rows, key=len)] if rows else 1


def _is_single_access(mnemonic: str) -> bool:
    return mnemonic.startswith(ACCESSES) and not mnemonic.startswith(DOUBLE_ACCESSES)


def _is_single_load(mnemonic: str) -> bool:
    return mnemonic.startswith("ldr") and not mnemonic.startswith("ldrd")


def _registers(operands: str) -> int:
    return operands.count(",", operands.find("{")) + 1
