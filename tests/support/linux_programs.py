"""Builds and runs a policy's Linux program: with the host's compiler and sanitizers, or for a Pi's
core under qemu-user.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from numpy.typing import NDArray

from quarl.firmware.linux import build_linux_files, linux_program, port_sources
from quarl.firmware.program import Program
from quarl.firmware.sources import program_sources
from quarl.graph.quant_policy import QuantPolicy
from quarl.tools import run
from tests.conftest import need
from tests.support.host_build import FLAGS, TIMEOUT_S

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build_linux_program(
    policy: QuantPolicy, example: NDArray[Any], core: str, cache_dir: Path
) -> Path:
    """Return the path of a policy's program for a core, its example made of the observations."""
    return build_linux_sources(linux_program(policy, example, core), core, cache_dir)


def build_linux_sources(program: Program, core: str, cache_dir: Path) -> Path:
    """Return the path of a lowered program's executable."""
    return build_linux_files(program_sources(program), port_sources(), core, cache_dir)


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
