"""The firmware's profile on a real board: built with the UART port, flashed if asked, compared with
the reference, timed by its counter.

In: a quantised policy, a board, a serial port. Out: raw cycles of every decision, measured; nothing
here is counted or estimated.
The harness leaves clocks and caches as after reset, so cycles are those of the core at `core_hz`,
not at the board's highest clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from quarl.boards.microcontroller import Board
from quarl.errors import InputError
from quarl.files.documents import Document, decode, encode
from quarl.firmware.build import compiler_version
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.links.firmware_link import SERIAL, open_board
from quarl.links.probe import is_probe
from quarl.links.target import Target
from quarl.profiles.emulated import rows_equal
from quarl.profiles.figure import Figure
from quarl.profiles.workload import Subject, Workload

DOCUMENT = Document(
    "a profile of a board", 2, "run quarl profile BUNDLE --board NAME --link serial:PORT again"
)
MEASURED = 100  # observations a board is asked; of images, which take long on the line, IMAGES
IMAGES = 10
Counter = Literal["DWT", "SysTick", "mcycle", "none"]


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """One policy's firmware on one board."""

    subject: Subject
    board: str
    cpu: str
    port: str
    core_hz: int  # the core's clock while it was measured
    compiler: str
    flashed_by: str  # empty: the board had been flashed before
    contract_sha256: str
    flash_bytes: int
    ram_bytes: int
    # what counted the cycles; none where the core has no counter, as emulators have none
    counter: Counter
    # from the float observation to the action, or (images) from the graph's integers to its outputs
    what: Literal["decision", "inference"]
    cycles: tuple[
        int, ...
    ]  # measured, raw, one for each observation, in order; empty without a counter
    repeated: int  # requests the line made necessary to send again
    compared: int  # observations on which outputs and actions were compared with the reference's
    differing: int  # of them answered otherwise

    @property
    def latency_us(self) -> tuple[float, float, float] | None:
        """Measured time: median, p99, most; None without a counter."""
        if not self.cycles:
            return None
        us = np.array(self.cycles) * 1e6 / self.core_hz
        return float(np.median(us)), float(np.percentile(us, 99)), float(us.max())

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures a budget may limit; `device_latency_us` is the longest measured."""
        if self.latency_us is None:
            return ()
        return (
            Figure("device_cycles", float(max(self.cycles)), "", "measured"),
            Figure("device_latency_us", self.latency_us[2], "us", "measured"),
        )

    def to_json(self) -> bytes:
        """Return canonical JSON."""
        return encode(self, DOCUMENT)


def device_profile_from(data: bytes, where: str) -> DeviceProfile:
    """Return the profile written by `to_json`; `where` names the file in messages.

    Raises:
        InputError: it is not one, or of another format.
    """
    return decode(DeviceProfile, data, where, DOCUMENT)


def profile_device(
    workload: Workload, target: Target, board: Board, cache_dir: Path
) -> DeviceProfile:
    """Return what a real board answers and how long it takes; see `open_board`.

    Raises:
        InputError: the core's clock is not known: the board file has no [uart], and none is stated.
    """
    link = target.real_link
    assert link is not None, "an emulator is profiled elsewhere"
    core_hz = target.clock_hz or (None if board.uart is None else board.uart.core_clock_hz)
    if core_hz is None:
        raise InputError(
            f"{board.name}: the board file does not state the clock after reset: add --clock-hz N"
        )
    device, image = open_board(workload.firmware, board, link, cache_dir, target.flash)
    policy, is_image = workload.policy, workload.policy.contract.observation.is_image
    obs = workload.obs[: IMAGES if is_image else MEASURED]
    integers = quantize_observations(policy, obs)
    actions, ticks = device.timed_decisions(integers) if is_image else device.timed_act(obs)
    equal = rows_equal(device.run(integers), integer_outputs(policy, obs)) & rows_equal(
        actions, act(policy, obs)
    )
    counted = any(ticks)
    return DeviceProfile(
        subject=workload.subject(board.name, artifacts=False, firmware=True),
        board=board.name,
        cpu=board.cpu,
        port=link.removeprefix(SERIAL),
        core_hz=core_hz,
        compiler=compiler_version(),
        flashed_by="pyocd" if is_probe(link) else target.flash or "",
        contract_sha256=policy.contract.digest,
        flash_bytes=image.flash_bytes,
        ram_bytes=image.ram_bytes,
        counter="none" if not counted else board.core.counter,
        what="inference" if is_image else "decision",
        cycles=ticks if counted else (),
        repeated=device.repeated,
        compared=len(obs),
        differing=int((~equal).sum()),
    )
