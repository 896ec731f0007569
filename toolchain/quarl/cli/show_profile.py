"""What profiles show, as text for people."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from quarl.cli.show_pi import pi_text
from quarl.cli.table import table
from quarl.profiles.device import DeviceProfile
from quarl.profiles.emulated import FirmwareProfile
from quarl.profiles.host import Profile
from quarl.profiles.pi.report import PiProfile
from quarl.profiles.platform import BoardProfile


def profile_text(profile: Profile) -> str:
    """Return a profile as text."""
    rows = []
    for model in profile.models:
        latency, memory = model.latency, model.memory
        times = (
            f"{t:.1f}"
            for t in (
                latency.first_call_us,
                latency.p50_us,
                latency.p90_us,
                latency.p99_us,
                latency.max_us,
            )
        )
        sizes = (
            f"{b / 1024:,.1f}" for b in (model.file_bytes, memory.model_bytes, memory.peak_bytes)
        )
        rows.append((f"{model.runtime} {model.runtime_version}", model.precision, *times, *sizes))
    head = (
        f"measured on {profile.cpu}, one thread, one process per model; "
        f"{profile.multiply_accumulates:,} MAC per decision"
    )
    columns = (
        "runtime",
        "type",
        "first us",
        "p50 us",
        "p90 us",
        "p99 us",
        "max us",
        "file KiB",
        "model KiB",
        "peak KiB",
    )
    return "\n".join([head, table(columns, rows), *profile.remarks()])


def firmware_text(profile: FirmwareProfile) -> str:
    """Return the profile of a firmware as text."""
    rows = [
        (
            c.layer,
            c.kernel,
            f"{c.instructions:,}",
            "" if c.cycles is None else f"{c.cycles.mid:,}",
            f"{c.table_bytes:,}",
        )
        for c in profile.layers
    ]
    latency = profile.latency_us
    time = (
        ""
        if latency is None
        else f", {latency[1]:,.1f} us ({latency[0]:,.1f} to {latency[2]:,.1f}, estimated)"
    )
    stack = "" if profile.stack_bytes is None else f"; stack {profile.stack_bytes:,} B"
    decision = (
        profile.instructions if profile.act_instructions is None else profile.act_instructions
    )
    return "\n".join(
        [
            f"{profile.board}: {profile.cpu} at {profile.clock_hz / 1e6:g} MHz, firmware by "
            f"{profile.compiler}, run in {profile.link}",
            table(("layer", "kernel", "instructions", "cycles", "table B"), rows),
            f"one decision: {decision:,} instructions (emulated){time}",
            f"flash {profile.flash_bytes:,} B, of it tables {profile.table_bytes:,} B; RAM "
            f"{profile.ram_bytes:,} B, of it tensors "
            f"{profile.arena_bytes:,} B{stack}",
            f"{profile.compared} observations answered, {profile.differing} of them different "
            "from the reference",
            f"cycles: {profile.cycle_assumptions}",
        ]
    )


def device_text(profile: DeviceProfile) -> str:
    """Return the profile of a real board as text."""
    head = f"{profile.board}: {profile.cpu} on {profile.port}, firmware by {profile.compiler}"
    latency = profile.latency_us
    time = f"one {profile.what}: this core counts no cycles, so no time was measured"
    if latency is not None:
        time = (
            f"one {profile.what}: {int(np.median(profile.cycles)):,} cycles by "
            f"{profile.counter}, measured {len(profile.cycles)} times at "
            f"{profile.core_hz / 1e6:g} MHz: {latency[0]:,.1f} us, p99 {latency[1]:,.1f} us, "
            f"at most {latency[2]:,.1f} us"
        )
    return "\n".join(
        [
            head + (f", flashed by {profile.flashed_by}" if profile.flashed_by else ""),
            time,
            f"flash {profile.flash_bytes:,} B, RAM {profile.ram_bytes:,} B without the stack",
            f"{profile.compared} observations answered, {profile.differing} of them different "
            "from the reference; "
            f"{profile.repeated} requests sent again",
        ]
    )


def board_profile_text(profile: BoardProfile) -> str:
    """Return the profile of a board as text."""
    match profile:
        case FirmwareProfile():
            return firmware_text(profile)
        case DeviceProfile():
            return device_text(profile)
        case PiProfile():
            return pi_text(profile)
        case _:
            assert_never(profile)
