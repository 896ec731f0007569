"""Cortex-M85. Arm publishes no timing table of it, so the estimate is a wide range."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.core import BestCase, Core, CycleModel, Emulation, thumb
from quarl.boards.cores.cortex_m4 import REFILL
from quarl.boards.cores.cortex_m55 import CORE as CORTEX_M55
from quarl.boards.cores.cortex_m55 import MACHINE, TIMING

# The name of the architecture, since GCC knows the core from version 13 on only.
GCC = "-march=armv8.1-m.main+dsp+mve.fp+fp.dp"

CORE = Core(
    name="cortex-m85",
    instruction_set="Armv8.1-M",
    variants={
        "none": thumb("dsp", "cortex_m85", "-march=armv8.1-m.main+dsp"),
        "double": thumb("mve", "cortex_m85+mve+mve_fp", GCC, "auto"),
    },
    counter="DWT",
    # The same instructions but those of pointer authentication, which quarl does not use.
    emulation=Emulation(MACHINE, stands_in="cortex-m55"),
    cycles=CycleModel(
        TIMING,
        CORTEX_M55.cycles.basis,
        REFILL,
        best=BestCase(2, "two instructions every cycle, vector instructions too"),
    ),
    limit=replace(CORTEX_M55.limit, manual="as a Cortex-M55; not checked for this core"),
)
