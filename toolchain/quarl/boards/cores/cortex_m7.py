"""Cortex-M7. Arm publishes no timing table of it, so the estimate is a wide range."""

from __future__ import annotations

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
from quarl.boards.cores.cortex_m4 import REFILL, TIMING

CORE = Core(
    name="cortex-m7",
    instruction_set="Armv7E-M",
    variants={
        "none": thumb("dsp", "cortex_m7", "-mcpu=cortex-m7"),
        "single": thumb("dsp", "cortex_m7+fp_armv8d16sp", "-mcpu=cortex-m7", "fpv5-sp-d16"),
        "double": thumb("dsp", "cortex_m7+fp_armv8d16", "-mcpu=cortex-m7", "fpv5-d16"),
    },
    counter="DWT",
    emulation=Emulation(
        Machine(
            "mps2-an500",
            flash=Region(0, 4 << 20),
            ram=Region(0x2000_0000, 4 << 20),
            ticks_hz=25_000_000,
        ),
        unicorn="UC_CPU_ARM_CORTEX_M7",
    ),
    cycles=CycleModel(
        TIMING,
        "the Cortex-M4's timing table",
        REFILL,
        best=BestCase(2, "two instructions every cycle"),
    ),
    limit=CoreLimit(
        mac_per_cycle=2.0,
        bytes_per_cycle=8.0,
        mac_source="SMLAD: two products of 16 bits, one a cycle",
        bytes_source="two loads of 4 bytes a cycle",
        manual="Cortex-M7 TRM (DDI 0489)",
    ),
)
