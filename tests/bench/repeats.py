"""The same ship on other episodes, again and again: what `auto` takes, the gate passes."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from quarl.exporter.request import ExportRequest
from quarl.exporter.shipping import ship_release
from quarl.pipeline import import_source
from quarl.verdict.assess import ParityRequest
from quarl.verdict.verdict import Outcome
from quarl.workers import open_workers
from tests.bench.row import Row

POLICIES = ("nav_ppo", "cartpole_ppo")
SHIPS = 25  # of each
APART = 100_000  # seeds between two ships


def bench_repeats(folder: Path) -> list[Row]:
    """Ships of two policies, each on episodes of its own: how often the gate refused a choice of
    `auto`, and how often it refused all.
    """
    rows = []
    for name in POLICIES:
        tries = [_tries(name, folder / "bundle", number) for number in range(SHIPS)]
        passed = [count for count in tries if count]
        first = sum(count == 1 for count in passed)
        rows.append(
            Row(
                f"{SHIPS} ships of {name}, other episodes each: not released",
                f"{SHIPS - len(passed)} (released: {first} by the first try, "
                f"{len(passed) - first} by a later one)",
                "0",
                len(passed) == SHIPS,
            )
        )
    return rows


def _tries(name: str, out: Path, number: int) -> int:
    """Return how many tries a ship took that passed, 0 for one that did not."""
    offset = APART * number
    with (
        patch("quarl.exporter.choose_rung.SELECTION_SEED", 6_000_000 + offset),
        patch("quarl.stats.seeds.PARITY_SEED", 7_000_000 + offset),
        patch("quarl.stats.seeds.RETRY_SEED", 11_000_000 + offset),
        open_workers(None, None, patient=True) as workers,
    ):
        request, play = ExportRequest(workers=workers), ParityRequest(workers=workers)
        shipment = ship_release(import_source(name), out, request, play)
    return (
        shipment.release.manifest.attempt.number if shipment.verdict.answer is Outcome.PASS else 0
    )
