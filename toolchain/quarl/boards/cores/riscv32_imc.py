"""RISC-V RV32IMC: any core of 32 bits with multiplication and compressed instructions."""

from __future__ import annotations

from quarl.boards.core import (
    BestCase,
    Core,
    CoreLimit,
    CycleModel,
    Emulation,
    Machine,
    Region,
    Timing,
    cycles_of,
    rv32,
)

# No manual: what slow cores in order take. A division takes a cycle a bit.
TIMING = Timing(
    cycles_of(lb=2, lh=2, lw=2, mul=2, div=34, rem=34),
    lists=(),
    has_pipelined_loads=False,
    loads=cycles_of(lb=1, lh=2, lw=4),
)
MACHINE = Machine(
    "virt",
    flash=Region(0x8000_0000, 16 << 20),
    ram=Region(0x8100_0000, 16 << 20),
    ticks_hz=1_000_000_000,
    emulator="qemu-system-riscv32",
    options=("-bios", "none"),
)

CORE = Core(
    name="riscv32-imc",
    instruction_set="RV32IMC",
    variants={"none": rv32("+m+c", "rv32imc")},
    counter="mcycle",
    emulation=Emulation(MACHINE, unicorn="UC_CPU_RISCV32_ANY"),
    cycles=CycleModel(
        TIMING,
        "2 cycles for a load or a product, 34 for a division, 1 for anything else, assumed",
        (1, 2, 4),
        best=BestCase(1, "an instruction every cycle"),
    ),
    limit=CoreLimit(
        mac_per_cycle=0.5,
        bytes_per_cycle=4.0,
        mac_source="a product and a sum, one cycle each",
        bytes_source="a load of 4 bytes a cycle",
        manual="no manual: any core that begins one instruction a cycle",
    ),
    architecture="riscv",
)
