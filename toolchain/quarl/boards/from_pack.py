"""A board file made from a CMSIS pack: core, clock and memory as the chip's vendor states them.

In: a `.pdsc` file, a `.pack` archive that holds one, or the packs that pyOCD has fetched; and the
name of a device in it. Out: the text of a board.toml, each number with its source. What packs do
not say is marked unknown: wait states, the serial port, the names of flashing tools.
Format: Open-CMSIS-Pack specification, package description, /package/devices. A pack is a stranger's
file: it is read within bounds, and entities are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from quarl.boards.core import Fpu, Region
from quarl.boards.cores import CORES
from quarl.errors import InputError, ToolMissingError, UnsupportedError, UntrustedFileError
from quarl.files.archives import Archive
from quarl.files.open import read_file
from quarl.files.tables import did_you_mean
from quarl.files.text import printable, shortened

PDSC, PACK = ".pdsc", ".pack"
MOST_LEVELS = 64
MOST_SHOWN = 120  # characters of what a pack calls itself
MOST_BYTES = 64 << 20  # of a package description; the largest vendors' have about 20 MB
FPUS: dict[str, Fpu] = {
    **dict.fromkeys(("0", "NO_FPU", ""), "none"),
    **dict.fromkeys(("1", "FPU", "SP_FPU"), "single"),
    "DP_FPU": "double",
}
GROUPS = ("family", "subFamily", "device", "variant")  # each says more than the one around it
NAMES = {"device": "Dname", "variant": "Dvariant"}


@dataclass(frozen=True, slots=True)
class Chip:
    """What a pack says of a device."""

    device: str
    pack: str  # vendor, name and version
    cpu: str
    fpu: Fpu
    clock_hz: int | None  # None: the pack does not say it
    flash: Region
    ram: Region


def board_from_pack(name: str, device: str, pack: Path | None) -> str:
    """Return the text of a board file for a device of a pack.

    Args:
        name: of the board.
        pack: a `.pdsc` or `.pack` file; None: the packs that pyOCD has fetched.
    Raises:
        InputError: the pack or the device cannot be found, or lacks what a board needs.
        ToolMissingError: no pack is given and pyOCD is not installed.
        UnsupportedError: a core that quarl does not know.
    """
    description = fetched_description(device) if pack is None else read_description(pack)
    return board_text(name, chip_in(description, device))


def read_description(path: Path) -> bytes:
    """Return the package description in a `.pdsc` file or a `.pack` archive.

    Raises:
        InputError: it cannot be read, or is neither.
        UntrustedFileError: it asks for too much memory.
    """
    if path.suffix.lower() == PDSC:
        return read_file(path, MOST_BYTES)
    with Archive(path) as archive:
        members = [name for name in archive.names if name.endswith(PDSC)]
        if len(members) != 1:
            raise InputError(f"{path}: holds {len(members)} {PDSC} files; allowed: one")
        return archive.read(members[0], MOST_BYTES)


def fetched_description(device: str) -> bytes:
    """Return the description of the pack with a device, of those that pyOCD has fetched.

    Raises:
        ToolMissingError: pyOCD is not installed. InputError: it has not fetched such a pack.
    """
    try:
        from cmsis_pack_manager import Cache  # type: ignore[import-untyped]
    except ImportError as error:
        raise ToolMissingError(
            "packs are found through pyOCD: pip install 'quarl[probe]', or name a file: --pack FILE"
        ) from error
    cache = Cache(True, True)
    known = cache.index
    if device not in known:
        raise InputError(
            f"pyOCD has fetched no pack with {device!r}{did_you_mean(device, known)}: run "
            "python -m pyocd pack update, or name a file: --pack FILE"
        )
    found: Path = Path(cache.pdsc_from_cache(known[device]).name)
    return read_file(found, MOST_BYTES)


def chip_in(description: bytes, device: str) -> Chip:
    """Return what a package description says of a device.

    Raises:
        InputError: not a description, or no such device; names the closest one.
        UnsupportedError: a core that quarl does not know.
    """
    package = _parsed(description)
    chains = dict(_chains(package))
    if device not in chains:
        raise InputError(
            f"the pack describes no device {device!r}{did_you_mean(device, chains)}; it has "
            f"{len(chains)}"
        )
    chain = chains[device]
    processor: dict[str, str] = {}
    for group in chain:
        for element in group.findall("processor"):
            processor |= element.attrib
    cpu, fpu = _core_of(processor, device)
    memories = [element.attrib for group in chain for element in group.findall("memory")]
    clock = processor.get("Dclock", "")
    return Chip(
        device,
        _title_of(package),
        cpu,
        fpu,
        int(clock) if re.fullmatch("0*[1-9][0-9]{0,11}", clock) else None,
        _region(memories, "rx", device),
        _region(memories, "rw", device),
    )


def board_text(name: str, chip: Chip) -> str:
    """Return a board file; a clock that the pack does not say is left for the user to fill in."""
    source = printable(f"{chip.pack}, {chip.device}")[:MOST_SHOWN]  # ends no comment
    clock = (
        "clock_hz = 1  # unknown: the pack does not state it, write the clock of your product"
        if chip.clock_hz is None
        else f"clock_hz = {chip.clock_hz:_}  # {source}: Dclock"
    )
    return f"""\
