"""ST's later USART, of which QEMU 7.2 has no machine: its driver against the registers as the
reference manual draws them, in unicorn.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from quarl.boards.microcontroller import find_board
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.image import harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.sources import kernels_for, program_sources
from quarl.graph.reference import act
from quarl.links.serial import SerialDevice
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.support.samples import observations, sample

CR1, BRR, ISR, RDR, TDR = 0x00, 0x0C, 0x1C, 0x24, 0x28
UE, RE, TE, RXNE, TXE = 1, 1 << 2, 1 << 3, 1 << 5, 1 << 7
PERIPHERALS = (0x4000_0000, 0x2000_0000)
SYSTEM_SPACE = (0xE000_0000, 1 << 20)
ENOUGH_US = 30_000_000
WAITS = 4  # looks at an empty receiver, after which the core is waiting and not about to send


class Chip:
    """A core with memory, plain registers, and one USART: a serial port for the link. It runs while
    there are bytes for it.
    """

    def __init__(self, elf: bytes, name: str) -> None:
        import unicorn
        from unicorn import arm_const as arm

        self._package: Any = unicorn
        self._arm = arm
        board = find_board(name, targets_dir())
        assert board.uart is not None
        self._base, self._divisor = board.uart.base, board.uart.divisor
        self._setup = board.uart.setup
        self._in, self._out = bytearray(), bytearray()
        self._idle = 0
        self._uc = uc = self._package.Uc(
            self._package.UC_ARCH_ARM, self._package.UC_MODE_THUMB | self._package.UC_MODE_MCLASS
        )
        uc.ctl_set_cpu_model(
            arm.UC_CPU_ARM_CORTEX_M7 if board.cpu == "cortex-m7" else arm.UC_CPU_ARM_CORTEX_M4
        )
        for start, size in (
            (board.flash.origin, board.flash.bytes),
            (board.ram.origin, board.ram.bytes),
            PERIPHERALS,
            SYSTEM_SPACE,
        ):
            uc.mem_map(start, size)
        for segment in read_image(elf, board).segments:
            uc.mem_write(segment.address, segment.content)
        stack, self._pc = struct.unpack("<II", bytes(uc.mem_read(board.flash.origin, 8)))
        uc.reg_write(arm.UC_ARM_REG_SP, stack)
        registers = (self._base, self._base + 0x30)
        uc.hook_add(self._package.UC_HOOK_MEM_READ, self._read, None, *registers)
        uc.hook_add(self._package.UC_HOOK_MEM_WRITE, self._write, None, *registers)

    def write(self, data: bytes) -> int:
        self._in += data
        self._uc.emu_start(self._pc | 1, 0xFFFF_FFFE, timeout=ENOUGH_US)
        self._pc = self._uc.reg_read(self._arm.UC_ARM_REG_PC)
        return len(data)

    @property
    def in_waiting(self) -> int:
        return len(self._out)

    def read(self, size: int) -> bytes:
        part, self._out = bytes(self._out[:size]), self._out[size:]
        return part

    def _read(self, uc: Any, access: int, address: int, size: int, value: int, _: Any) -> None:
        offset = address - self._base
        if offset == ISR:
            self._is_ready()
            uc.mem_write(address, struct.pack("<I", TXE | (RXNE if self._in else 0)))
            self._idle = 0 if self._in else self._idle + 1
            if self._idle > WAITS:
                uc.emu_stop()
        elif offset == RDR:
            uc.mem_write(address, struct.pack("<I", self._in.pop(0)))

    def _write(self, uc: Any, access: int, address: int, size: int, value: int, _: Any) -> None:
        if address - self._base == TDR:
            self._out.append(value)
            self._idle = 0

    def _is_ready(self) -> None:
        """What the manual asks for before the first byte: clocks, pins, divisor, and both
        directions enabled.
        """
        word = {
            at: struct.unpack("<I", bytes(self._uc.mem_read(self._base + at, 4)))[0]
            for at in (CR1, BRR)
        }
        assert word == {CR1: UE | RE | TE, BRR: self._divisor}
        for step in self._setup:
            assert (
                struct.unpack("<I", bytes(self._uc.mem_read(step.address, 4)))[0] & step.mask
                == step.value
            )


@pytest.mark.parametrize("name", ["nucleo_l4r5zi", "nucleo_h7a3zi", "stm32h743"])
def test_the_driver_works_on_the_registers_of_the_manual(name: str) -> None:
    need("ziglang", "elftools", "unicorn")
    board = find_board(name, targets_dir())
    policy, quantized = sample("squashed", 3)
    obs = observations(policy, np.random.default_rng(5), 3)
    program = lower(quantized, kernels_for(board))
    elf = build_image(
        program_sources(program) | harness_sources(board, "uart"), board, default_cache_dir()
    )
    device = SerialDevice(
        Chip(elf, name), "a drawn UART", board, interface_of(program), answer_s=0.001
    )
    np.testing.assert_array_equal(device.act(obs), act(quantized, obs))
    assert device.repeated == 0
