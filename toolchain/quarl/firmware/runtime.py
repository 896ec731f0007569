"""The runtime's files that a program needs, by what each of them declares in its first lines.

A kernel names the other kernels it calls: `/* needs: ql_copy_patch, ql_dense */`; those it calls
only on a core without an FPU: `/* needs without an FPU: ql_round_product */`. A test compares both
with the undefined symbols of its object file. Headers are those its `#include` lines name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from quarl.boards.core import Kernels
from quarl.resources import firmware_dir

NEEDS = "/* needs: "
NEEDS_WITHOUT_FPU = "/* needs without an FPU: "
INCLUDE = '#include "'
ALWAYS_WITH_FPU: frozenset[Kernels] = frozenset({"mve", "neon", "dot"})
BASE_HEADERS = ("ql_status.h", "ql_kernels.h")  # what every policy's own text includes


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file of the runtime says it needs."""

    kernels: tuple[str, ...]
    kernels_without_fpu: tuple[str, ...]
    headers: tuple[str, ...]


def read_declared(text: str) -> Declared:
    """Return what a kernel or header declares."""
    kernels: list[str] = []
    without_fpu: list[str] = []
    headers: list[str] = []
    for line in text.splitlines():
        if line.startswith(NEEDS):
            kernels += _listed(line, NEEDS)
        elif line.startswith(NEEDS_WITHOUT_FPU):
            without_fpu += _listed(line, NEEDS_WITHOUT_FPU)
        elif line.startswith(INCLUDE):
            headers.append(line[len(INCLUDE) :].partition('"')[0])
    return Declared(tuple(kernels), tuple(without_fpu), tuple(headers))


def kernel_files() -> dict[str, Path]:
    """Return kernel -> its file; a file has the name of its one function."""
    return {path.stem: path for path in sorted((firmware_dir() / "kernels").rglob("*.c"))}


def runtime_files(functions: Iterable[str], kernels: Kernels) -> Mapping[str, bytes]:
    """Return name -> bytes of the kernels, of those they need, and of all their headers."""
    files = kernel_files()
    headers = firmware_dir() / "include"
    own = () if kernels == "portable" else (f"ql_kernels_{kernels}.h",)
    found: dict[str, bytes] = {}
    pending = [files[name] for name in sorted(functions)]
    pending += [headers / name for name in (*BASE_HEADERS, *own)]
    while pending:
        path = pending.pop()
        if path.name in found:
            continue
        found[path.name] = path.read_bytes()
        declared = read_declared(found[path.name].decode())
        pending += [headers / name for name in declared.headers]
        pending += [files[name] for name in _called(declared, kernels)]
    return found


def _called(declared: Declared, kernels: Kernels) -> Iterator[str]:
    yield from declared.kernels
    if kernels not in ALWAYS_WITH_FPU:
        yield from declared.kernels_without_fpu


def _listed(line: str, label: str) -> list[str]:
    return [name.strip() for name in line[len(label) :].removesuffix("*/").split(",")]
