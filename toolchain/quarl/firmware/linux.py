"""A policy as a Linux program: cross-compiled C for a Raspberry Pi's core, static, with no Python
and no runtime on the device.

In: QuantPolicy, observations whose answers it must give before it serves, the core. Out: the path
    of an executable file.

The program, `policy` below, first replays its example; if one byte differs it says so on standard
error and exits with 5, whatever it was called for. Everything is little-endian, arrays are in C
order, records follow each other with nothing between them:

    policy --identify
        prints one JSON object: core, kernels, contract_sha256, source_sha256, examples, input_type,
        output_type, and the bytes of one record of each kind: observation_bytes, input_bytes,
        output_bytes, action_bytes
    policy --run [FILE]
        graph integers (`program_inputs`) from FILE or standard input, outputs to standard output
        (`program_outputs`)
    policy --act [FILE]
        observations in environment units (float32, or uint8 pixels in the contract's own layout)
        in, actions out: int32 index of a discrete action, float32 values of a box
        (`program_actions`)
    policy --marked --run [FILE], policy --marked --act [FILE]
        the same; each record sets marks 5, 6, 1, 2 (quarl.pi.agent's EMPTY_BEGIN, EMPTY_END, BEGIN,
        END) for firmware_harness/emulator/ql_region_counter.c, so
        `quarl.profiles.pi.report.instructions_from` reads them
    policy --serve
        the frames of firmware_harness/harness/ql_frame.h on standard input and output
        (`quarl.links.frames`); each answer is flushed before the next request is read. Ticks are
        nanoseconds of the monotonic clock
    policy --bench [--act] [--inputs FILE] [--seconds 2] [--warm-up 0.5] [--samples 2000]
           [--block N] [--cpu N]
        times it and prints one JSON object, kind "measured": what, core, kernels, contract_sha256,
        first_call_us, warm_up_calls, calls_per_sample, samples_us (each the mean of one block of
        calls, in order; integers in to outputs out, with --act observation in to action out),
        rss_before_bytes (before the first call), rss_bytes, peak_bytes, major_faults and
        preemptions while the samples were taken. Up to 64 records of FILE are used in turn; without
        it they are made up from a fixed seed. Blocks last 0.1 ms where a call takes less than
        20 us. --cpu pins the process

`--run` and `--act` answer whole records; input that ends within one is told on standard error, exit
code 2, as is wrong usage. 0 is success.
Figures of `--bench` under an emulator are not the device's: whoever runs it there must not call
them measured.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.boards.cores import LINUX_CORES
from quarl.errors import DeviceError, InputError
from quarl.files.cache import keep, kept_file
from quarl.firmware.build import COMPILE_TIMEOUT_S, compiler_version
from quarl.firmware.c_types import DTYPES, ctype_of
from quarl.firmware.example import with_example
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.record import records_of
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import quantize_observations
from quarl.graph.rows import split_rows
from quarl.resources import firmware_dir
from quarl.tools import run

PROGRAM_FILE = "policy"
HARNESS_FILES = (
    "ql_crc32.c",
    "ql_frame.h",
    "ql_port.h",
    "ql_request.h",
    "ql_serve.c",
    "ql_ticks.h",
)
FLAGS = (
    "-std=gnu11",  # clocks, affinity
    "-O3",
    "-ffp-contract=off",  # the rescale rule rounds twice: decision 0001
    "-fno-sanitize=all",  # zig's default is to sanitise
    "-g1",  # function names, for counting
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
)


def linux_program(policy: QuantPolicy, example: NDArray[Any], core: str) -> Program:
    """Return the kernel calls of the policy for a core, with its example; errors as
    `build_linux_program`.
    """
    if not len(example):
        raise InputError("linux program: no observations to make its example of: give at least one")
    return with_example(lower(policy, LINUX_CORES[core].kernels), example)


def port_sources() -> dict[str, bytes]:
    """Return name -> bytes of the C files around a policy's own
    (`quarl.firmware.sources.program_sources`) that make a program of it.
    """
    root = firmware_dir()
    paths = [root / "harness" / name for name in HARNESS_FILES]
    paths += [path for path in (root / "ports" / "linux").iterdir() if path.suffix in (".c", ".h")]
    return {path.name: path.read_bytes() for path in sorted(paths)}


def build_linux_files(
    policy: Mapping[str, bytes], port: Mapping[str, bytes], core: str, cache_dir: Path
) -> Path:
    """Return the path of the executable, built unless the cache has it; not to be changed or moved.

    Args:
        policy: name -> bytes of the policy's C files and their kernels.
        port: name -> bytes of the C files around them (`port_sources`).
        cache_dir: where programs are kept, by the digest of all that went in.
    Raises:
        ToolMissingError: the compiler is not installed.
        DeviceError: the compiler refuses the sources; carries its words.
    """
    files = {**policy, **port}
    entry = cache_dir / "linux" / _key(files, core) / PROGRAM_FILE
    kept = kept_file(entry)
    if kept is not None:
        return kept
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=entry.parent) as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        program, includes = folder / PROGRAM_FILE, [f"-I{folder}"]
        objects = folder / "policy.o"
        freestanding = f"-I{firmware_dir() / 'freestanding'}"
        own = [*_core_flags(core), *includes, freestanding, "-nostdlib", "-r"]
        _zig(core, [*own, *_sources(folder, policy), "-o", str(objects)])
        around = [*_port_flags(core), *includes, "-static", *_sources(folder, port)]
        _zig(core, [*around, str(objects), "-o", str(program)])
        keep(entry, program.read_bytes(), executable=True)
    return entry


def program_inputs(policy: QuantPolicy, obs: NDArray[Any]) -> bytes:
    """Return what `--run` reads for rows (`quarl.graph.rows`) in environment units: one step's
    integers.
    """
    integers, records = quantize_observations(policy, obs), records_of(policy)
    packed = (
        integers.astype(policy.input_dtype) if records is None else records.input.pack(integers)
    )
    return packed.tobytes()


def program_observations(policy: QuantPolicy, obs: NDArray[Any]) -> bytes:
    """Return what `--act` reads for rows (`quarl.graph.rows`) in environment units."""
    dtype = np.uint8 if policy.contract.observation.is_image else np.float32
    records = records_of(policy)
    plain = np.ascontiguousarray(split_rows(policy.contract, obs)[0], dtype)
    if records is None:
        return plain.tobytes()
    states = records.state_of(policy.contract, obs)
    return b"".join(a.tobytes() + b.tobytes() for a, b in zip(plain, states, strict=True))


def program_outputs(policy: QuantPolicy, stream: bytes) -> NDArray[Any]:
    """Return the outputs [n, count] that `--run` wrote, of the policy's output type."""
    records = records_of(policy)
    if records is not None:
        return records.output.unpack(
            np.frombuffer(stream, np.int8).reshape(-1, records.output.bytes)
        )
    values = np.frombuffer(stream, DTYPES[ctype_of(policy.output_dtype)])
    return values.reshape(-1, policy.contract.action.count)


