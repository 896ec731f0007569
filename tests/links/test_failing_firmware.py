"""Firmware that faults, locks up, hangs or prints garbage: both emulators stop it, say so, and show
the core's registers.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from quarl.boards.core import Fpu
from quarl.boards.microcontroller import Board, find_board
from quarl.errors import DeviceError
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.image import harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.sources import kernels_for, program_sources
from quarl.links.qemu import QemuDevice, emulated_board
from quarl.links.unicorn import UnicornDevice
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.support.samples import sample

REGISTERS = r"; pc=0x[06][08][0-9a-f]{6} lr=0x[0-9a-f]{8} sp=0x2[0-9a-f]{7} r0=0x[0-9a-f]{8}"
READS = """#include "ql_port.h"
int main(void)
{
    uint8_t request[16];
    ql_port_open();
    (void)ql_port_read(request, sizeof request);
"""
ENDS = "    ql_port_exit(0);\n    return 0;\n}\n"
FAILURES = {
    "reads memory that is not there": (
        "#include <stdint.h>\nint main(void) { return *(volatile const int32_t "
        "*)(uintptr_t)0x70000000U; }\n",
        {"unicorn": "stopped: .*", "qemu": r"ended with code 99 \(a fault\)"},
    ),
    "executes what is no instruction": (
        'int main(void) { __asm__ volatile("udf #0"); return 0; }\n',
        {"unicorn": "(stopped|ended)", "qemu": r"ended with code 99 \(a fault\)"},
    ),
    "jumps to an address that holds no code": (
        "#include <stdint.h>\nint main(void) { ((void (*)(void))(uintptr_t)0x60000001U)(); "
        "return 0; }\n",
        {"unicorn": "stopped", "qemu": r"ended with code 99 \(a fault\)"},
    ),
    "hangs": (
        "int main(void)\n{\n    for (;;) {\n    }\n}\n",
        dict.fromkeys(("unicorn", "qemu"), r"did not answer within 1 s"),
    ),
    "ends by itself": (READS + ENDS, {"unicorn": "ended with code 0", "qemu": None}),
    "sends without end": (
        READS
        + (
            '    for (;;) {\n        ql_port_write("noise noise noise noise noise ", 30U);\n    '
            "}\n}\n"
        ),
        dict.fromkeys(("unicorn", "qemu"), "sent more than [0-9,]+ bytes, which no answer needs"),
    ),
    "answers in another version": (
        READS
        + (
            '    ql_port_write("QL is what I say, said I", 24U);\n    '
            "(void)ql_port_read(request, 1U);\n"
        )
        + ENDS,
        {"unicorn": "answered garbage: .*version 32 of the protocol", "qemu": None},
    ),
    "answers nonsense": (
        READS + '    ql_port_write("what?", 5U);\n    (void)ql_port_read(request, 16U);\n' + ENDS,
        {"unicorn": "gave no answer but 5 bytes", "qemu": None},
    ),
}
WITHOUT_REGISTERS = {  # it had ended in good order, and there is no core left to look at
    "ends by itself": "1 requests, 0 answers",
    "answers in another version": "version 32 of the protocol",
    "answers nonsense": "1 requests, 0 answers",
}


def boot(
    emulator: str,
    main: str,
    cpu: str = "cortex-m4",
    fpu: Fpu = "single",
    timeout_s: float = 60.0,
) -> None:
    need(
        "ziglang", "elftools", "capstone", "unicorn" if emulator == "unicorn" else "qemu-system-arm"
    )
    board: Board = replace(find_board("nucleo_l4r5zi", targets_dir()), cpu=cpu, fpu=fpu)
    board = board if emulator == "unicorn" else emulated_board(board)
    program = lower(sample("argmax_mlp", 0)[1], kernels_for(board))
    elf = build_image(
        program_sources(program) | harness_sources(board) | {"main.c": main.encode()},
        board,
        default_cache_dir(),
    )
    image = read_image(elf, board)
    if emulator == "unicorn":
        UnicornDevice(image, board, interface_of(program), timeout_s)
    else:
        QemuDevice(elf, image, board, interface_of(program), default_cache_dir(), timeout_s)


@pytest.mark.every(2)
@pytest.mark.parametrize("emulator", ["unicorn", "qemu"])
@pytest.mark.parametrize("name", FAILURES)
def test_a_firmware_that_fails_is_stopped_and_its_registers_shown(name: str, emulator: str) -> None:
    main, words = FAILURES[name]
    expected = (
        WITHOUT_REGISTERS[name]
        if words[emulator] is None
        else f"the firmware {words[emulator]}.*{REGISTERS}"
    )
    with pytest.raises(DeviceError, match=expected) as error:
        boot(emulator, main, timeout_s=1.0 if name == "hangs" else 60.0)
    assert error.value.exit_code == 4


def test_the_registers_of_a_fault_are_those_of_the_faulting_instruction() -> None:
    """r0 to r3 are set by hand, then the load faults; the handler's own registers differ."""
    main = """#include <stdint.h>
int main(void)
{
    __asm__ volatile("movw r1, #0x1111\\n\\tmovw r2, #0x2222\\n\\tmovw r3, #0x3333\\n\\t"
                     "mov r0, #0x70000000\\n\\tldr r0, [r0]"
                     ::: "r0", "r1", "r2", "r3");
    return 0;
}
"""
    with pytest.raises(
        DeviceError, match="r0=0x70000000 r1=0x00001111 r2=0x00002222 r3=0x00003333"
    ):
        boot("qemu", main)


@pytest.mark.every(3)
@pytest.mark.parametrize(
    ("cpu", "fpu"),
    [
        ("cortex-m0", "none"),
        ("cortex-m33", "single"),
        ("cortex-m55", "double"),
    ],
)
def test_other_cores_show_their_registers_too(cpu: str, fpu: Fpu) -> None:
    with pytest.raises(DeviceError, match=r"a fault\); pc=0x[0-9a-f]{8} lr"):
        boot("qemu", FAILURES["executes what is no instruction"][0], cpu, fpu)


@pytest.mark.parametrize("emulator", ["unicorn", "qemu"])
def test_a_risc_v_core_that_fails_is_stopped_and_its_registers_shown(emulator: str) -> None:
    main = """int main(void)
{
    __asm__ volatile("li a1, 0x1111\\n\\tli a2, 0x2222\\n\\tli a0, 0x3333\\n\\tunimp"
                     ::: "a0", "a1", "a2");
    return 0;
}
"""
    registers = "a0=0x00003333 a1=0x00001111 a2=0x00002222"
    with pytest.raises(DeviceError, match=rf"pc=0x(8000|0800)00[0-9a-f]{{2}} ra=.*{registers}"):
        boot(emulator, main, "riscv32-imc", "none")
    with pytest.raises(DeviceError, match=r"did not answer within 1 s; pc=0x[0-9a-f]{8} ra"):
        boot(emulator, "int main(void) { for (;;) { } }\n", "riscv32-imc", "none", 1.0)


def test_a_core_that_locks_up_shows_what_qemu_saw() -> None:
    """A fault inside the fault handler: its stack pointer lies where there is no memory."""
    main = (
        'int main(void) { __asm__ volatile("mov r0, #0x70000000\\n\\tmov sp, r0\\n\\tudf '
        '#0"); return 0; }\n'
    )
    with pytest.raises(DeviceError, match=r"ended with code -6: .*Lockup.*R13=6fffff"):
        boot("qemu", main)
