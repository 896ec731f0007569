"""Cortex-M3."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.core import (
    Core,
    CoreLimit,
    CycleModel,
    Emulation,
    Machine,
    Region,
    cycles_of,
    thumb,
)
from quarl.boards.cores.cortex_m4 import REFILL
from quarl.boards.cores.cortex_m4 import TIMING as CORTEX_M4

TIMING = replace(  # Cortex-M3 TRM (100165), table 3-1; long products take 3 to 5
    CORTEX_M4,
    cycles=cycles_of(**CORTEX_M4.cycles, mla=2, mls=2, smull=4, umull=4, smlal=4, umlal=4),
)

CORE = Core(
    name="cortex-m3",
    instruction_set="Armv7-M",
    variants={"none": thumb("portable", "cortex_m3", "-mcpu=cortex-m3")},
    counter="DWT",
    emulation=Emulation(
        Machine(
            "mps2-an385",
            flash=Region(0, 4 << 20),
            ram=Region(0x2000_0000, 4 << 20),
            ticks_hz=25_000_000,
        ),
        unicorn="UC_CPU_ARM_CORTEX_M3",
    ),
    cycles=CycleModel(TIMING, "timing table of the Cortex-M3", REFILL),
    limit=CoreLimit(
        mac_per_cycle=0.5,
        bytes_per_cycle=4.0,
        mac_source="MLA takes two cycles",
        bytes_source="loads in a row take one cycle for 4 bytes",
        manual="Cortex-M3 TRM (100165)",
    ),
)
