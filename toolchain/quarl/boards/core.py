"""What a core is: how to compile for it, which kernels it runs, what emulates it, and how long its
instructions take.

Values only. The cores themselves are the files of `quarl.boards.cores`, one file each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from quarl.files.tables import Count, Whole, table

Fpu = Literal["none", "single", "double"]
Kernels = Literal["portable", "dsp", "mve", "rv32", "neon", "dot"]
Counter = Literal["DWT", "SysTick", "mcycle"]
Architecture = Literal["arm", "riscv"]


@table
@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of memory."""

    origin: Annotated[Whole, Field(description="first address")]
    bytes: Annotated[Count, Field(description="length")]

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.origin + self.bytes


@dataclass(frozen=True, slots=True)
class Variant:
    """A core as it is built with or without a floating-point unit."""

    kernels: Kernels  # the family that runs fastest there
    zig: tuple[str, ...]  # zig's options for the target
    gcc: tuple[str, ...]  # the same for Arm's GCC


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of QEMU: where its memory lies, and the clock that the harness counts there."""

    name: str
    flash: Region
    ram: Region
    ticks_hz: int  # measured: 300,000 instructions at -icount shift=6 are so many ticks
    vectors: Region | None = None
    emulator: str = "qemu-system-arm"
    options: tuple[str, ...] = ()  # more that the emulator must be told


@dataclass(frozen=True, slots=True)
class Emulation:
    """What executes the core's instructions on this host."""

    machine: Machine  # for QEMU
    unicorn: str = ""  # constant of the model in unicorn; empty: unicorn does not have the core
    stands_in: str = ""  # the emulated core, where it is another one that knows all instructions


@dataclass(frozen=True, slots=True)
class Timing:
    """Cycles of single instructions with memory that always answers at once."""

    cycles: Mapping[str, int]  # start of a mnemonic -> cycles, the longest that fits; others take 1
    lists: tuple[str, ...]  # starts of mnemonics that move a list: 1 cycle and 1 for each register
    has_pipelined_loads: bool  # a load right after another single access takes 1 cycle
    loads: Mapping[str, int]  # start of a mnemonic -> bytes it loads, of a list for each register
    undecoded: int = 1  # an instruction of a block that could not be decoded


@dataclass(frozen=True, slots=True)
class BestCase:
    """The low end of an estimate where no timing table is published."""

    instructions_per_cycle: int
    words: str
    vector_cycles: int = 0  # that the unit for loads, or that for arithmetic, has a vector


@dataclass(frozen=True, slots=True)
class Published:
    """Cycles that somebody measured on silicon and published, for code we can build and count."""

    what: str
    cycles: int
    error_percent: int  # of the estimate's middle; tests/profiles/test_cycles.py counts it again


@dataclass(frozen=True, slots=True)
class Band:
    """Where the estimate of code that we can build lies beside times that others published for code
    like it. Versions differ, so it is a band and no measurement.
    """

    what: str
    least_percent: int  # of the estimate's middle
    most_percent: int


@dataclass(frozen=True, slots=True)
class CycleModel:
    """How a core's cycles are estimated from what it executed."""

    timing: Timing
    basis: str  # where the timing comes from, as part of a sentence
    refill: tuple[int, int, int]  # a taken branch adds: least, usual, most
    best: BestCase | None = None  # None: the timing itself is the low end
    published: tuple[Published, ...] = ()
    slow_flash: Band | None = None  # of a board whose flash has wait states


@dataclass(frozen=True, slots=True)
class CoreLimit:
    """What a core does at best in one cycle."""

    mac_per_cycle: float
    bytes_per_cycle: float
    mac_source: str
    bytes_source: str
    manual: str  # the document both come from


@dataclass(frozen=True, slots=True)
class Core:
    """One core of a microcontroller. All that quarl knows of it is here."""

    name: str  # as board files name it
    instruction_set: str  # for people
    variants: Mapping[Fpu, Variant]  # what the core may have
    counter: Counter  # the harness measures with it
    emulation: Emulation
    cycles: CycleModel
    limit: CoreLimit
    architecture: Architecture = "arm"  # start-up code, semihosting, registers


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """What Linux says of a core in /proc/cpuinfo."""

    part: str
    variant: str
    revision: int
    features: str


@dataclass(frozen=True, slots=True)
class LinuxCore:
    """One core that runs Linux. All that quarl knows of it is here."""

    name: str  # as board files and qemu-user name it
    zig: tuple[str, ...]  # zig's options for the target and the core
    kernels: Kernels
    cpuinfo: CpuInfo | None  # None: no board has it, only this host


def thumb(kernels: Kernels, zig_cpu: str, gcc: str, mfpu: str = "") -> Variant:
    """Return a variant of a Cortex-M; `mfpu` is GCC's name of the FPU, empty without one."""
    abi = "eabihf" if mfpu else "eabi"
    floats = ("-mfloat-abi=hard", f"-mfpu={mfpu}") if mfpu else ("-mfloat-abi=soft",)
    return Variant(
        kernels,
        ("-target", f"thumb-freestanding-{abi}", f"-mcpu={zig_cpu}"),
        (gcc, "-mthumb", *floats),
    )


def rv32(zig_features: str, march: str, kernels: Kernels = "rv32") -> Variant:
    """Return the variant of a RISC-V core of 32 bits without an FPU.

    Args:
        zig_features: of zig's generic_rv32, as "+m+c".
        march: as GCC takes it.
    """
    return Variant(
        kernels,
        ("-target", "riscv32-freestanding-eabi", f"-mcpu=generic_rv32{zig_features}"),
        (f"-march={march}", "-mabi=ilp32"),
    )


def cycles_of(**cycles: int) -> Mapping[str, int]:
    """Return the cycles of mnemonics as a table that nobody can change."""
    return MappingProxyType(cycles)
