"""A microcontroller: C firmware in an emulator, or on the board itself over a serial line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from quarl.boards.microcontroller import Board
from quarl.errors import InputError
from quarl.firmware.names import DEFAULT_PREFIX
from quarl.firmware.source_tree import SourceTree, write_source_tree
from quarl.graph.quant_policy import QuantPolicy
from quarl.links.firmware_link import EMULATORS, open_link, serial_path
from quarl.links.probe import check_probe, is_probe
from quarl.links.target import Target
from quarl.profiles.device import DeviceProfile, profile_device
from quarl.profiles.emulated import FirmwareProfile, profile_emulated
from quarl.profiles.platform import Answer, Memory, asked
from quarl.profiles.workload import Workload
from quarl.resources import default_cache_dir
from quarl.runtimes.host import model_inputs

DEVICE = "firmware"  # the backend's name in the limits and in the evidence


@dataclass(frozen=True, slots=True)
class Microcontroller:
    """One microcontroller board."""

    board: Board
    runs_as_user = False  # an emulated core is a closed box
    backends = (DEVICE,)
    unmeasured = "No firmware was counted for"

    @property
    def name(self) -> str:
        """The board's name."""
        return self.board.name

    @property
    def memory(self) -> Memory:
        """The board's flash and RAM."""
        return Memory(self.board.flash, self.board.ram)

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """See `Platform.ways`."""
        board = self.board
        profile = f"quarl profile BUNDLE --board {self.name}"
        can_flash = board.probe is not None and bool(board.probe.pyocd)
        rows = [("Count in an emulator", profile)]
        if can_flash and board.core.architecture == "arm":
            rows.append(("Flash and measure, through the probe alone", f"{profile} --link probe"))
        if board.uart is not None:
            flash = " --flash pyocd" if can_flash else ""
            what = f"{'Flash and measure' if flash else 'Measure'} over {board.uart.wiring}"
            rows.append((what, f"{profile} --link serial:PORT{flash}"))
        build = f"quarl export SOURCE --out BUNDLE --board {self.name} --package cmake"
        return (*rows, ("In a build of your own: firmware/policy/, or a package", build))

    def check_link(self, link: str | None) -> None:
        """See `Platform.check_link`."""
        if link is None or link in EMULATORS:
            return
        if is_probe(link):
            check_probe(self.board)
            return
        serial_path(link)
        if self.board.uart is None:
            raise InputError(f"--link {link}: {self.name} has no [uart] in its board file")

    def write(
        self, policy: QuantPolicy, obs: NDArray[Any], prefix: str = DEFAULT_PREFIX
    ) -> SourceTree:
        """See `FirmwareWriter.write`."""
        return write_source_tree(policy, self.board, obs, prefix)

    def measure(self, workload: Workload, target: Target) -> FirmwareProfile | DeviceProfile:
        """See `Platform.measure`."""
        cache = default_cache_dir()
        if target.real_link is not None:
            return profile_device(workload, target, self.board, cache)
        return profile_emulated(workload, self.board, cache, target.link)

    def answers(self, workload: Workload, target: Target) -> tuple[Answer, ...]:
        """See `Platform.answers`."""
        device = open_link(workload.firmware, self.board, default_cache_dir(), target.link)
        inputs = model_inputs(workload.policy, asked(workload).obs)
        return (Answer(DEVICE, f"{self.name} {device.place}", device.run(inputs)),)

    def budgets(self, step_hz: float | None) -> Mapping[str, float]:
        """See `Platform.budgets`."""
        memory = {
            "firmware_flash_bytes": float(self.board.flash.bytes),
            "firmware_ram_bytes": float(self.board.ram.bytes),
        }
        return memory if step_hz is None else {**memory, "firmware_latency_us": 1e6 / step_hz}
