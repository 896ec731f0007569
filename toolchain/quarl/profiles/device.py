"""The firmware's profile on a real board: built with the UART port, flashed if asked, compared with
the reference, timed by its counter.

In: a quantised policy, a board, a serial port. Out: raw cycles of every decision, measured; nothing
here is counted or estimated.
The harness leaves clocks and caches as after reset, so cycles are those of the core at `core_hz`,
not at the board's highest clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quarl.boards.cortex_m import Board
from quarl.errors import InputError
from quarl.firmware.build import build_image, compiler_version
from quarl.firmware.elf import read_image
from quarl.firmware.image import harness_sources
from quarl.firmware.sources import program_sources
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.links.flash import FlashTool, flash
from quarl.links.serial import SerialDevice, open_port
from quarl.profiles.emulated import checked_program, rows_equal
from quarl.profiles.figure import Figure

FORMAT = 1
SERIAL = "serial:"
MEASURED = 100  # observations a board is asked; of images, which take long on the line, IMAGES
IMAGES = 10
Counter = Literal["DWT", "SysTick", "none"]


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """One policy's firmware on one board."""

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

    def to_json(self) -> str:
        """Return canonical JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def device_profile_from_json(text: str, where: str) -> DeviceProfile:
    """Return the profile written by `to_json`; `where` names the file in messages.

    Raises:
        InputError: not a device profile, or one of another format version.
    """
    try:
        document = json.loads(text)
        found = document.pop("format")
        if found != FORMAT:
            raise InputError(
                f"{where}: format {found}, this quarl reads format {FORMAT}: run quarl "
                "profile again"
            )
        return DeviceProfile(
            **{**document, "cycles": tuple(int(count) for count in document.pop("cycles"))}
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where}: not a device profile ({error!r}): run quarl profile again"
        ) from error


def serial_path(link: str) -> str:
    """Return the path in `serial:PATH`.

    Raises:
        InputError: another link, or no path.
    """
    if not link.startswith(SERIAL) or link == SERIAL:
        raise InputError(
            f"--link {link}: must be {SERIAL}PORT for a board without an operating system, "
            "for example serial:/dev/ttyACM0"
        )
    return link.removeprefix(SERIAL)


def open_serial(
    policy: QuantPolicy,
    obs: NDArray[Any],
    board: Board,
    path: str,
    cache_dir: Path,
    flash_by: FlashTool | None = None,
) -> tuple[SerialDevice, Mapping[str, int]]:
    """Return the board on a serial port, with what its image takes: flash_bytes and ram_bytes.

    Args:
        obs: observations [n, *shape] in environment units: the example replayed at boot.
        flash_by: the tool that writes the firmware first; None: the board has it.
    Raises:
        InputError: the board file has no [uart] or [probe]. BudgetError: it does not fit.
        ToolMissingError: no compiler, pyserial or flashing tool. DeviceError: the board or the port
            does not answer.
    """
    program = checked_program(policy, obs, board)
    elf = build_image(program_sources(program) | harness_sources(board, "uart"), board, cache_dir)
    image = read_image(elf, board)
    if flash_by is not None:
        flash(flash_by, board, elf)
    assert board.uart is not None, "harness_sources asks for it"
    device = SerialDevice(open_port(path, board.uart.baud), path, board, program)
    return device, {"flash_bytes": image.flash_bytes, "ram_bytes": image.ram_bytes}


def profile_device(
    policy: QuantPolicy,
    obs: NDArray[Any],
    board: Board,
    path: str,
    cache_dir: Path,
    flash_by: FlashTool | None = None,
) -> DeviceProfile:
    """Return what a board on a serial port answers and how long it takes; arguments and errors as
    `open_serial`.
    """
    device, sizes = open_serial(policy, obs, board, path, cache_dir, flash_by)
    is_image = policy.contract.observation.is_image
    obs = obs[: IMAGES if is_image else MEASURED]
    integers = quantize_observations(policy, obs)
    actions, ticks = device.timed_decisions(integers) if is_image else device.timed_act(obs)
    equal = rows_equal(device.run(integers), integer_outputs(policy, obs)) & rows_equal(
        actions, act(policy, obs)
    )
    assert board.uart is not None, "open_serial asks for it"
    counted = any(ticks)
    return DeviceProfile(
        board=board.name,
        cpu=board.cpu,
        port=path,
        core_hz=board.uart.core_clock_hz,
        compiler=compiler_version(),
        flashed_by=flash_by or "",
        contract_sha256=policy.contract.digest,
        **sizes,
        counter="none" if not counted else board.core.counter,
        what="inference" if is_image else "decision",
        cycles=ticks if counted else (),
        repeated=device.repeated,
        compared=len(obs),
        differing=int((~equal).sum()),
    )
