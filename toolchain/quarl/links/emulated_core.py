"""A core in unicorn: its memory, its registers by their role, and its traps.

In: a board. Out: an `EmulatedCore`, of any instruction set of `quarl.links.isa`. Nothing else
imports unicorn.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from quarl.boards.microcontroller import Board
from quarl.errors import InputError, ToolMissingError
from quarl.firmware.elf import Image
from quarl.links.isa import ISAS, Isa, Role

PAGE = 4096
SYSTEM_SPACE = (0xE000_0000, 1 << 20)  # peripherals of an Arm core; reads as zero
PAINT = 0xA5  # what the RAM holds before boot, to see how deep the stack was
BREAKPOINT = 3  # the number of the trap of a RISC-V core
NOWHERE = 0xFFFF_FFFE  # an address where execution never ends


class EmulatedCore:
    """One core with the memory of a board, reset and not yet running."""

    def __init__(self, image: Image, board: Board) -> None:
        self.isa: Isa = ISAS[board.core.architecture]
        self._uc, self._names = _open(board, self.isa)
        self._board = board
        self._is_stopped = False
        self._trap: Callable[[int], None] = lambda number: self.stop()
        self._load(image)
        self._reset()

    @property
    def error(self) -> type[Exception]:
        """What unicorn raises where a core cannot go on."""
        kind: type[Exception] = self._names.UcError
        return kind

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the memory."""
        return bytes(self._uc.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Change bytes of the memory."""
        self._uc.mem_write(address, data)

    def register(self, role: Role) -> int:
        """Return what a register holds."""
        return int(self._uc.reg_read(self._constant(self.isa.roles[role])))

    def set_register(self, role: Role, value: int) -> None:
        """Change what a register holds; the program counter is set as by a jump."""
        value |= self.isa.jump_bit if role == "pc" else 0
        self._uc.reg_write(self._constant(self.isa.roles[role]), value)

    def registers(self) -> dict[str, int]:
        """Return the registers that messages show."""
        return {
            name: int(self._uc.reg_read(self._constant(constant)))
            for name, constant in self.isa.shown.items()
        }

    def run(self, timeout_s: float) -> None:
        """Go on until somebody stops it, or the time is up."""
        end = time.monotonic() + timeout_s
        self._is_stopped = False
        while not self._is_stopped and (left := end - time.monotonic()) > 0:
            start = self.register("pc") | self.isa.jump_bit
            try:
                self._uc.emu_start(start, NOWHERE, timeout=max(1, int(left * 1_000_000)))
            except self.error:
                # unicorn ends at the trap of a RISC-V core instead of calling back
                if not self.is_at_trap():
                    raise
                self._trap(BREAKPOINT)
            else:
                return

    def stop(self) -> None:
        """Stop; for a trap's or a block's callback."""
        self._is_stopped = True
        self._uc.emu_stop()

    def is_at_trap(self) -> bool:
        """Return whether the next instruction asks for semihosting."""
        pc = self.register("pc") & ~self.isa.jump_bit
        return self.read(pc, len(self.isa.trap)) == self.isa.trap

    def pass_trap(self) -> None:
        """Go on behind the instruction that asked for semihosting."""
        self.set_register("pc", self.register("pc") + len(self.isa.trap))

    def on_trap(self, callback: Callable[[int], None]) -> None:
        """Call back at each trap, with its number."""
        self._trap = callback
        self._uc.hook_add(self._names.UC_HOOK_INTR, lambda uc, number, _: callback(number))

    def on_block(self, callback: Callable[[int, int], None]) -> Callable[[], None]:
        """Call back at each block, with its address and size; returns what ends that."""
        hook = self._uc.hook_add(
            self._names.UC_HOOK_BLOCK, lambda uc, address, size, _: callback(address, size)
        )
        self._uc.ctl_flush_tb()  # code translated before the hook would not call it

        def end() -> None:
            self._uc.hook_del(hook)
            self._uc.ctl_flush_tb()

        return end

    def _constant(self, name: str) -> int:
        return int(getattr(self._names, f"{self.isa.constant}{name}"))

    def _load(self, image: Image) -> None:
        board = self._board
        for origin, size in (
            (board.flash.origin, board.flash.bytes),
            (board.ram.origin, board.ram.bytes),
            SYSTEM_SPACE,
        ):
            start = origin // PAGE * PAGE
            self._uc.mem_map(start, -(-(origin + size - start) // PAGE) * PAGE)
        self.write(board.ram.origin, bytes([PAINT]) * board.ram.bytes)
        for segment in image.segments:
            self.write(segment.address, segment.content)

    def _reset(self) -> None:
        flash = self._board.flash.origin
        if self._board.core.architecture == "riscv":  # the image begins with its first instruction
            self.set_register("pc", flash)
            return
        stack, entry = struct.unpack("<II", self.read(flash, 8))
        self.set_register("sp", stack)
        self.set_register("pc", entry)


def _open(board: Board, isa: Isa) -> tuple[Any, Any]:
    """Return an emulated core, and the package's constants in one namespace."""
    model = board.core.emulation.unicorn
    if not model:
        raise InputError(f"{board.name}: unicorn has no {board.cpu}; use the qemu-system link")
    try:
        import unicorn
        import unicorn.arm_const
        import unicorn.riscv_const
    except ImportError as error:
        raise ToolMissingError("unicorn is not installed: pip install 'quarl[firmware]'") from error

    package: Any = unicorn  # its names are not declared as exported
    names: Any = SimpleNamespace(
        **{
            **vars(package.arm_const),
            **vars(package.riscv_const),
            **vars(package),
        }
    )
    architecture, modes = isa.unicorn
    mode = 0
    for name in modes:
        mode |= getattr(names, name)
    uc = package.Uc(getattr(names, architecture), mode)
    uc.ctl_set_cpu_model(getattr(names, model))
    return uc, names
