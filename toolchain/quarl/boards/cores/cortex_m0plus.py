"""Cortex-M0+."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.core import Core, CycleModel, Emulation, thumb
from quarl.boards.cores.cortex_m0 import CORE as CORTEX_M0
from quarl.boards.cores.cortex_m0 import MACHINE, TIMING

CORE = Core(
    name="cortex-m0plus",
    instruction_set="Armv6-M",
    variants={"none": thumb("portable", "cortex_m0plus", "-mcpu=cortex-m0plus")},
    counter="SysTick",
    emulation=Emulation(MACHINE, unicorn="UC_CPU_ARM_CORTEX_M0", stands_in="cortex-m0"),
    # Cortex-M0+ TRM (DDI 0484), table 3-1: as the M0's, but its pipeline has two stages
    cycles=CycleModel(TIMING, "timing table of the Cortex-M0+", (1, 1, 1)),
    limit=replace(CORTEX_M0.limit, manual="Cortex-M0+ TRM (DDI 0484)"),
)
