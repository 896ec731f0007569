"""Runs a policy on a Pi: fp32 beside int8 in every runtime, one process each, one after the other.

In: the policy, observations, a board and a link. Out: a `PiProfile` (profile_pi), or the Pi's
outputs alone (outputs_of_pi).
A spoilt run is never reported: it is a DeviceError that says what spoilt it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.boards.cores import LINUX_CORES
from quarl.boards.linux import LinuxBoard
from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.firmware.build import compiler_version
from quarl.graph.shapes import multiply_accumulates
from quarl.links.pi import Answer, PiLink, sha256_of
from quarl.links.pi_machine import Machine, machine_from
from quarl.pi import agent
from quarl.profiles.host import Latency
from quarl.profiles.pi.health import Health, remarks, spoiling, without_clock
from quarl.profiles.pi.program import RUNTIME, measure_program, program_of, run_program
from quarl.profiles.pi.report import (
    Instructions,
    PiMemory,
    PiModel,
    PiProfile,
    health_from,
    instructions_from,
)
from quarl.profiles.pi.request import (
    COUNTED,
    NOTHING,
    TFLITE_RUNTIME,
    TIMED,
    Asked,
    Effort,
    package_of,
    run_request,
)
from quarl.profiles.workload import Workload
from quarl.runtimes.host import PACKAGES

RUNTIMES = ("litert", "onnxruntime")
ALL_RUNTIMES = (*RUNTIMES, RUNTIME)


def profile_pi(
    workload: Workload, board: LinuxBoard, link: PiLink, cache_dir: Path, effort: Effort = TIMED
) -> PiProfile:
    """Return the profile of a policy on a Pi.

    Args:
        workload: its artifacts and its firmware are run; the int8 models answer all observations.
        effort: what to measure where the link's times mean something; elsewhere instructions are
            counted.
    Raises:
        InputError: the Pi is not that board.
        ToolMissingError: the Pi lacks a runtime.
        DeviceError: the link or a runtime failed, or the run is invalid; says why.
    """
    package = package_of(workload, (*RUNTIMES, TFLITE_RUNTIME))
    program = program_of(workload, board, cache_dir)
    with link:
        link.push(package.files)
        machine, versions, idle = look(link, board)
        chosen = effort if link.is_timed else COUNTED
        others = link.ask({"ask": "look", "runtime": TFLITE_RUNTIME}).fields["runtimes"]
        present = [
            *RUNTIMES,
            *([TFLITE_RUNTIME] if agent.PACKAGES[TFLITE_RUNTIME] in others else []),
        ]
        models: tuple[PiModel, ...] = ()
        for asked in (asked for asked in package.asked if asked.runtime in present):
            answer = link.ask(run_request(package, asked, chosen))
            models = (*models, _model(asked, answer, program.expected, link.is_timed))
            _refuse_spoilt(idle, models, link.name)
        models = (*models, measure_program(program, link, machine.last_core, chosen))
        _refuse_spoilt(idle, models, link.name)
    return PiProfile(
        subject=workload.subject(board.name, artifacts=True, firmware=True),
        board=board.name,
        link=link.link,
        kind=link.kind,
        machine=machine,
        contract_sha256=workload.policy.contract.digest,
        step_hz=workload.policy.contract.step_hz,
        multiply_accumulates=multiply_accumulates(workload.policy),
        models=models,
        remarks=(*version_remarks(versions), *_health_remarks(models)),
    )


def outputs_of_pi(
    workload: Workload, board: LinuxBoard, link: PiLink, cache_dir: Path
) -> dict[str, tuple[str, NDArray[Any]]]:
    """Return the version and the outputs [n, count] of every runtime on the Pi, by runtime; errors
    as `profile_pi`.
    """
    package = package_of(replace(workload, source=None), RUNTIMES)
    program = program_of(workload, board, cache_dir)
    with link:
        link.push(package.files)
        look(link, board)
        answers = {
            asked.runtime: link.ask(run_request(package, asked, NOTHING)).fields
            for asked in package.asked
        }
        _, by_program = run_program(program, link)
    found = {
        runtime: (str(fields["runtime_version"]), outputs_in(fields))
        for runtime, fields in answers.items()
    }
    return found | {RUNTIME: (compiler_version(), by_program)}


def look(link: PiLink, board: LinuxBoard) -> tuple[Machine, Mapping[str, str], Health]:
    """Return what the Pi is, the versions of its packages, and how it is before any work.

    Raises:
        InputError: it is another board.
        DeviceError: it is not a 64-bit Arm machine.
        ToolMissingError: it lacks a runtime.
    """
    fields = link.ask({"ask": "look"}).fields
    machine, versions = machine_from(fields), dict(fields["runtimes"])
    if (machine.machine, machine.bits) != ("aarch64", 64):
        raise DeviceError(
            f"{link.name}: is {machine.machine} with {machine.bits}-bit Python, a "
            f"{board.title} must be aarch64 with 64: "
            "install the 64-bit Raspberry Pi OS, whose runtimes compute as this host's do"
        )
    if machine.cpu_part is not None and machine.cpu_part != board.cpuinfo.part:
        found = next(
            (
                name
                for name, core in LINUX_CORES.items()
                if core.cpuinfo is not None and core.cpuinfo.part == machine.cpu_part
            ),
            f"CPU part {machine.cpu_part}",
        )
        raise InputError(
            f"{link.name}: has a {found} ({machine.model or 'model unknown'}), {board.name} a "
            f"{board.cpu}: name its --board"
        )
    missing = [
        package
        for name, package in PACKAGES.items()
        if name in RUNTIMES and package not in versions
    ]
    if missing:
        raise ToolMissingError(f"{link.name}: lacks {' and '.join(missing)}: {link.remedy}")
    return machine, versions, Health(**fields["health"])


def version_remarks(versions: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning for each package of the Pi that is not this host's version."""
    return tuple(
        f"WARNING: {package} is {found} on the Pi and {version(package)} here: the figures "
        f"are those of {found}"
        for package, found in sorted(versions.items())
        if package in (*PACKAGES.values(), "numpy") and found != version(package)
    )


