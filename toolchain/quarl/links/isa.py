"""What emulators and messages must know of an instruction set: registers, the trap of semihosting,
and the decoder.

In: a core's architecture. Out: an `Isa`. Names of unicorn's and capstone's constants are texts, so
that nothing here needs the packages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from quarl.boards.core import Architecture

Role = Literal["pc", "sp", "return", "operation", "block"]
Decoder = Callable[[bytes, int], tuple[str, ...]]
VECTOR_LOAD, VECTOR_STORE, VECTOR_OP = "mve.load", "mve.store", "mve.op"
OTHER = "other"  # an instruction that the disassembler does not know


@dataclass(frozen=True, slots=True)
class Isa:
    """One instruction set."""

    unicorn: tuple[str, tuple[str, ...]]  # constants: the architecture, and its modes
    capstone: tuple[str, tuple[str, ...]]
    roles: Mapping[Role, str]  # the register of each role: the last part of unicorn's constant
    constant: str  # what stands before it
    jump_bit: int  # set in the address of a jump
    trap: bytes  # the instruction that asks for semihosting
    fault_handler: str  # in firmware_harness/startup
    gdb: tuple[str, ...]  # the registers in the order of GDB's packet g
    shown: Mapping[str, str]  # in messages: a register's name, and the last part of the constant
    fault_pc: int | None = None  # GDB's register with the address of a fault; None: on the stack


ARM = Isa(
    unicorn=("UC_ARCH_ARM", ("UC_MODE_THUMB", "UC_MODE_MCLASS")),
    capstone=("CS_ARCH_ARM", ("CS_MODE_THUMB", "CS_MODE_MCLASS")),
    roles={"pc": "PC", "sp": "SP", "return": "LR", "operation": "R0", "block": "R1"},
    constant="UC_ARM_REG_",
    jump_bit=1,
    trap=b"\xab\xbe",  # BKPT 0xAB
    fault_handler="fault",
    gdb=(*(f"r{i}" for i in range(13)), "sp", "lr", "pc"),
    shown={
        "pc": "PC",
        "lr": "LR",
        "sp": "SP",
        **{f"r{i}": f"R{i}" for i in range(4)},
    },
)
RISCV = Isa(
    unicorn=("UC_ARCH_RISCV", ("UC_MODE_RISCV32",)),
    capstone=("CS_ARCH_RISCV", ("CS_MODE_RISCV32", "CS_MODE_RISCVC")),
    roles={"pc": "PC", "sp": "X2", "return": "X1", "operation": "X10", "block": "X11"},
    constant="UC_RISCV_REG_",
    jump_bit=0,
    trap=b"\x73\x00\x10\x00",  # EBREAK
    fault_handler="ql_fault",
    gdb=(
        *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
        *(f"a{i}" for i in range(8)),
        *(f"s{i}" for i in range(2, 12)),
        *("t3", "t4", "t5", "t6", "pc"),
    ),
    shown={
        "pc": "PC",
        "ra": "X1",
        "sp": "X2",
        **{f"a{i}": f"X{10 + i}" for i in range(4)},
    },
    fault_pc=66 + 0x341,  # QEMU numbers CSRs behind the 66 other registers: mepc
)
ISAS: Mapping[Architecture, Isa] = {"arm": ARM, "riscv": RISCV}


def decoder(isa: Isa) -> Decoder:
    """Return a function of code bytes and address that gives the instructions as text.

    Of Thumb code vector instructions are `VECTOR_LOAD`, `VECTOR_STORE` or `VECTOR_OP`, and what
    else the disassembler does not know is `OTHER`. RISC-V code ends at what it does not know.
    """
    import capstone  # type: ignore[import-untyped]

    names: Any = capstone
    architecture, modes = isa.capstone
    machine = names.Cs(getattr(names, architecture), sum(getattr(names, mode) for mode in modes))
    if isa is ARM:
        return lambda code, address: tuple(_thumb_texts(machine, code, address))
    return lambda code, address: tuple(
        f"{i.mnemonic} {i.op_str}".strip() for i in machine.disasm(code, address)
    )


def _thumb_texts(machine: Any, code: bytes, address: int) -> Iterator[str]:
    """Yield each instruction of Thumb code as text, whether it is known or not."""
    at = 0
    while at + 2 <= len(code):
        first, second = (
            int.from_bytes(code[at + part : at + part + 2], "little") for part in (0, 2)
        )
        size = 4 if first >> 11 in (0b11101, 0b11110, 0b11111) else 2
        text = _vector_text(first, second) if size == 4 else ""
        if not text:
            known = next(machine.disasm(code[at : at + size], address + at), None)
            text = OTHER if known is None else f"{known.mnemonic} {known.op_str}".strip()
        yield text
        at += size


def _vector_text(first: int, second: int) -> str:
    """Return what kind of vector instruction two halfwords are; "" where they are none.

    Source: the encodings of MVE in the Armv8.1-M manual (DDI 0553). Its arithmetic has the space of
    Advanced SIMD, or that of coprocessors with the numbers 14 and 15, and so have its loads.
    """
    if first >> 8 in (0xEF, 0xFF):
        return VECTOR_OP
    if first >> 8 & 0xEC != 0xEC or second >> 8 & 0xE != 0xE:
        return ""
    if first & 0xEE00 == 0xEC00:
        return VECTOR_LOAD if first & 0x10 else VECTOR_STORE
    return VECTOR_OP


def shown(isa: Isa, registers: Mapping[str, int]) -> str:
    """Return the registers a message shows."""
    return " ".join(f"{name}=0x{registers[name]:08x}" for name in isa.shown)
