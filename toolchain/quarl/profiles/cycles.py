"""Cycle estimate: executed blocks times the timing tables of Arm's technical reference manuals.

In: what an emulator counted. Out: a range, never a measurement. Tables (zero wait states):
    Cortex-M4 TRM (100166) table 3-1,
Cortex-M3 TRM (100165) table 3-1, Cortex-M0 TRM (DDI 0432) table 3-1, Cortex-M0+ TRM (DDI 0484)
table 3-1. Arm publishes none for M7, M33 and M55: M33 borrows the M4's, the other two get a wide
range. `cycle_assumptions` says what is assumed.
Background: toolchain/docs/firmware.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quarl.boards.cortex_m import Board, CpuName
from quarl.links.count import Count

DIVIDE_CYCLES = 7  # of 2 to 12
LONG_MULTIPLY_CYCLES_M3 = 4  # of 3 to 5
REFILL_CYCLES: dict[CpuName, tuple[int, int, int]] = {  # a taken branch adds: least, usual, most
    "cortex-m0": (2, 2, 2),
    "cortex-m0plus": (1, 1, 1),
    "cortex-m3": (1, 2, 3),
    "cortex-m4": (1, 2, 3),
    "cortex-m33": (1, 2, 3),
    "cortex-m7": (1, 2, 3),
    "cortex-m55": (1, 2, 3),
}
# the M55 computes half a vector a cycle; the next instruction may begin when the first half is done
VECTOR_CYCLES = 2
Cost = Callable[[str, str, bool], int]


@dataclass(frozen=True, slots=True)
class Published:
    """Cycles that somebody measured on silicon and published, for code we can build and count."""

    what: str
    cpu: CpuName
    cycles: int
    error_percent: (
        int  # of the estimate's middle against them; tests/profiles/test_cycles.py counts it again
    )


# bakenn 1.0.0, package description: medians of an int8 32-16-4 network on an nRF52840 at 64 MHz
PUBLISHED = (
    Published("bakenn with CMSIS-NN", "cortex-m4", 3786, -14),
    Published("bakenn's portable C", "cortex-m4", 8706, -6),
)


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
    cost = _TABLES.get(board.cpu, _cost_m4)
    static = sum(
        _block_cycles(block.instructions, cost) * times for block, times, _ in count.blocks
    )
    taken = sum(branches for _, _, branches in count.blocks)
    least, usual, most = (static + taken * refill for refill in REFILL_CYCLES[board.cpu])
    high = most + taken * board.flash_wait_states
    if board.cpu in _WIDE:
        low = -(-count.instructions // _WIDE[board.cpu])
        return Cycles(low, (low + high) // 2, high)
    return Cycles(least, usual, high)


def cycle_assumptions(board: Board) -> str:
    """Return what the estimate for a board assumes, in one sentence."""
    waits = (
        f"high adds {board.flash_wait_states} flash wait states to each taken branch"
        if board.flash_wait_states
        else "no wait states"
    )
    if board.cpu == "cortex-m7":
        return (
            "low: two instructions every cycle; high: the Cortex-M4's timing table; mid: "
            f"halfway; {waits}; {_validation(board.cpu)}"
        )
    if board.cpu == "cortex-m55":
        return (
            "low: an instruction every cycle, every vector instruction overlapped by the "
            "next; high: the Cortex-M4's timing table, and"
            f" {VECTOR_CYCLES} cycles for each instruction of a block with vector "
            f"instructions; mid: halfway; {waits};"
            f" {_validation(board.cpu)}"
        )
    refill = REFILL_CYCLES[board.cpu]
    core = (
        "Cortex-M4, borrowed for this core,"
        if board.cpu == "cortex-m33"
        else f"Cortex-{board.cpu.removeprefix('cortex-').upper()}"
    )
    taken = (
        f"a taken branch adds {refill[0]}, {refill[1]} or {refill[2]} cycles"
        if refill[0] != refill[2]
        else f"a taken branch adds {refill[0]}"
    )
    return (
        f"timing table of the {core} with memory that always answers at once; {taken}; "
        f"{waits}; {_validation(board.cpu)}"
    )


def _validation(cpu: CpuName) -> str:
    errors = [published.error_percent for published in PUBLISHED if published.cpu == cpu]
    if not errors:
        return "not validated on silicon"
    return (
        f"on {len(errors)} published measurements of other kernels on silicon the middle "
        f"came out {min(errors)} to {max(errors)} %"
    )


def _block_cycles(instructions: Sequence[str], cost: Cost) -> int:
    total = 0
    follows_access = False
    for text in instructions:
        mnemonic, _, operands = text.partition(" ")
        total += cost(mnemonic.removesuffix(".w"), operands, follows_access)
        follows_access = _is_single_access(mnemonic)
    return total


def _is_single_access(mnemonic: str) -> bool:
    return mnemonic.startswith(("ldr", "str")) and not mnemonic.startswith(("ldrd", "strd"))


def _registers(operands: str) -> int:
    return operands.count(",", operands.find("{")) + 1


def _cost_m4(mnemonic: str, operands: str, follows_access: bool) -> int:
    if mnemonic.startswith(("ldrd", "strd")):
        return 3
    if mnemonic.startswith("ldr"):
        return 1 if follows_access else 2
    if mnemonic.startswith(("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop")):
        return 1 + _registers(operands)
    if mnemonic.startswith(("vldr", "vstr")):
        return 2
    if mnemonic.startswith(("vmla", "vmls", "vfma", "vfms")):
        return 3
    if mnemonic.startswith(("vdiv", "vsqrt")):
        return 14
    return DIVIDE_CYCLES if mnemonic.startswith(("sdiv", "udiv")) else 1


def _cost_m3(mnemonic: str, operands: str, follows_access: bool) -> int:
    if mnemonic.startswith(("mla", "mls")):
        return 2
    if mnemonic.startswith(("smull", "umull", "smlal", "umlal")):
        return LONG_MULTIPLY_CYCLES_M3
    return _cost_m4(mnemonic, operands, follows_access)


def _cost_m0(mnemonic: str, operands: str, _: bool) -> int:
    if mnemonic.startswith(("ldm", "stm", "push", "pop")):
        return 1 + _registers(operands)
    return 2 if mnemonic.startswith(("ldr", "str")) else 1


def _cost_m55(mnemonic: str, operands: str, follows_access: bool) -> int:
    return (
        _cost_m4(mnemonic, operands, follows_access) if mnemonic else VECTOR_CYCLES
    )  # the decoder knows no vector instructions


_TABLES: dict[CpuName, Cost] = {
    "cortex-m0": _cost_m0,
    "cortex-m0plus": _cost_m0,
    "cortex-m3": _cost_m3,
    "cortex-m55": _cost_m55,
}
_WIDE: dict[CpuName, int] = {
    "cortex-m7": 2,
    "cortex-m55": 1,
}  # most instructions a cycle, for the low end
