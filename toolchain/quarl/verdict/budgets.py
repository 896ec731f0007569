"""Budgets: the figures a release is measured by, and what the board it is for allows of them.

In: a bundle with the profiles gathered so far, a board. Out: `Figure`s, and limits with the board's
memory and control period.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quarl.boards.linux import AnyBoard
from quarl.bundle.limits import Limits
from quarl.bundle.manifest import ARTIFACTS
from quarl.bundle.release import Release
from quarl.profiles.emulated import FirmwareProfile
from quarl.profiles.figure import Figure
from quarl.profiles.host import ROUNDS, Latency, Profile
from quarl.profiles.measure import Measurements
from quarl.profiles.platform import Platform
from quarl.profiles.platforms import board_of, platform_of


def figures_of(release: Release, measurements: Measurements) -> tuple[Figure, ...]:
    """Return what budgets may limit: sizes of the artifacts, and the figures of the profiles."""
    figures = [
        Figure(f"{file.replace('.', '_')}_bytes", float(len(release.file(file))), "B", "exact")
        for file, _ in ARTIFACTS.values()
    ]
    if measurements.host is not None:
        figures += _host_figures(measurements.host)
    if measurements.firmware is not None:
        figures += _kernel_figures(measurements.firmware)
    return (
        *figures,
        *(
            replace(figure, where=profile.board)
            for profile in measurements.on_board
            for figure in profile.figures
        ),
    )


def _host_figures(profile: Profile) -> list[Figure]:
    figures = []
    for model in profile.models:
        if model.precision != "int8":
            continue
        latency, memory = model.latency, float(model.memory.model_bytes)
        figures += [
            Figure(
                f"{model.runtime}_p{percent}_us",
                latency.percentile_us(percent),
                "us",
                "measured",
                _noise(latency, percent),
                profile.cpu,
            )
            for percent in (50, 99)
        ]
        name = f"{model.runtime}_model_memory_bytes"
        figures.append(Figure(name, memory, "B", "measured", 0.0, profile.cpu))
    return figures


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


def with_board(limits: Limits, board: AnyBoard, step_hz: float | None) -> Limits:
    """Return the limits with what the board asks: the answers of its runtimes, and of firmware its
    memory and the control period where it is known. What was given stays.
    """
    platform = platform_of(board)
    more = (name for name in platform.backends if name not in limits.backends)
    limits = replace(limits, backends=(*limits.backends, *more))
    return _with_budgets(limits, platform, step_hz)


def with_profiles(limits: Limits, release: Release, measurements: Measurements) -> Limits:
    """Return the limits with the memory and the control period of the bundle's board, where it was
    profiled.

    On a Raspberry Pi the period limits the worst decision, where a clock measured one; an emulator
    has none. What was measured on a microcontroller is not held to it, since its clock was left as
    after reset.
    """
    step_hz, on_pi = release.contract.step_hz, measurements.pi
    if on_pi is not None and on_pi.fastest is not None and step_hz is not None:
        limits = replace(limits, budgets={"pi_decision_us": 1e6 / step_hz, **limits.budgets})
    board = board_of(release)
    if measurements.firmware is None or board is None:
        return limits
    return _with_budgets(limits, platform_of(board), step_hz)


def _with_budgets(limits: Limits, platform: Platform, step_hz: float | None) -> Limits:
    return replace(limits, budgets={**platform.budgets(step_hz), **limits.budgets})


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
