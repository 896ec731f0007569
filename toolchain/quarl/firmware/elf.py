"""What an ELF image takes of flash and RAM, and where its functions lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

from quarl.boards.core import Region
from quarl.boards.microcontroller import Board
from quarl.errors import DeviceError, ToolMissingError


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or a variable; the address of a function has its Thumb bit cleared."""

    address: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes to be loaded at a physical address."""

    address: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Image:
    """A linked firmware."""

    segments: tuple[Segment, ...]
    symbols: Mapping[str, Symbol]
    flash_bytes: int  # everything the image stores: code, constants, initial values
    ram_bytes: int  # variables and the arena; the stack is not among them


def read_image(elf: bytes, board: Board) -> Image:
    """Return what the loader and the profile need of an ELF file.

    Raises:
        ToolMissingError: pyelftools is not installed.
        DeviceError: not an ELF file.
    """
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
        from elftools.elf.sections import SymbolTableSection
    except ImportError as error:
        raise ToolMissingError(
            "pyelftools is not installed: pip install 'quarl[firmware]'"
        ) from error
    try:
        file = ELFFile(BytesIO(elf))
        segments = tuple(
            Segment(int(s["p_paddr"]), bytes(s.data()))
            for s in file.iter_segments()
            if s["p_type"] == "PT_LOAD" and s["p_filesz"]
        )
        table = file.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            raise DeviceError("the linker's output has no symbols")
        symbols = {
            s.name: Symbol(
                int(s["st_value"]) & (~1 if s["st_info"]["type"] == "STT_FUNC" else ~0),
                int(s["st_size"]),
            )
            for s in table.iter_symbols()
            if s.name
        }
        allocated = [
            s for s in file.iter_sections() if s["sh_flags"] & 2 and s["sh_size"]
        ]  # SHF_ALLOC
    except ELFError as error:
        raise DeviceError(f"the linker's output is not an ELF file: {error}") from error
    ram = sum(int(s["sh_size"]) for s in allocated if _holds(board.ram, int(s["sh_addr"])))
    return Image(segments, symbols, sum(len(s.content) for s in segments), ram)


def _holds(region: Region, address: int) -> bool:
    return region.origin <= address < region.origin + region.bytes
