"""Flashing: an ELF image goes into a board's flash through a debug probe, by pyOCD or OpenOCD.

In: a tool's name, a board, an image. Out: nothing, or one error that says whether the tool, the
probe or the board's pack is missing.
Commands are lists and run without a shell. Both tools verify what they wrote and let the board
start anew.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from quarl.boards.microcontroller import Board
from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.tools import run

FlashTool = Literal["pyocd", "openocd"]
TIMEOUT_S = 300.0
IMAGE = "firmware.elf"
SOURCES: dict[FlashTool, str] = {
    "pyocd": "pip install 'quarl[probe]'",
    "openocd": "apt-get install openocd",
}
NO_PROBE = (  # what the tools say where no probe answers, in their words
    "no connected debug probes",
    "no target device available",
    "no j-link device found",
    "unable to find a matching cmsis-dap device",
    "open failed",
    "unable to open",
)
UNKNOWN_TARGET = ("not recognized", "can't find target/", "can't find interface/")


def flash(tool: FlashTool, board: Board, elf: bytes) -> None:
    """Write the image into the board's flash and start it.

    Raises:
        InputError: the board file does not say what the tool calls the chip.
        ToolMissingError: the tool is not installed; says what gives it.
        DeviceError: no probe is connected, the tool does not know the chip, or it failed; carries
            its words.
    """
    program = find_program(tool)
    with tempfile.TemporaryDirectory(prefix="quarl-flash-") as folder:
        image = Path(folder) / IMAGE
        image.write_bytes(elf)
        done = run(flash_command(tool, program, board, image), timeout=TIMEOUT_S)
    if done.returncode != 0:
        words = (done.stderr + b"\n" + done.stdout).decode(errors="replace").strip()
        raise DeviceError(_reason(tool, board, done.returncode, words))


def flash_command(tool: FlashTool, program: Sequence[str], board: Board, image: Path) -> list[str]:
    """Return the one command that writes, verifies and starts an image. Runs nothing.

    Args:
        program: argv that starts the tool.
    Raises:
        InputError: the board file does not say what the tool calls the chip.
    """
    probe = board.probe
    known = probe is not None and (probe.pyocd if tool == "pyocd" else probe.openocd)
    if probe is None or not known:
        raise InputError(
            f"{board.name}: cannot be flashed by {tool}: its board file has no [probe] "
            f"{tool}; flash the image by the board's own means"
        )
    if tool == "pyocd":
        return [*program, "flash", "--no-wait", "--target", probe.pyocd, str(image)]
    scripts = [
        word for text in probe.openocd for word in ("-f" if text.endswith(".cfg") else "-c", text)
    ]
    return [
        *program,
        *scripts,
        "-c",
        f"program {{{image}}} verify reset exit",
    ]  # Tcl: in braces nothing is replaced


def find_program(tool: FlashTool) -> list[str]:
    """Return the argv that starts a tool: pyOCD as this Python's module where it has it, otherwise
    what the path finds.

    Raises:
        ToolMissingError: it is not installed; says what gives it.
    """
    if tool == "pyocd" and importlib.util.find_spec("pyocd") is not None:
        return [sys.executable, "-m", "pyocd"]
    found = shutil.which(tool)
    if found is None:
        raise ToolMissingError(f"{tool} is not installed: {SOURCES[tool]}")
    return [found]


def _reason(tool: FlashTool, board: Board, code: int, words: str) -> str:
    lower, last = words.lower(), " ".join(words.splitlines()[-3:])
    if any(text in lower for text in UNKNOWN_TARGET):
        assert board.probe is not None
        advice = (
            f"python -m pyocd pack install {board.probe.pyocd}"
            if tool == "pyocd"
            else "a newer OpenOCD may have it"
        )
        return f"{board.name}: {tool} does not know this chip: {advice} ({last})"
    if any(text in lower for text in NO_PROBE):
        return (
            f"{board.name}: {tool} finds no debug probe: connect the board's USB port and "
            f"check its power, then run again ({last})"
        )
    return f"{board.name}: {tool} stopped with code {code}: {last}"
