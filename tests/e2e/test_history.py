"""Every run of the gate is remembered, unless the user says no; a history that cannot take it
changes no verdict.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import Quarl


def test_runs_are_listed_drawn_and_compared(
    quarl: Quarl, bundle_copy: Path, tmp_path: Path
) -> None:
    history = tmp_path / "history.sqlite3"
    assert quarl("gate", bundle_copy, "--history", history).returncode == 0
    (bundle_copy / "parity.json").unlink()
    assert quarl("gate", bundle_copy, "--history", history).returncode == 5
    runs = json.loads(quarl("history", "--history", history, "--json").stdout)
    assert [(run["number"], run["policy"], run["answer"]) for run in runs] == [
        (1, "cartpole_ppo", "pass"),
        (2, "cartpole_ppo", "not_proven"),
    ]
    assert "2026" not in quarl("history", "--history", history, "--policy", "unheard").stdout
    assert (
        "model"
        not in (drawn := quarl("history", "--history", history, "--plot", "mean_return")).stderr
    )
    assert "\N{FULL BLOCK}" in drawn.stdout or "bars from" in drawn.stdout
    changed = quarl("history", "--history", history, "--diff", "1", "2")
    assert "mean_return" in changed.stdout
    assert "equality_litert" not in changed.stdout  # gathered anew by each gate


def test_a_run_can_be_left_out(quarl: Quarl, bundle_copy: Path, tmp_path: Path) -> None:
    history = tmp_path / "history.sqlite3"
    assert quarl("gate", bundle_copy, "--no-history", "--history", history).returncode == 0
    assert not history.exists()


def test_a_damaged_history_is_reported_and_the_verdict_stands(
    quarl: Quarl, bundle_copy: Path, tmp_path: Path
) -> None:
    history = tmp_path / "history.sqlite3"
    history.write_bytes(b"no database" * 500)
    result = quarl("gate", bundle_copy, "--history", history)
    assert result.returncode == 0
    assert "this run is not in the history" in result.stderr
    assert history.read_bytes() == b"no database" * 500
    assert quarl("history", "--history", history).returncode == 2


def test_a_plot_is_drawn_in_a_locale_without_its_signs(
    quarl: Quarl, bundle_copy: Path, tmp_path: Path
) -> None:
    history = tmp_path / "history.sqlite3"
    for _ in range(2):
        assert quarl("gate", bundle_copy, "--history", history).returncode == 0
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    drawn = quarl("history", "--history", history, "--plot", "mean_return", env=plain)
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout.isascii()
    assert "bars from" in drawn.stdout
