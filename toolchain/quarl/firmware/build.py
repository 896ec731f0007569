"""Build: C sources and a board become an ELF image, once for the same content.

The compiler is zig from the `ziglang` package: no root, no system packages. Arm's GCC gives the
same answers where it is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from quarl.boards.core import Architecture
from quarl.boards.microcontroller import Board
from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.files.cache import keep, kept_bytes
from quarl.firmware.image import CompilerName, compile_command
from quarl.resources import firmware_dir
from quarl.tools import run

COMPILE_TIMEOUT_S = 600.0
ELF_FILE = "firmware.elf"
GCC: dict[Architecture, tuple[str, str]] = {  # program, Debian package
    "arm": ("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
    "riscv": ("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
}


def compiler_version(compiler: CompilerName = "zig", architecture: Architecture = "arm") -> str:
    """Return the compiler's name and version.

    Raises:
        ToolMissingError: it is not installed; says what brings it.
    """
    if compiler == "gcc":
        program, package = GCC[architecture]
        if shutil.which(program) is None:
            raise ToolMissingError(
                f"{program} is not installed: apt-get install {package}, or build with zig"
            )
        told = run([program, "-dumpfullversion"], timeout=COMPILE_TIMEOUT_S)
        return f"{program} {told.stdout.decode().strip()}"
    if importlib.util.find_spec("ziglang") is None:
        raise ToolMissingError(
            "the C compiler is missing: pip install 'quarl[firmware]' brings ziglang"
        )
    return f"zig {version('ziglang')}"


def build_image(
    files: Mapping[str, bytes], board: Board, cache_dir: Path, compiler: CompilerName = "zig"
) -> bytes:
    """Return the ELF image of the C files (name -> bytes, linker script among them); from the cache
    if nothing has changed.

    Raises:
        ToolMissingError: the compiler is not installed.
        DeviceError: the compiler refuses the sources; carries its words.
    """
    entry = cache_dir / "firmware" / _key(files, board, compiler) / ELF_FILE
    kept = kept_bytes(entry)
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory(prefix="quarl-build-") as folder:
        elf = _compile(files, board, Path(folder), compiler)
    with contextlib.suppress(InputError):  # a cache that cannot be written costs time only
        keep(entry, elf)
    return elf


def _compile(
    files: Mapping[str, bytes], board: Board, folder: Path, compiler: CompilerName
) -> bytes:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    freestanding = firmware_dir() / "freestanding"
    sources = [
        *sorted(folder.glob("*.c")),
        *(sorted(freestanding.glob("*.c")) if compiler == "gcc" else []),
    ]
    includes = [folder, freestanding]
    gcc, _ = GCC[board.core.architecture]
    program = [sys.executable, "-m", "ziglang"] if compiler == "zig" else [gcc]
    command = compile_command(compiler, program, board, sources, includes, folder / ELF_FILE)
    done = run(command, timeout=COMPILE_TIMEOUT_S)
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise DeviceError(
            f"{board.name}: the compiler stopped with code {done.returncode}: "
            + "\n".join(words[:20])
        )
    return (folder / ELF_FILE).read_bytes()


def _key(files: Mapping[str, bytes], board: Board, compiler: CompilerName) -> str:
    digest = hashlib.sha256()
    command = compile_command(compiler, [], board, [Path("ql_startup.c")], [], Path(ELF_FILE))
    for text in (compiler_version(compiler, board.core.architecture), repr(board), *command):
        digest.update(text.encode() + b"\0")
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()