def program_actions(policy: QuantPolicy, stream: bytes) -> NDArray[Any]:
    """Return the actions that `--act` wrote: int64 [n] of a discrete policy, int64 [n, choices] of
    several choices, float32 [n, count] of a box.
    """
    action = policy.contract.action
    if action.kind == "discrete":
        return np.frombuffer(stream, "<i4").astype(np.int64)
    if action.kind == "multi_discrete":
        return np.frombuffer(stream, "<i4").astype(np.int64).reshape(-1, action.width)
    return np.frombuffer(stream, "<f4").reshape(-1, action.count)


def _core_flags(core: str) -> list[str]:
    return [*LINUX_CORES[core].zig, *FLAGS]


def _port_flags(core: str) -> list[str]:
    """Nothing here is worth a core's own instructions; zig compiles its C library once for all of
    them.
    """
    target = LINUX_CORES[core]
    return [
        *(option for option in target.zig if not option.startswith("-mcpu=")),
        *FLAGS,
        f'-DQL_CORE_NAME="{core}"',
        f'-DQL_KERNELS_NAME="{target.kernels}"',
    ]


def _sources(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    return [str(folder / name) for name in files if name.endswith(".c")]


def _zig(core: str, options: list[str]) -> None:
    done = run([sys.executable, "-m", "ziglang", "cc", *options], timeout=COMPILE_TIMEOUT_S)
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise DeviceError(
            f"{core}: the compiler stopped with code {done.returncode}: " + "\n".join(words[:20])
        )


def _key(files: Mapping[str, bytes], core: str) -> str:
    digest = hashlib.sha256()
    for text in (compiler_version(), *_core_flags(core), *_port_flags(core)):
        digest.update(text.encode() + b"\0")
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()
