"""What is done for one kind of board: its own way to write, reach, measure and compare.

A `Platform` is a board with what its kind can do. There is one implementation per kind;
`quarl.profiles.platforms.platform_of` gives a board its own, and nobody else asks for the kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from numpy.typing import NDArray

from quarl.boards.core import Region
from quarl.links.target import Target
from quarl.profiles.device import DeviceProfile
from quarl.profiles.emulated import FirmwareProfile
from quarl.profiles.pi.report import PiProfile
from quarl.profiles.workload import FirmwareWriter, Workload

BoardProfile: TypeAlias = FirmwareProfile | DeviceProfile | PiProfile
FRAMES = 100  # of images: 12 emulated convolutions take about one second


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one runtime of a board answered for the workload's first observations."""

    backend: str  # its name in the limits and in the evidence
    where: str  # its version, or where it ran
    outputs: NDArray[Any]  # [n, count]


class Memory(NamedTuple):
    """The memory of a board that holds nothing but the firmware."""

    flash: Region
    ram: Region


class Platform(FirmwareWriter, Protocol):
    """One board with what its kind can do."""

    @property
    def backends(self) -> tuple[str, ...]:
        """The runtimes on the board whose answers a release must keep equal."""

    @property
    def memory(self) -> Memory | None:
        """Flash and RAM of a board that holds nothing but the firmware, None for others."""

    @property
    def unmeasured(self) -> str:
        """What a report says before the board's name where nothing was measured."""

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """How a bundle is run on the board: what for, and the command."""

    def check_link(self, link: str | None) -> None:
        """Check, before any work, that there is the way to the board that `--link` names.

        Raises:
            InputError: there is none. ToolMissingError: what it needs is not installed.
        """

    def measure(self, workload: Workload, target: Target) -> BoardProfile:
        """Return what one decision costs on the board."""

    def answers(self, workload: Workload, target: Target) -> tuple[Answer, ...]:
        """Return what each runtime of the board answers; of images the first FRAMES are asked."""

    def budgets(self, step_hz: float | None) -> Mapping[str, float]:
        """Return the most that figures of the board may be, by their name; `step_hz` is the
        control rate where it is known.
        """


def asked(workload: Workload) -> Workload:
    """Return the workload with as many observations as a board is asked in reasonable time."""
    is_image = workload.policy.contract.observation.is_image
    return workload.asked(workload.obs[:FRAMES]) if is_image else workload
