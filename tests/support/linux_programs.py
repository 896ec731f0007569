"""Builds and runs a policy's Linux program: with the host's compiler and sanitizers, or for a Pi's
core under qemu-user.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

from quarl.firmware.linux import port_sources
from quarl.firmware.program import Program
from quarl.firmware.sources import program_sources
from quarl.tools import run
from tests.conftest import need
from tests.support.host_build import FLAGS, TIMEOUT_S

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build_natively(program: Program, folder: Path) -> Path:
    """Return the program built by gcc for this machine under sanitizers; warnings are errors."""
    need("gcc")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (program_sources(program) | port_sources()).items():
        (folder / name).write_bytes(content)
    flags = [
        "-std=gnu11",
        *(flag for flag in FLAGS if flag != "-pedantic" and not flag.startswith("-std")),
        *SANITIZERS,
        f"-I{folder}",
    ]
    done = run(
        ["gcc", *flags, *sorted(folder.glob("*.c")), "-o", folder / "policy"], timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr.decode()
    return folder / "policy"


def ask(
    program: Path, arguments: Sequence[str], stream: bytes = b"", core: str | None = None
) -> CompletedProcess[bytes]:
    """Return the ended program: on this machine, or on an emulated core."""
    if core is None:
        return run([program, *arguments], input=stream, timeout=TIMEOUT_S)
    need("qemu-aarch64")
    return run(["qemu-aarch64", "-cpu", core, program, *arguments], input=stream, timeout=TIMEOUT_S)
