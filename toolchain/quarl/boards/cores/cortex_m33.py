"""Cortex-M33. Arm publishes no timing table of it, so it borrows the Cortex-M4's."""

from __future__ import annotations

from quarl.boards.core import Core, CoreLimit, CycleModel, Emulation, Machine, Region, thumb
from quarl.boards.cores.cortex_m4 import REFILL, TIMING

MACHINE = Machine(
    "mps2-an505",
    flash=Region(0x1000_0000, 4 << 20),
    ram=Region(0x3800_0000, 4 << 20),
    ticks_hz=20_000_000,
)

CORE = Core(
    name="cortex-m33",
    instruction_set="Armv8-M",
    variants={
        "none": thumb("dsp", "cortex_m33+dsp", "-mcpu=cortex-m33"),
        "single": thumb("dsp", "cortex_m33+dsp+fp_armv8d16sp", "-mcpu=cortex-m33", "fpv5-sp-d16"),
    },
    counter="DWT",
    emulation=Emulation(MACHINE, unicorn="UC_CPU_ARM_CORTEX_M33"),
    cycles=CycleModel(TIMING, "timing table of the Cortex-M4, borrowed for this core,", REFILL),
    limit=CoreLimit(
        mac_per_cycle=2.0,
        bytes_per_cycle=4.0,
        mac_source="SMLAD: two products of 16 bits in one cycle",
        bytes_source="one load of 4 bytes a cycle",
        manual="Cortex-M33 TRM (100230)",
    ),
)
