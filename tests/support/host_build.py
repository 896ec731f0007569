"""Builds a generated policy as a shared library of this machine and calls it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.firmware.program import Program
from quarl.firmware.sources import program_sources
from quarl.resources import firmware_dir
from quarl.tools import run

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")
FLAGS = ("-std=c11", "-O1", "-fPIC", "-ffp-contract=off", *WARNINGS)
COMPILERS: dict[str, tuple[str, ...]] = {
    "gcc": ("gcc",),
    "zig": (sys.executable, "-m", "ziglang", "cc"),
}
CTYPES: dict[str, Any] = {
    "int8_t": ctypes.c_int8,
    "int16_t": ctypes.c_int16,
    "float": ctypes.c_float,
}
TIMEOUT_S = 300


def compile_one(compiler: Sequence[str], flags: Sequence[str], source: Path, out: Path) -> Path:
    """Return the object file of one source; warnings are errors."""
    done = run([*compiler, *flags, "-c", source, "-o", out], timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr.decode()
    return out


@cache
def kernel_objects(folder: Path, compiler: str, extra: tuple[str, ...]) -> dict[str, Path]:
    """Return name -> object of every kernel, compiled once for all policies of a test session."""
    root = firmware_dir()
    out = folder / "-".join(
        [compiler, *(flag.strip("-=,").replace("=", "_").replace(",", "_") for flag in extra)]
    )
    out.mkdir(parents=True)
    flags = [*FLAGS, *extra, f"-I{root / 'include'}"]
    sources = sorted((root / "kernels").rglob("*.c"))
    return {
        source.stem: compile_one(COMPILERS[compiler], flags, source, out / f"{source.stem}.o")
        for source in sources
    }


class HostPolicy:
    """A generated policy, loaded into this process."""

    def __init__(
        self,
        program: Program,
        folder: Path,
        objects: dict[str, Path],
        compiler: str = "gcc",
        extra: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True)
        files = program_sources(program)
        for name in ("ql_policy.c", "ql_policy.h"):
            (folder / name).write_bytes(files[name])
        flags = [*FLAGS, *extra, f"-I{firmware_dir() / 'include'}"]
        policy = compile_one(
            COMPILERS[compiler], flags, folder / "ql_policy.c", folder / "ql_policy.o"
        )
        needed = [objects[Path(name).stem] for name in files if Path(name).stem in objects]
        library = folder / "policy.so"
        done = run(
            [*COMPILERS[compiler], "-shared", *extra, policy, *needed, "-o", library],
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr.decode()
        self._library = ctypes.CDLL(str(library))
        self._program = program
        self._input = np.ctypeslib.as_array(
            self._pointer("ql_policy_input", program.input_ctype), (program.input_len,)
        )

    def _pointer(self, name: str, ctype: str) -> Any:
        function = self._library[name]
        function.restype = ctypes.POINTER(CTYPES[ctype])
        return function()

    def infer(self, integers: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [n, count] for graph inputs [n, ...]."""
        results = []
        for row in integers.reshape(len(integers), -1):
            self._input[:] = row
            output = self._pointer("ql_policy_infer", self._program.output_ctype)
            results.append(np.ctypeslib.as_array(output, (self._program.output_len,)).copy())
        return np.stack(results)

    def act(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions for observations [n, *shape] in environment units."""
        action = self._program.policy.contract.action
        is_discrete = action.kind == "discrete"
        out = np.zeros(1, np.int32) if is_discrete else np.zeros(action.count, np.float32)
        actions = []
        for row in np.ascontiguousarray(obs):
            status = self._library.ql_policy_act(
                row.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p)
            )
            assert status == 0
            actions.append(int(out[0]) if is_discrete else out.copy())
        return np.array(actions)


FILTER = """\
#include "ql_policy.h"

#include <stdio.h>

int main(void)
{
    size_t len = QL_POLICY_INPUT_LEN;
    while (fread(ql_policy_input(), sizeof(ql_policy_input_t), len, stdin) == len) {
        (void)fwrite(ql_policy_infer(), sizeof(ql_policy_output_t), QL_POLICY_OUTPUT_LEN, stdout);
    }
    return 0;
}
"""


def filter_outputs(
    program: Program,
    folder: Path,
    flags: Sequence[str],
    integers: NDArray[Any],
    compiler: str = "gcc",
) -> NDArray[Any]:
    """Return the outputs of a program, built with its own flags, that reads graph inputs and writes
    outputs.
    """
    folder.mkdir(parents=True)
    files = program_sources(program)
    for name, content in (files | {"main.c": FILTER.encode()}).items():
        (folder / name).write_bytes(content)
    sources = sorted(folder.glob("*.c"))
    done = run(
        [*COMPILERS[compiler], *FLAGS, *flags, *sources, "-o", folder / "filter"], timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr.decode()
    types: dict[str, Any] = {"int8_t": np.int8, "int16_t": np.int16, "float": np.float32}
    stdin = np.ascontiguousarray(
        integers.reshape(len(integers), -1), types[program.input_ctype]
    ).tobytes()
    done = run([folder / "filter"], input=stdin, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, types[program.output_ctype]).reshape(len(integers), -1)
