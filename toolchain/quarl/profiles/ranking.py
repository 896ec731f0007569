"""Boards beside each other for one bundle: which fit, how long a decision takes, what it fills.

In: a bundle, boards. Out: one `RankedBoard` per board, the fastest that fits first. Nothing is
stored: the gate judges the bundle's own board only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from quarl.boards.linux import AnyBoard
from quarl.bundle.release import Release
from quarl.errors import BudgetError, ToolMissingError
from quarl.links.target import Target
from quarl.profiles.emulated import FirmwareProfile
from quarl.profiles.platform import Memory, Platform
from quarl.profiles.platforms import platform_of
from quarl.profiles.workload import release_workload


@dataclass(frozen=True, slots=True)
class RankedBoard:
    """One board: what the firmware needs there, or why there is no answer."""

    board: str
    title: str
    cpu: str
    clock_hz: int
    fits: bool | None = None  # None: this host cannot tell, see `reason`
    reason: str = ""  # why it does not fit or cannot be told; empty where it fits
    latency_us: tuple[float, float, float] | None = None  # estimated: low, mid, high
    instructions: int | None = None  # emulated, of one decision
    flash_bytes: int | None = None  # exact
    flash_share: float | None = None  # of the board's
    ram_bytes: int | None = None  # exact, with the deepest stack seen
    ram_share: float | None = None


def rank_boards(
    release: Release,
    boards: Iterable[AnyBoard],
    each: Callable[[AnyBoard], None] = lambda board: None,
) -> tuple[RankedBoard, ...]:
    """Return the boards that hold nothing but firmware, the fastest that fits first.

    Args:
        each: called with each board before its turn.
    Raises:
        DeviceError: a firmware does not build, boot or answer.
    """
    ranked = []
    for board in boards:
        platform = platform_of(board)
        if platform.memory is not None:
            each(board)
            ranked.append(_ranked(release, board, platform, platform.memory))
    return tuple(sorted(ranked, key=_order))


def _ranked(release: Release, board: AnyBoard, platform: Platform, memory: Memory) -> RankedBoard:
    known = RankedBoard(board.name, board.title, board.cpu, board.clock_hz)
    try:
        workload = release_workload(release, platform)
        profile = platform.measure(workload, Target(board))
    except BudgetError as error:
        return replace(known, fits=False, reason=str(error).removeprefix(f"{board.name}: "))
    except ToolMissingError as error:
        return replace(known, reason=str(error))
    assert isinstance(profile, FirmwareProfile), "an emulated board"
    ram = profile.ram_bytes + (profile.stack_bytes or 0)
    counted = profile.act_instructions
    return replace(
        known,
        fits=True,
        latency_us=profile.latency_us,
        instructions=profile.instructions if counted is None else counted,
        flash_bytes=profile.flash_bytes,
        flash_share=profile.flash_bytes / memory.flash.bytes,
        ram_bytes=ram,
        ram_share=ram / memory.ram.bytes,
    )


def _order(ranked: RankedBoard) -> tuple[int, float, str]:
    mid = float("inf") if ranked.latency_us is None else ranked.latency_us[1]
    return 0 if ranked.fits else 1, mid, ranked.board
