"""Cortex-M55. Arm publishes no timing table of it, so the estimate is a wide range."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.core import (
    BestCase,
    Core,
    CoreLimit,
    CycleModel,
    Emulation,
    Machine,
    Region,
    thumb,
)
from quarl.boards.cores.cortex_m4 import REFILL
from quarl.boards.cores.cortex_m4 import TIMING as CORTEX_M4

# It loads, stores or computes half a vector a cycle: two beats. The next vector instruction may
# begin when the first half is done, if it has the other unit.
VECTOR_CYCLES = 2
TIMING = replace(
    CORTEX_M4, cycles={**CORTEX_M4.cycles, "mve.": VECTOR_CYCLES}, undecoded=VECTOR_CYCLES
)
MACHINE = Machine(
    "mps3-an547",
    flash=Region(0x0100_0000, 2 << 20),
    ram=Region(0x2000_0000, 512 << 10),
    ticks_hz=32_000_000,
    vectors=Region(0, 512 << 10),
)

CORE = Core(
    name="cortex-m55",
    instruction_set="Armv8.1-M",
    variants={
        "none": thumb("dsp", "cortex_m55", "-mcpu=cortex-m55"),
        "double": thumb("mve", "cortex_m55+mve+mve_fp", "-mcpu=cortex-m55", "auto"),
    },
    counter="DWT",
    emulation=Emulation(MACHINE),
    cycles=CycleModel(
        TIMING,
        "the Cortex-M4's timing table, and 2 cycles for each vector instruction",
        REFILL,
        best=BestCase(
            1,
            "an instruction every cycle; vector loads and vector arithmetic overlapped, each with "
            "2 cycles of its unit",
            VECTOR_CYCLES,
        ),
    ),
    limit=CoreLimit(
        mac_per_cycle=8.0,
        bytes_per_cycle=8.0,
        mac_source="Helium: eight products of 8 bits in one cycle",
        bytes_source="8 bytes a cycle",
        manual="Cortex-M55 TRM (101051)",
    ),
)