# Made from a CMSIS pack: core, clock and memory are as it states them. Nothing else was checked.
# There is no [uart] and no [probe]: a pack says neither.
name = {json.dumps(name)}
title = {json.dumps(chip.device)}
cpu = "{chip.cpu}"
fpu = "{chip.fpu}"
{clock}
flash = {_region_text(chip.flash)}  # {source}: memory
ram = {_region_text(chip.ram)}  # {source}: memory
flash_wait_states = "unknown"  # a pack does not say it
"""


def _parsed(description: bytes) -> ElementTree.Element:
    try:
        package = ElementTree.fromstring(description, ElementTree.XMLParser(target=_Plain()))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(f"the pack's description is not XML ({error}): fetch it again") from error
    if package.tag != "package":
        raise InputError(
            f"<{shortened(package.tag)}> is not a package description: give a {PDSC} file"
        )
    return package


class _Plain(ElementTree.TreeBuilder):
    """Builds the tree of a document without entities, of a depth that a description has."""

    _level = 0

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Refuse what defines entities, in whatever encoding."""
        raise UntrustedFileError("the pack's description defines entities: do not trust it")

    def start(self, tag: Any, attributes: Any, /) -> ElementTree.Element:
        """Go down a level."""
        self._level += 1
        if self._level > MOST_LEVELS:
            raise UntrustedFileError(
                f"the pack's description is more than {MOST_LEVELS} levels deep: do not trust it"
            )
        return super().start(tag, attributes)

    def end(self, tag: str, /) -> ElementTree.Element:
        """Go up again."""
        self._level -= 1
        return super().end(tag)


def _chains(package: ElementTree.Element) -> Iterator[tuple[str, tuple[ElementTree.Element, ...]]]:
    """Yield the name of each device and variant, with the groups around it, outermost first."""
    pending: list[tuple[ElementTree.Element, ...]] = [
        (family,) for family in package.findall("./devices/family")
    ]
    while pending:
        chain = pending.pop()
        name = NAMES.get(chain[-1].tag)
        if name is not None and name in chain[-1].attrib:
            yield chain[-1].attrib[name], chain
        pending += [(*chain, inner) for tag in GROUPS for inner in chain[-1].findall(tag)]


def _core_of(processor: dict[str, str], device: str) -> tuple[str, Fpu]:
    stated = processor.get("Dcore", "")
    cpu = stated.lower().replace("+", "plus")
    if cpu not in CORES:
        raise UnsupportedError(
            f"{device}: the pack states the core {stated!r}, quarl knows {', '.join(CORES)}"
        )
    fpu = FPUS.get(processor.get("Dfpu", ""), "none")
    allowed = CORES[cpu].variants
    return cpu, fpu if fpu in allowed else [*allowed][-1]


def _title_of(package: ElementTree.Element) -> str:
    release = package.find("./releases/release")
    version = "" if release is None else f" {release.get('version', '')}"
    return f"{package.findtext('vendor', '')} {package.findtext('name', '')}{version}".strip()


def _region(memories: list[dict[str, str]], access: str, device: str) -> Region:
    """Return the memory where code (rx) or variables (rw) go: the default one, or the largest."""
    found = []
    for memory in memories:
        writable = "w" in memory.get("access", "") or memory.get("id", "").startswith("IRAM")
        if writable == (access == "rw") and "start" in memory and "size" in memory:
            start, size = _number(memory["start"], device), _number(memory["size"], device)
            found.append((memory.get("default") in ("1", "true"), size, start))
    if not found:
        kind = "flash" if access == "rx" else "RAM"
        raise InputError(f"{device}: the pack states no {kind}: write the board file by hand")
    _, size, start = max(found)
    return Region(start, size)


def _number(text: str, device: str) -> int:
    """Return an address or a size, which is written as in C."""
    if re.fullmatch("0[xX][0-9a-fA-F]{1,16}|[0-9]{1,16}", text.strip()) is None:
        raise InputError(
            f"{device}: the pack states the address or size {shortened(text)}: write the board "
            "file by hand"
        )
    return int(text, 16 if text.strip()[:2] in ("0x", "0X") else 10)


def _region_text(region: Region) -> str:
    high, low = divmod(region.origin, 1 << 16)
    return f"{{ origin = 0x{high:04X}_{low:04X}, bytes = {region.bytes:_} }}"
