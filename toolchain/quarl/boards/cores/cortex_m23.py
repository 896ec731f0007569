"""Cortex-M23: a Cortex-M0+ with a divider, CBZ and TrustZone.

Arm publishes no timing table of it that we could check, so it borrows the Cortex-M0+'s.
"""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.core import Core, CycleModel, Emulation, cycles_of, thumb
from quarl.boards.cores.cortex_m0 import TIMING as CORTEX_M0
from quarl.boards.cores.cortex_m0plus import CORE as CORTEX_M0PLUS
from quarl.boards.cores.cortex_m33 import MACHINE

# How long a division takes is the chip's choice; 34 is the longer one, from memory, not checked.
TIMING = replace(CORTEX_M0, cycles=cycles_of(**CORTEX_M0.cycles, sdiv=34, udiv=34))

CORE = Core(
    name="cortex-m23",
    instruction_set="Armv8-M Baseline",
    variants={"none": thumb("portable", "cortex_m23", "-mcpu=cortex-m23")},
    counter="SysTick",  # DWT's cycle counter needs the Main Extension
    # Armv8-M Mainline contains Baseline; neither emulator has an M23 of its own
    emulation=Emulation(MACHINE, unicorn="UC_CPU_ARM_CORTEX_M33", stands_in="cortex-m33"),
    cycles=CycleModel(
        TIMING,
        "timing table of the Cortex-M0+, borrowed for this core,",
        (1, 1, 2),
    ),
    limit=replace(CORTEX_M0PLUS.limit, manual="as a Cortex-M0+; not checked for this core"),
)
