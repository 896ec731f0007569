"""Cortex-M4."""

from __future__ import annotations

from quarl.boards.core import (
    Band,
    Core,
    CoreLimit,
    CycleModel,
    Emulation,
    Machine,
    Published,
    Region,
    Timing,
    cycles_of,
    thumb,
)

LISTS = ("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop")
LOADS = cycles_of(
    ldr=4, ldrb=1, ldrsb=1, ldrh=2, ldrsh=2, ldrd=8, vldr=8, ldm=4, pop=4, vldm=8, vpop=8
)  # fmt: skip
TIMING = Timing(  # Cortex-M4 TRM (100166), table 3-1; divisions take 2 to 12
    cycles_of(
        ldr=2, ldrd=3, strd=3, vldr=2, vstr=2,
        vmla=3, vmls=3, vfma=3, vfms=3, vdiv=14, vsqrt=14,
        sdiv=7, udiv=7,
    ),
    LISTS,
    has_pipelined_loads=True,
    loads=LOADS,
)  # fmt: skip
REFILL = (1, 2, 3)  # the same table: P, by the alignment and width of the target

CORE = Core(
    name="cortex-m4",
    instruction_set="Armv7E-M",
    variants={
        "none": thumb("dsp", "cortex_m4", "-mcpu=cortex-m4"),
        "single": thumb("dsp", "cortex_m4+vfp4d16sp", "-mcpu=cortex-m4", "fpv4-sp-d16"),
    },
    counter="DWT",
    emulation=Emulation(
        Machine(
            "mps2-an386",
            flash=Region(0, 4 << 20),
            ram=Region(0x2000_0000, 4 << 20),
            ticks_hz=25_000_000,
        ),
        unicorn="UC_CPU_ARM_CORTEX_M4",
    ),
    cycles=CycleModel(
        TIMING,
        "timing table of the Cortex-M4",
        REFILL,
        published=(
            # bakenn 1.0.0, package description: medians of an int8 32-16-4 network on an nRF52840
            Published("bakenn with CMSIS-NN", 3786, -14),
            Published("bakenn's portable C", 8706, -6),
        ),
        # 768,111 cycles estimated of bakenn 1.0.0 with CMSIS-NN, 6.40 ms; MLPerf Tiny v1.1 and v1.0
        # have 8.07 (ONNC) and 8.6 ms (microTVM), both with CMSIS-NN and weights in flash
        slow_flash=Band(
            "MLPerf Tiny's autoencoder with CMSIS-NN on a NUCLEO-L4R5ZI at 120 MHz", -26, -21
        ),
    ),
    limit=CoreLimit(
        mac_per_cycle=2.0,
        bytes_per_cycle=4.0,
        mac_source="SMLAD: two products of 16 bits in one cycle",
        bytes_source="loads in a row take one cycle for 4 bytes",
        manual="Cortex-M4 TRM (100166)",
    ),
)
