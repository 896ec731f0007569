"""Hazard3, the RISC-V core of an RP2350: RV32IMAC with bit manipulation."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.core import BestCase, CycleModel, Emulation, cycles_of, rv32
from quarl.boards.cores.riscv32_imac import CORE as ANY
from quarl.boards.cores.riscv32_imc import MACHINE
from quarl.boards.cores.riscv32_imc import TIMING as SLOW

# Hazard3, Instruction Cycle Counts (doc/sections/instruction_timings.adoc of its repository): a
# load takes 2 where the next instruction needs it, a jump 2, a branch that was predicted wrong 2,
# a target across two words one more.
TIMING = replace(SLOW, cycles=cycles_of(lb=2, lh=2, lw=2, jal=2, div=19, rem=19))

CORE = replace(
    ANY,
    name="hazard3",
    instruction_set="RV32IMAC, Zba, Zbb, Zbs",
    # Zcb and Zcmp are left out: QEMU 7.2 does not know them, and they save bytes, not instructions;
    # GCC 12 has no libgcc for the bit manipulation
    variants={"none": rv32("+m+a+c+zba+zbb+zbs", "rv32imac")},
    emulation=Emulation(
        replace(MACHINE, options=(*MACHINE.options, "-cpu", "rv32,zba=true,zbb=true,zbs=true"))
    ),
    cycles=CycleModel(
        TIMING,
        "Hazard3's timing table, every load needed at once, every branch predicted wrong",
        (0, 1, 2),
        best=BestCase(1, "no load needed at once, every branch predicted right"),
    ),
    limit=replace(ANY.limit, manual="Hazard3, Instruction Cycle Counts"),
)