def largest_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference of outputs [n, count], in their own unit."""
    return float(np.abs(found.astype(np.float64) - expected).max(initial=0))


def outputs_in(fields: Mapping[str, Any]) -> NDArray[Any]:
    """Return the outputs [n, count] of an answer."""
    return np.frombuffer(base64.b64decode(fields["outputs"]), fields["outputs_dtype"]).reshape(
        fields["outputs_shape"]
    )


def _model(asked: Asked, answer: Answer, expected: NDArray[Any], is_timed: bool) -> PiModel:
    fields, found = answer.fields, outputs_in(answer.fields)
    compared = asked.precision == "int8"
    if compared and (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise DeviceError(
            f"{asked.runtime} answers {found.dtype} {found.shape}, the reference "
            f"{expected.dtype} {expected.shape}"
        )
    if fields.get("differing_inputs"):
        raise DeviceError(
            f"{fields['differing_inputs']} observations become other integers on the Pi than "
            "here: its NumPy rounds differently"
        )
    instructions: Instructions | None = None
    if answer.marks:
        instructions = instructions_from(answer.marks)
    return PiModel(
        runtime=asked.runtime,
        runtime_version=str(fields["runtime_version"]),
        precision=asked.precision,
        file_bytes=asked.file_bytes,
        observations=len(found) if compared else 0,
        differing=int((found != expected).sum()) if compared else 0,
        largest_difference=largest_difference(found, expected) if compared else 0.0,
        outputs_sha256=sha256_of(found.tobytes()),
        expected_sha256=sha256_of(expected.tobytes()) if compared else "",
        load_us=float(fields["load_us"]) if is_timed else None,
        latency=_latency(fields, "samples_us", int(fields["calls_per_sample"]))
        if is_timed
        else None,
        decision=_latency(fields, "decisions_us", 1)
        if is_timed and fields["decisions_us"]
        else None,
        memory=_memory(fields["memory"]) if is_timed else None,
        major_faults=int(fields["major_faults"]) if is_timed else None,
        before=health_from(fields["before"]) if is_timed else None,
        after=health_from(fields["after"]) if is_timed else None,
        instructions=instructions,
    )


def _latency(fields: Mapping[str, Any], samples: str, calls_per_sample: int) -> Latency:
    values = tuple(float(sample) for sample in fields[samples])
    return Latency(
        float(fields["first_call_us"]), values, calls_per_sample, int(fields["warm_up_calls"])
    )


def _memory(table: Mapping[str, Any]) -> PiMemory:
    before, after = table["before_load"], table["after_load"]
    added = {
        key: None if after[key] is None else max(after[key] - before[key], 0)
        for key in ("resident_bytes", "proportional_bytes")
    }
    return PiMemory(
        runtime_bytes=before["resident_bytes"],
        model_bytes=added["resident_bytes"] or 0,
        model_proportional_bytes=added["proportional_bytes"],
        peak_bytes=table["peak"],
        swapped_bytes=after["swapped_bytes"],
    )


def _looks(models: tuple[PiModel, ...]) -> list[tuple[PiModel, Health, Health]]:
    return [
        (model, model.before, model.after)
        for model in models
        if model.before is not None and model.after is not None
    ]


def _refuse_spoilt(idle: Health, models: tuple[PiModel, ...], where: str) -> None:
    """Refuse a run of which the last model, or all of it from its first look to its last, was
    spoilt.
    """
    looks = _looks(models)
    if not looks:
        return
    model, before, after = looks[-1]
    found = [f"{model.runtime} {model.precision}: {reason}" for reason in spoiling(before, after)]
    found = found or [f"between the models: {reason}" for reason in spoiling(looks[0][1], after)]
    found = found or [
        f"since the run began: {reason}"
        for reason in spoiling(without_clock(idle), without_clock(after))
    ]
    if found:
        raise DeviceError(
            f"{where}: the run is invalid and not reported: {'; '.join(found)}. "
            "Use the Pi's own power supply, let it cool down, stop what else runs, and try "
            "again: toolchain/docs/raspberry-pi.md"
        )


def _health_remarks(models: tuple[PiModel, ...]) -> tuple[str, ...]:
    looks = _looks(models)
    if not looks:
        return ()
    faults = sum(model.major_faults or 0 for model in models)
    read = (
        () if not faults else (f"{faults:,} pages were read from the card while a model was timed",)
    )
    return (*remarks(looks[0][1], looks[-1][2]), *read)
