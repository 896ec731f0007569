"""Our own C runtime on a Pi: the policy as one static program, run beside the runtimes and measured
as they are.

In: the policy, observations, a board and a link inside its `with` block. Out: the program's
outputs, or a `PiModel` named "c".
The program is `quarl.firmware.linux`'s; under emulation it sets marks and is counted, on a real Pi
it times itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.boards.linux import LinuxBoard
from quarl.errors import DeviceError
from quarl.firmware.build import compiler_version
from quarl.firmware.linux import build_linux_files, program_inputs, program_outputs
from quarl.firmware.source_tree import LINUX, POLICY
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs
from quarl.links.pi import PiLink, ProgramAnswer, sha256_of
from quarl.profiles.host import Latency
from quarl.profiles.pi.health import Health, without_clock
from quarl.profiles.pi.report import PROGRAM, PiMemory, PiModel, instructions_from
from quarl.profiles.pi.request import Effort
from quarl.profiles.workload import Workload

RUNTIME = PROGRAM


@dataclass(frozen=True, slots=True, eq=False)
class PiProgram:
    """The program for a board's core, and what it is asked."""

    content: bytes
    policy: QuantPolicy
    obs: NDArray[Any]
    expected: NDArray[Any]  # outputs [n, count] of the integer reference


def program_of(workload: Workload, board: LinuxBoard, cache_dir: Path) -> PiProgram:
    """Return the workload's own C sources as a program; errors as `build_linux_files`."""
    tree, policy, obs = workload.firmware, workload.policy, workload.obs
    path = build_linux_files(tree.folder(POLICY), tree.folder(LINUX), board.cpu, cache_dir)
    return PiProgram(path.read_bytes(), policy, obs, integer_outputs(policy, obs))


def run_program(program: PiProgram, link: PiLink) -> tuple[ProgramAnswer, NDArray[Any]]:
    """Return what the program answered, and its outputs [n, count], with marks where the link
    counts.
    """
    arguments = ["--run"] if link.is_timed else ["--marked", "--run"]
    answer = link.run_program(
        program.content, arguments, program_inputs(program.policy, program.obs)
    )
    return answer, program_outputs(program.policy, answer.stdout)


def measure_program(program: PiProgram, link: PiLink, core: int, effort: Effort) -> PiModel:
    """Return the program's figures: outputs for all observations, then instructions or times.

    Args:
        core: the one the program is kept on while it is timed.
    """
    answer, found = run_program(program, link)
    expected = program.expected
    if found.shape != expected.shape:
        raise DeviceError(
            f"{link.name}: the C program answers {found.shape}, the reference {expected.shape}"
        )
    inference = decision = before = after = None
    if link.is_timed:
        pace = [
            "--seconds",
            str(effort.seconds),
            "--warm-up",
            str(effort.warm_up_s),
            "--samples",
            str(effort.samples),
        ]
        options = [*pace, "--cpu", str(core)]
        before = _health(link)
        inference = _bench(link, program.content, ["--bench", *options])
        decision = _bench(link, program.content, ["--bench", "--act", *options])
        after = _health(link)
    return PiModel(
        runtime=RUNTIME,
        runtime_version=compiler_version(),
        precision="int8",
        file_bytes=len(program.content),
        observations=len(found),
        differing=int((found != expected).sum()),
        largest_difference=float(np.abs(found.astype(np.float64) - expected).max(initial=0)),
        outputs_sha256=sha256_of(found.tobytes()),
        expected_sha256=sha256_of(expected.tobytes()),
        load_us=None,
        latency=None if inference is None else _latency(inference),
        decision=None if decision is None else _latency(decision),
        memory=None if inference is None else _memory(inference),
        major_faults=None if inference is None else int(inference["major_faults"]),
        before=before,
        after=after,
        instructions=instructions_from(answer.marks) if answer.marks else None,
    )


def _bench(link: PiLink, program: bytes, arguments: list[str]) -> Mapping[str, Any]:
    text = link.run_program(program, arguments, b"").stdout
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise DeviceError(
            f"{link.name}: the C program's figures cannot be read: {text[:80]!r}"
        ) from error


def _health(link: PiLink) -> Health:
    """Return a look beside the program, whose load has ended: its clock says nothing."""
    return without_clock(Health(**link.ask({"ask": "look"}).fields["health"]))


def _latency(fields: Mapping[str, Any]) -> Latency:
    samples = tuple(float(sample) for sample in fields["samples_us"])
    return Latency(
        float(fields["first_call_us"]),
        samples,
        int(fields["calls_per_sample"]),
        int(fields["warm_up_calls"]),
    )


def _memory(fields: Mapping[str, Any]) -> PiMemory:
    before, after = int(fields["rss_before_bytes"]), int(fields["rss_bytes"])
    return PiMemory(before, max(after - before, 0), None, int(fields["peak_bytes"]), None)
