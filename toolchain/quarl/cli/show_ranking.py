"""What `quarl profile BUNDLE --board all` shows: the boards beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quarl.cli.table import table

if TYPE_CHECKING:
    from quarl.profiles.ranking import RankedBoard

_HEADER = ("board", "core", "MHz", "fits", "decision, estimated", "flash", "of it", "RAM", "of it")


def ranking_text(ranked: Sequence[RankedBoard]) -> str:
    """Return the ranking as text: a table, then why a board does not fit or cannot be told."""
    rows = [
        (
            board.board,
            board.cpu,
            f"{board.clock_hz / 1e6:g}",
            {True: "yes", False: "no", None: "?"}[board.fits],
            _times(board.latency_us),
            _bytes(board.flash_bytes),
            _share(board.flash_share),
            _bytes(board.ram_bytes),
            _share(board.ram_share),
        )
        for board in ranked
    ]
    reasons = [f"{board.board}: {board.reason}" for board in ranked if board.reason]
    note = (
        "Flash and RAM are exact, RAM with the stack where the emulator can look. Times are "
        "estimated, low to high; the fastest middle comes first."
    )
    return "\n".join([table(_HEADER, rows), "", note, *reasons])


def _times(latency_us: tuple[float, float, float] | None) -> str:
    if latency_us is None:
        return "-"
    low, mid, high = latency_us
    return f"{mid:,.1f} us ({low:,.1f} to {high:,.1f})"


def _bytes(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
