"""The firmware around a policy: linker script, start-up, port and harness for one board, and the
compiler's command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from quarl.boards.core import Architecture, Variant
from quarl.boards.microcontroller import Board
from quarl.boards.uart import HEADER, uart_header
from quarl.errors import InputError
from quarl.resources import firmware_dir

STACK_BYTES = 2048  # least room the linker script keeps for the stack; what is used is measured
LINKER_SCRIPT = "board.ld"
STARTUP = "ql_startup.c"
STARTUP_FOLDERS: dict[Architecture, str] = {"arm": "startup", "riscv": "startup/riscv"}
PORTS = "ports"
PORT = "ql_port_semihosting.c"  # what emulators and debug probes answer
STOP = "ql_port_stop.c"  # how a port of frames ends
RTT_PORT = "ql_port_rtt.c"  # what a debug probe reads while the core runs
FLAGS = (
    "-std=c11",
    "-Os",  # hot loops are unrolled by hand; elsewhere more only costs flash
    "-g1",  # zig strips the symbols of small code that has none
    "-ffp-contract=off",  # the rescale rule rounds twice: decision 0001
    "-fomit-frame-pointer",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-exceptions",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
)
LINK_FLAGS = ("-Wl,--gc-sections", "-Wl,--build-id=none")
CompilerName = Literal["zig", "gcc"]
PortName = Literal["semihosting", "uart", "rtt"]


def harness_sources(board: Board, port: PortName = "semihosting") -> dict[str, bytes]:
    """Return name -> bytes of everything around the policy: harness, port, start-up and linker
    script.

    Raises:
        InputError: the board file knows no serial port.
    """
    root = firmware_dir()
    paths = [path for path in (root / "harness").iterdir() if path.suffix in (".c", ".h")]
    paths.append(root / STARTUP_FOLDERS[board.core.architecture] / STARTUP)
    files = {path.name: path.read_bytes() for path in paths}
    files |= bare_port_sources(board, port)
    files[LINKER_SCRIPT] = linker_script(board).encode()
    return dict(sorted(files.items()))


def bare_port_sources(board: Board, port: PortName) -> dict[str, bytes]:
    """Return name -> bytes of one port.

    Raises:
        InputError: the board file knows no serial port.
    """
    if port == "uart":
        return uart_sources(board)
    names = (RTT_PORT, STOP) if port == "rtt" else (PORT,)
    return {name: (firmware_dir() / PORTS / name).read_bytes() for name in names}


def uart_sources(board: Board) -> dict[str, bytes]:
    """Return name -> bytes of the port over the board's UART, which takes the place of PORT.

    Raises:
        InputError: the board file knows no serial port.
    """
    if board.uart is None:
        raise InputError(f"{board.name}: the board file has no [uart], which the serial link needs")
    folder = firmware_dir() / PORTS
    names = ("ql_port_uart.c", STOP, "ql_uart.h")
    paths = [*(folder / name for name in names), folder / "uart" / board.uart.source]
    return {path.name: path.read_bytes() for path in paths} | {
        HEADER: uart_header(board.uart).encode()
    }


def linker_script(board: Board) -> str:
    """Return the GNU linker script of a board: vectors first, the stack at the end of the RAM,
    growing down.
    """
    flash, ram, vectors = board.flash, board.ram, board.vectors
    own_region = (
        ""
        if vectors is None
        else f"    VECTORS (rx) : ORIGIN = 0x{vectors.origin:08X}, LENGTH = {vectors.bytes}\n"
    )
    own_section = "" if vectors is None else "    .vectors : { KEEP(*(.vectors)) } > VECTORS\n"

    def small(section: str) -> str:
        return f" *(.{section}*)" if board.core.architecture == "riscv" else ""

    text = f"KEEP(*(.vectors)) *(.text*) *(.rodata*){small('srodata')}"
    data = f"*(.data*){small('sdata')}"
    bss = f"*(.bss*){small('sbss')} *(COMMON)"
    return f"""\
/* SPDX-License-Identifier: Apache-2.0 */
/* {board.title}; written by quarl from board.toml, do not edit. */
MEMORY
{{
    FLASH (rx) : ORIGIN = 0x{flash.origin:08X}, LENGTH = {flash.bytes}
    RAM (rwx) : ORIGIN = 0x{ram.origin:08X}, LENGTH = {ram.bytes}
{own_region}}}

SECTIONS
{{
{own_section}    .text : {{ {text} . = ALIGN(4); }} > FLASH
    .data : {{ ql_data_begin = .; {data} . = ALIGN(4); ql_data_end = .; }} > RAM AT> FLASH
    ql_data_load = LOADADDR(.data);
    .bss (NOLOAD) : {{ ql_bss_begin = .; {bss} . = ALIGN(8); ql_bss_end = .; }} > RAM
    ql_stack_top = ORIGIN(RAM) + LENGTH(RAM);
    ASSERT(ql_bss_end + {STACK_BYTES} <= ql_stack_top, "no room is left for the stack")
    /DISCARD/ : {{ *(.ARM.*) *(.comment) *(.note*) }}
}}

ENTRY(ql_reset)
"""


def compile_command(
    compiler: CompilerName,
    program: Sequence[str],
    board: Board,
    sources: Sequence[Path],
    includes: Sequence[Path],
    out: Path,
) -> list[str]:
    """Return the one command that compiles and links all sources into an ELF file.

    Args:
        program: argv that starts the compiler.
    """
    script = next(source.parent / LINKER_SCRIPT for source in sources if source.name == STARTUP)
    return [
        *program,
        *_target(compiler, board.variant),
        *FLAGS,
        *(f"-I{include}" for include in includes),
        *(str(source) for source in sources),
        *LINK_FLAGS,
        *(["-lgcc"] if compiler == "gcc" else []),
        "-T",
        str(script),
        "-o",
        str(out),
    ]


def _target(compiler: CompilerName, variant: Variant) -> tuple[str, ...]:
    if compiler == "zig":
        return ("cc", *variant.zig, "-fno-sanitize=all")  # zig's default is to sanitise
    return (*variant.gcc, "-ffreestanding", "-nostdlib")
