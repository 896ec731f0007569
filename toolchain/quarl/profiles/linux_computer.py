"""A computer that runs Linux: Python runtimes and a C program, emulated, over ssh, or here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from quarl.boards.linux import LinuxBoard
from quarl.firmware.names import DEFAULT_PREFIX
from quarl.firmware.source_tree import SourceTree, write_linux_tree
from quarl.graph.quant_policy import QuantPolicy
from quarl.links.pi import sha256_of
from quarl.links.pi_link import check_pi_link, open_pi_link
from quarl.links.target import Target
from quarl.profiles.pi.measure import ALL_RUNTIMES, outputs_of_pi, profile_pi
from quarl.profiles.pi.report import PiProfile
from quarl.profiles.platform import Answer, asked
from quarl.profiles.workload import Workload
from quarl.resources import default_cache_dir

BACKENDS = tuple(f"pi_{runtime}" for runtime in ALL_RUNTIMES)


@dataclass(frozen=True, slots=True)
class LinuxComputer:
    """One board that runs Linux."""

    board: LinuxBoard
    runs_as_user = True  # its program can do what the user can, on this machine under emulation too
    backends = BACKENDS
    memory = None
    unmeasured = "Nothing was measured on"

    @property
    def name(self) -> str:
        """The board's name."""
        return self.board.name

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """See `Platform.ways`."""
        profile = f"quarl profile BUNDLE --board {self.name}"
        return (
            ("Bring the runtimes to it, once", "quarl provision ssh:USER@HOST"),
            ("Measure on it, over SSH", f"{profile} --link ssh:USER@HOST"),
            ("Count in an emulator", profile),
        )

    def check_link(self, link: str | None) -> None:
        """See `Platform.check_link`."""
        check_pi_link(link, self.board)

    def write(
        self, policy: QuantPolicy, obs: NDArray[Any], prefix: str = DEFAULT_PREFIX
    ) -> SourceTree:
        """See `FirmwareWriter.write`."""
        return write_linux_tree(policy, self.board.cpu, obs, prefix)

    def measure(self, workload: Workload, target: Target) -> PiProfile:
        """See `Platform.measure`."""
        link = open_pi_link(target.link, self.board)
        return profile_pi(asked(workload), self.board, link, default_cache_dir())

    def answers(self, workload: Workload, target: Target) -> tuple[Answer, ...]:
        """See `Platform.answers`."""
        link = open_pi_link(target.link, self.board)
        found = outputs_of_pi(asked(workload), self.board, link, default_cache_dir())
        return tuple(
            Answer(
                f"pi_{runtime}",
                f"{release} on {self.name} ({link.link}, outputs SHA-256 "
                f"{sha256_of(outputs.tobytes())})",
                outputs,
            )
            for runtime, (release, outputs) in found.items()
        )

    def budgets(self, step_hz: float | None) -> Mapping[str, float]:
        """See `Platform.budgets`; what was measured decides about the rest."""
        return {}
