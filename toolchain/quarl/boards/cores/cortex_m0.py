"""Cortex-M0."""

from __future__ import annotations

from quarl.boards.core import (
    Core,
    CoreLimit,
    CycleModel,
    Emulation,
    Machine,
    Region,
    Timing,
    cycles_of,
    thumb,
)

LOADS = cycles_of(ldr=4, ldrb=1, ldrsb=1, ldrh=2, ldrsh=2, ldm=4, pop=4)
TIMING = Timing(  # Cortex-M0 TRM (DDI 0432), table 3-1, with the multiplier of one cycle
    cycles_of(ldr=2, str=2),
    ("ldm", "stm", "push", "pop"),
    has_pipelined_loads=False,
    loads=LOADS,
)
MACHINE = Machine(
    "microbit",
    flash=Region(0, 256 << 10),
    ram=Region(0x2000_0000, 16 << 10),
    ticks_hz=16_000_000,
)

CORE = Core(
    name="cortex-m0",
    instruction_set="Armv6-M",
    variants={"none": thumb("portable", "cortex_m0", "-mcpu=cortex-m0")},
    counter="SysTick",
    emulation=Emulation(MACHINE, unicorn="UC_CPU_ARM_CORTEX_M0"),
    cycles=CycleModel(TIMING, "timing table of the Cortex-M0", (2, 2, 2)),
    limit=CoreLimit(
        mac_per_cycle=0.5,
        bytes_per_cycle=2.0,
        mac_source="MULS and ADDS, one cycle each",
        bytes_source="a load of 4 bytes takes two cycles",
        manual="Cortex-M0 TRM (DDI 0432)",
    ),
)
