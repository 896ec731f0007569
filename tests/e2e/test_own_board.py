"""A bundle is for one board: its figures are gathered without naming it, and no other's are
judged.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.boards.find import board_roots, find_target
from quarl.bundle.limits import Limits
from quarl.exporter.export import ExportRequest
from tests.conftest import need
from tests.e2e.conftest import Quarl

need("ziglang", "unicorn")
BUDGET = "budget_firmware_latency_us"


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nav_ppo for a Cortex-M0+, which is too slow for 500 us; an nrf52840 is not."""
    board = find_target("rp2040_pico", board_roots())
    limits = Limits(budgets={"firmware_latency_us": 500.0})
    request = ExportRequest(rung=3, board=board, limits=limits)
    out = tmp_path_factory.mktemp("pico") / "bundle"
    return pipeline.export(pipeline.import_source("nav_ppo"), out, request).folder


def outcome(quarl: Quarl, bundle: Path) -> tuple[str, float | None]:
    done = quarl("gate", bundle, "--json", "--no-history")
    check = next(c for c in json.loads(done.stdout)["checks"] if c["name"] == BUDGET)
    return check["outcome"], check["found"]


def test_a_profile_gathers_the_figures_of_the_bundles_own_board(
    quarl: Quarl, pico: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(pico, tmp_path / "bundle"))
    assert outcome(quarl, bundle) == ("not_proven", None)
    done = quarl("profile", bundle)
    assert done.returncode == 0, done.stderr
    assert "rp2040_pico: cortex-m0plus" in done.stdout
    answer, found = outcome(quarl, bundle)
    assert answer == "fail"
    assert found is not None
    assert found > 500


def test_the_profile_of_another_board_is_not_judged(
    quarl: Quarl, pico: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(pico, tmp_path / "bundle"))
    done = quarl("profile", bundle, "--board", "nrf52840_dk")
    assert done.returncode == 0, done.stderr
    assert "the gate does not judge this profile" in done.stderr
    assert outcome(quarl, bundle) == ("not_proven", None)
