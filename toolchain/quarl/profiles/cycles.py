"""Cycle estimate: executed blocks times the timing of the core's instructions.

In: what an emulator counted. Out: a range, never a measurement. The timing and its source stand in
the core's file under `quarl.boards.cores`; `cycle_assumptions` says what is assumed.
Background: toolchain/docs/firmware.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from quarl.boards.core import Band, BestCase, Published, Timing
from quarl.boards.microcontroller import Board, FlashCache
from quarl.links.count import Count
from quarl.links.isa import VECTOR_LOAD, VECTOR_OP, VECTOR_STORE

UNKNOWN_WAIT_STATES = 10  # assumed for the high end where a board file does not know them
FLASH_LINE = 16  # bytes that flash of microcontrollers gives at once, at most
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


def estimate_cycles(
    count: Count, board: Board, flash_bytes: int | None = None, table_bytes: int = 0
) -> Cycles:
    """Return the estimate for what was counted on a board's core; `cycle_assumptions` says what it
    rests on.

    Args:
        flash_bytes: of the whole image; one that fits a flash cache is fetched once at most.
        table_bytes: of weights and biases that are read, each from flash at least once.
    """
    model = board.core.cycles
    static = sum(
        _block_cycles(block.instructions, model.timing) * times for block, times, _ in count.blocks
    )
    taken = sum(branches for _, _, branches in count.blocks)
    least, usual, most = (static + taken * refill for refill in model.refill)
    waits = UNKNOWN_WAIT_STATES if board.flash_wait_states == "unknown" else board.flash_wait_states
    high = most + taken * waits
    if board.flash_cache is None:
        high += -(-table_bytes // FLASH_LINE) * waits
    else:
        misses = _most_fills(count, board.flash_cache, model.timing, flash_bytes)
        high += misses * board.flash_cache.fill_cycles
        usual = (usual + high) // 2
    if model.best is not None:
        low = sum(
            _least_cycles(block.instructions, model.best) * times
            for block, times, _ in count.blocks
        )
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
            _flash_words(board),
            _validation(model.published, model.slow_flash if board.flash_wait_states else None),
            *_stand_in(board.core.emulation.stands_in),
        ]
    )


def _most_fills(count: Count, cache: FlashCache, timing: Timing, flash_bytes: int | None) -> int:
    """Return how many lines are fetched at most: code once, and every load in its order.

    An image that fits the cache is fetched once as a whole, whatever is loaded again.
    """
    code = sum(block.bytes for block, _, _ in count.blocks)
    loaded = sum(
        sum(_loaded_bytes(text, timing) for text in block.instructions) * times
        for block, times, _ in count.blocks
    )
    most = -(-code // cache.line) + -(-loaded // cache.line)
    if flash_bytes is None or flash_bytes > cache.bytes:
        return most
    return min(most, -(-flash_bytes // cache.line))


def _loaded_bytes(text: str, timing: Timing) -> int:
    mnemonic, _, operands = text.partition(" ")
    count = _registers(operands) if mnemonic.startswith(timing.lists) else 1
    return count * _row(_plain(mnemonic), timing.loads, 0)


def _flash_words(board: Board) -> str:
    cache = board.flash_cache
    if cache is None:
        return _wait_words(board.flash_wait_states)
    return (
        f"code and tables in external flash behind a cache of {cache.bytes:,} B: low: every access "
        f"hits; high: code once and every load miss, {cache.fill_cycles} cycles for each "
        f"{cache.line} B, an image that fits the cache once as a whole; mid: halfway"
    )


def _wait_words(wait_states: int | Literal["unknown"]) -> str:
    if wait_states == "unknown":
        return (
            f"the flash's wait states are unknown: high adds {UNKNOWN_WAIT_STATES}, more than any "
            f"board that states them, to each taken branch{_TABLES}"
        )
    if wait_states == 0:
        return "no wait states"
    return f"high adds {wait_states} flash wait states to each taken branch{_TABLES}"


_TABLES = f" and to each {FLASH_LINE} B of tables"


def _refill_words(refill: tuple[int, int, int]) -> str:
    least, usual, most = refill
    return f"{least}" if least == most else f"{least}, {usual} or {most} cycles"


def _stand_in(emulated: str) -> list[str]:
    return [f"executed by an emulated {emulated}, which knows all its instructions"] * bool(
        emulated
    )


def _validation(published: Sequence[Published], band: Band | None) -> str:
    errors = [measurement.error_percent for measurement in published]
    if not errors:
        return "not validated on silicon"
    found = (
        f"on {len(errors)} published measurements of other kernels on silicon the middle "
        f"came out {min(errors)} to {max(errors)} %"
    )
    if band is None:
        return found
    return (
        f"{found}; of {band.what} {band.least_percent} to {band.most_percent} % of what others "
        "published: expect up to a third more where weights stream from slow flash"
    )


def _block_cycles(instructions: Sequence[str], timing: Timing) -> int:
    total = 0
    follows_access = False
    for text in instructions:
        mnemonic, _, operands = text.partition(" ")
        mnemonic = _plain(mnemonic)
        if follows_access and timing.has_pipelined_loads and _is_single_load(mnemonic):
            total += 1
        else:
            total += _instruction_cycles(mnemonic, operands, timing)
        follows_access = _is_single_access(mnemonic)
    return total


def _least_cycles(instructions: Sequence[str], best: BestCase) -> int:
    """Return the cycles of a block at best: as fast as instructions begin, and no faster than the
    busier of the two vector units.
    """
    memory = sum(text in (VECTOR_LOAD, VECTOR_STORE) for text in instructions)
    arithmetic = sum(text == VECTOR_OP for text in instructions)
    begun = -(-len(instructions) // best.instructions_per_cycle)
    return max(begun, best.vector_cycles * max(memory, arithmetic))


def _instruction_cycles(mnemonic: str, operands: str, timing: Timing) -> int:
    if not mnemonic:
        return timing.undecoded
    if mnemonic.startswith(timing.lists):
        return 1 + _registers(operands)
    return _row(mnemonic, timing.cycles, 1)


def _plain(mnemonic: str) -> str:
    """Return the mnemonic without the marks of a wide or a compressed encoding."""
    return mnemonic.removesuffix(".w").removeprefix("c.")


def _row(mnemonic: str, table: Mapping[str, int], otherwise: int) -> int:
    """Return the value of the longest start of the mnemonic in a table."""
    starts = [start for start in table if mnemonic.startswith(start)]
    return table[max(starts, key=len)] if starts else otherwise


def _is_single_access(mnemonic: str) -> bool:
    return mnemonic.startswith(ACCESSES) and not mnemonic.startswith(DOUBLE_ACCESSES)


def _is_single_load(mnemonic: str) -> bool:
    return mnemonic.startswith("ldr") and not mnemonic.startswith("ldrd")


def _registers(operands: str) -> int:
    return operands.count(",", operands.find("{")) + 1
