"""What the verbs show of a Raspberry Pi: text for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quarl.cli.table import table

if TYPE_CHECKING:
    from quarl.profiles.pi.report import PiModel, PiProfile


def pi_text(profile: PiProfile) -> str:
    """Return a profile as text: times where a clock measured, instructions where an emulator
    counted.
    """
    machine = profile.machine
    where = (
        f"{machine.model or profile.board}, {machine.system}, Python {machine.python}; "
        f"{profile.multiply_accumulates:,} MAC"
    )
    head = f"measured on {where}, one thread on one core, one process per model"
    if profile.kind == "emulated":
        head = (
            f"emulated {profile.board}: instructions and outputs are those of the core, no "
            f"time is; {profile.multiply_accumulates:,} MAC"
        )
    counted = (
        _instructions(profile.models) if profile.kind == "emulated" else _times(profile.models)
    )
    compared = [model for model in profile.models if model.observations]
    equal = [
        f"{model.runtime}: {model.observations:,} observations, {model.differing} outputs "
        "differ from the reference; "
        f"outputs SHA-256 {model.outputs_sha256[:16]}"
        for model in compared
    ]
    return "\n".join([head, counted, *equal, *profile.sentences()])


def _times(models: Sequence[PiModel]) -> str:
    rows = []
    for model in models:
        latency, decision, memory = model.latency, model.decision, model.memory
        assert latency is not None
        assert memory is not None
        taken = (
            latency.first_call_us,
            latency.p50_us,
            latency.p90_us,
            latency.p99_us,
            latency.max_us,
        )
        worst = "" if decision is None else f"{decision.max_us:.1f}"
        sizes = (
            f"{size / 1024:,.1f}"
            for size in (model.file_bytes, memory.model_bytes, memory.peak_bytes)
        )
        rows.append(
            (
                f"{model.runtime} {model.runtime_version}",
                model.precision,
                *(f"{time:.1f}" for time in taken),
                worst,
                *sizes,
            )
        )
    times = ("first us", "p50 us", "p90 us", "p99 us", "max us", "decision max us")
    return table(("runtime", "type", *times, "file KiB", "model KiB", "peak KiB"), rows)


def _instructions(models: Sequence[PiModel]) -> str:
    rows = []
    for model in models:
        assert model.instructions is not None
        counts = (f"{model.instructions.typical:,}", f"{model.instructions.typical_invoke:,}")
        rows.append(
            (
                f"{model.runtime} {model.runtime_version}",
                model.precision,
                *counts,
                f"{model.file_bytes / 1024:,.1f}",
            )
        )
    return table(("runtime", "type", "instructions", "of them in invoke", "file KiB"), rows)
