"""The C kernels of actors: built once for each kind of processor, and called through ctypes.

In: a block of a policy. Out: its outputs for observations, or a block filled with integers.
The compiler is ziglang from pip. A library is built for the best instruction set of the processor
at hand; all of them give the same integers, and the plain one runs anywhere.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.files.cache import keep, kept_file
from quarl.resources import default_cache_dir, firmware_dir
from quarl.tools import run

FLAGS = (
    *("-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC"),
    *("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"),
)
COMPILE_TIMEOUT_S = 300.0
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Variant:
    """One build of the kernels."""

    name: str
    target: tuple[str, ...]  # of the compiler
    needs: frozenset[str]  # flags of the processor, as Linux names them


_AVX2 = frozenset({"avx2", "fma", "f16c", "bmi2"})
_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"})
VARIANTS: tuple[Variant, ...] = (  # the best first
    Variant("avx512-vnni", ("-mcpu=x86_64_v4+avx512vnni",), _AVX2 | _AVX512 | {"avx512_vnni"}),
    Variant("avx-vnni", ("-mcpu=x86_64_v3+avxvnni",), _AVX2 | {"avx_vnni"}),
    Variant("avx2", ("-mcpu=x86_64_v3",), _AVX2),
    Variant("portable", ("-mcpu=baseline",), frozenset()),
)


def processor_flags() -> frozenset[str]:
    """Return the flags of this machine's processor; none where Linux does not tell them."""
    if platform.machine() not in ("x86_64", "AMD64") or not CPU_INFO.is_file():
        return frozenset()
    for line in CPU_INFO.read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def runnable_variants() -> tuple[Variant, ...]:
    """Return the variants this processor can run, the best first."""
    flags = processor_flags()
    return tuple(variant for variant in VARIANTS if variant.needs <= flags)


@cache
def load_kernel(name: str | None = None) -> ctypes.CDLL:
    """Return the library of that variant, or of the best one for this processor.

    Raises:
        InputError: this processor cannot run it.
        ToolMissingError: the compiler is not installed.
        DeviceError: the compiler refuses the sources.
    """
    usable = {variant.name: variant for variant in runnable_variants()}
    if name is not None and name not in usable:
        raise InputError(f"kernel {name}: this processor runs {', '.join(usable)}")
    variant = next(iter(usable.values())) if name is None else usable[name]
    library = ctypes.CDLL(str(_build(variant)))
    pointer, integer = ctypes.c_void_p, ctypes.c_int32
    signatures: dict[str, list[Any]] = {
        "ql_actor_run": [pointer, pointer, integer, pointer],
        "ql_actor_row_sizes": [pointer, integer, integer, pointer, pointer],
        "ql_actor_pack_int8": [pointer, integer, pointer, pointer, integer],
        "ql_actor_pack_float": [pointer, integer, pointer],
    }
    for function, arguments in signatures.items():
        entry = getattr(library, function)  # the attribute is kept, an item is made anew
        entry.argtypes, entry.restype = arguments, None
    return library


def _build(variant: Variant) -> Path:
    """Return the library's path, built if this content has not been built before."""
    if importlib.util.find_spec("ziglang") is None:
        raise ToolMissingError(
            "the C compiler is missing: pip install 'quarl[firmware]' brings ziglang"
        )
    folder = firmware_dir() / "host"
    sources = sorted(folder.glob("*.c"))
    digest = hashlib.sha256(repr((FLAGS, variant.target, platform.machine())).encode())
    for file in sorted(folder.glob("*.[ch]")):
        digest.update(file.read_bytes())
    library = default_cache_dir() / "host" / f"actor-{variant.name}-{digest.hexdigest()[:16]}.so"
    if kept_file(library) is not None:
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}")  # several actors may build at once
    program = [sys.executable, "-m", "ziglang", "cc"]
    command = [*program, *FLAGS, *variant.target, *map(str, sources), "-o", str(partial)]
    done = run(command, timeout=COMPILE_TIMEOUT_S)
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise DeviceError(f"the compiler refuses the kernels of actors: {' / '.join(words[:5])}")
    keep(library, partial.read_bytes())
    partial.unlink()
    return library
