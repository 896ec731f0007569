"""RISC-V RV32IMAC: any core of 32 bits with multiplication, atomics and compressed instructions."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.core import rv32
from quarl.boards.cores.riscv32_imc import CORE as IMC

CORE = replace(
    IMC,
    name="riscv32-imac",
    instruction_set="RV32IMAC",
    variants={"none": rv32("+m+a+c", "rv32imac")},
)
