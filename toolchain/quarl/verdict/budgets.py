"""Budgets: the figures a release is measured by, and what the board it is for allows of them.

In: a bundle with the profiles gathered so far, a board. Out: `Figure`s, and limits with the board's
memory and control period.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quarl.boards.cortex_m import Board, find_board
from quarl.boards.linux import LinuxBoard, Target
from quarl.bundle.bundle import DEVICE_PROFILE, FIRMWARE, PI, PROFILE, Bundle
from quarl.evidence.gather import ARTIFACTS, DEVICE
from quarl.evidence.pi import BACKENDS
from quarl.profiles.device import DeviceProfile, device_profile_from_json
from quarl.profiles.emulated import FirmwareProfile, firmware_profile_from_json
from quarl.profiles.figure import Figure
from quarl.profiles.host import ROUNDS, Latency, profile_from_json
from quarl.profiles.pi.report import PiProfile, pi_profile_from_json
from quarl.resources import targets_dir
from quarl.verdict.limits import Limits


def figures_of(bundle: Bundle) -> tuple[Figure, ...]:
    """Return what budgets may limit: sizes of the artifacts, and the figures of the profiles where
    there are any.
    """
    figures = [
        Figure(f"{file.replace('.', '_')}_bytes", float(len(bundle.read(file))), "B", "exact")
        for file, _ in ARTIFACTS.values()
    ]
    path = bundle.folder / PROFILE
    if path.is_file():
        profile = profile_from_json(path.read_text(encoding="utf-8"), str(path))
        for model in profile.models:
            if model.precision == "int8":
                latency = model.latency
                figures += [
                    Figure(
                        f"{model.runtime}_p50_us",
                        latency.p50_us,
                        "us",
                        "measured",
                        _noise(latency, 50),
                        profile.cpu,
                    ),
                    Figure(
                        f"{model.runtime}_p99_us",
                        latency.p99_us,
                        "us",
                        "measured",
                        _noise(latency, 99),
                        profile.cpu,
                    ),
                    Figure(
                        f"{model.runtime}_model_memory_bytes",
                        float(model.memory.model_bytes),
                        "B",
                        "measured",
                        0.0,
                        profile.cpu,
                    ),
                ]
    firmware = firmware_profile_of(bundle)
    if firmware is not None:
        figures += _kernel_figures(firmware)
    found = [
        p for p in (firmware, device_profile_of(bundle), pi_profile_of(bundle)) if p is not None
    ]
    return (
        *figures,
        *(replace(figure, where=profile.board) for profile in found for figure in profile.figures),
    )


def _kernel_figures(profile: FirmwareProfile) -> list[Figure]:
    """Return what each kernel counts over all its layers, so that a baseline tells which one became
    slower.
    """
    counts: dict[str, int] = {}
    for layer in profile.layers:
        counts[layer.kernel] = counts.get(layer.kernel, 0) + layer.instructions
    return [
        Figure(f"firmware_{kernel}_instructions", float(count), "", "emulated", where=profile.board)
        for kernel, count in counts.items()
    ]


def firmware_profile_of(bundle: Bundle) -> FirmwareProfile | None:
    """Return the profile of the bundle's firmware, None where none was made."""
    path = bundle.folder / FIRMWARE
    return (
        firmware_profile_from_json(path.read_text(encoding="utf-8"), str(path))
        if path.is_file()
        else None
    )


def device_profile_of(bundle: Bundle) -> DeviceProfile | None:
    """Return what was measured of the bundle on a real board, None where nothing was."""
    path = bundle.folder / DEVICE_PROFILE
    return (
        device_profile_from_json(path.read_text(encoding="utf-8"), str(path))
        if path.is_file()
        else None
    )


def pi_profile_of(bundle: Bundle) -> PiProfile | None:
    """Return the profile of the bundle on a Raspberry Pi, None where none was made."""
    path = bundle.folder / PI
    return (
        pi_profile_from_json(path.read_text(encoding="utf-8"), str(path))
        if path.is_file()
        else None
    )


def with_board(limits: Limits, board: Target, step_hz: float | None) -> Limits:
    """Return the limits with what the board asks: its answers, and of firmware its memory and the
    control period where it is known.
    """
    if isinstance(board, LinuxBoard):
        return replace(
            limits,
            backends=(
                *limits.backends,
                *(name for name in BACKENDS if name not in limits.backends),
            ),
        )
    backends = limits.backends if DEVICE in limits.backends else (*limits.backends, DEVICE)
    return with_memory_and_deadline(replace(limits, backends=backends), board, step_hz)


def with_memory_and_deadline(limits: Limits, board: Board, step_hz: float | None) -> Limits:
    """Return the limits with the board's flash and RAM, and the control period where it is known,
    as budgets; those given stay.
    """
    budgets = {
        "firmware_flash_bytes": float(board.flash.bytes),
        "firmware_ram_bytes": float(board.ram.bytes),
    }
    if step_hz is not None:
        budgets["firmware_latency_us"] = 1e6 / step_hz
    return replace(limits, budgets={**budgets, **limits.budgets})


def with_profile(bundle: Bundle, limits: Limits) -> Limits:
    """Return the limits with the memory and the control period of the board the bundle was profiled
    on, if it was.

    On a Raspberry Pi the period limits the worst decision, where a clock measured one; an emulator
    has none. What was measured on a microcontroller is not held to it, since its clock was left as
    after reset.
    """
    on_pi, step_hz = pi_profile_of(bundle), bundle.contract.step_hz
    if on_pi is not None and on_pi.fastest is not None and step_hz is not None:
        limits = replace(limits, budgets={"pi_decision_us": 1e6 / step_hz, **limits.budgets})
    firmware = firmware_profile_of(bundle)
    if firmware is None:
        return limits
    return with_memory_and_deadline(limits, find_board(firmware.board, targets_dir()), step_hz)


def _noise(latency: Latency, percent: float) -> float:
    """Return the share by which the percentile differs between the rounds of one run: what another
    run may differ by, at least.
    """
    rounds = [
        float(np.percentile(part, percent))
        for part in np.array_split(np.array(latency.samples_us), ROUNDS)
        if part.size
    ]
    return (max(rounds) - min(rounds)) / latency.percentile_us(percent)
