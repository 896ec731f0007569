"""The command line as a user feels it, and how fast environments are played."""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import gymnasium

from quarl.verdict import history
from quarl.verdict.verdict import Check, Outcome, Verdict
from tests.bench.episodes import GOAL_STEPS_PER_S, speeds
from tests.bench.process import run
from tests.bench.row import Row

HISTORY_RUNS = 10_000


def bench_commands(folder: Path) -> list[Row]:
    """Start-up, and the whole chain on the navigation policy."""
    quarl = [sys.executable, "-m", "quarl"]
    help_s = min(run([*quarl, "--help"], folder)[0] for _ in range(5))
    nav, runs = folder / "nav", folder / "history.sqlite3"
    ship_s, ship_mb = run(
        [*quarl, "ship", "nav_ppo", "--episodes", "200", "--no-history", "--out", str(nav)], folder
    )
    gate_s = min(run([*quarl, "gate", str(nav), "--no-history"], folder)[0] for _ in range(3))
    page_bytes = (nav / "report.html").stat().st_size
    fill_history(runs, HISTORY_RUNS)
    history_s = min(run([*quarl, "history", "--history", str(runs)], folder)[0] for _ in range(3))
    cold = ["env", f"XDG_CACHE_HOME={folder / 'cache'}", *quarl]
    on_board = ["profile", str(nav), "--board", "nucleo_l4r5zi"]
    first_s, again_s = run([*cold, *on_board], folder)[0], run([*cold, *on_board], folder)[0]
    pi_s, _ = run(
        [
            *quarl,
            "ship",
            "nav_ppo",
            "--board",
            "raspberrypi_4",
            "--no-history",
            "--out",
            str(folder / "pi"),
        ],
        folder,
    )
    steps_s = _flight_steps_s()
    return [
        Row(
            "quarl/PointToPoint-v0, 256 environments, one core",
            f"{steps_s:,.0f} steps/s",
            ">= 50,000",
            steps_s >= 50_000,
        ),
        Row("quarl --help", f"{help_s:.2f} s", "<= 0.3 s", help_s <= 0.3),
        Row(
            "quarl ship nav_ppo, 200 paired episodes",
            f"{ship_s:.1f} s, {ship_mb:.0f} MB",
            "<= 30 s",
            ship_s <= 30,
        ),
        Row("  quarl gate on its bundle", f"{gate_s:.2f} s", "<= 1 s", gate_s <= 1),
        Row("  its report.html", f"{page_bytes / 1e6:.2f} MB", "<= 1.5 MB", page_bytes <= 1.5e6),
        Row(
            f"quarl history, {HISTORY_RUNS:,} runs kept",
            f"{history_s:.2f} s",
            "<= 0.3 s",
            history_s <= 0.3,
        ),
        Row(
            "quarl profile nav_ppo --board nucleo_l4r5zi, nothing cached",
            f"{first_s:.1f} s",
            "<= 15 s",
            first_s <= 15,
        ),
        Row("  again", f"{again_s:.1f} s", "<= 5 s", again_s <= 5),
        Row(
            "quarl ship nav_ppo --board raspberrypi_4, emulated",
            f"{pi_s:.1f} s",
            "<= 90 s",
            pi_s <= 90,
        ),
    ]


def bench_play(folder: Path) -> list[Row]:
    """Agent steps a second of an Atari policy in its environment, closed loop, best of a few
    rounds.
    """
    return [
        Row(
            f"pong_ppo, {speed.arithmetic}",
            f"{speed.steps_per_s:,.0f} steps/s",
            ">= 2,000",
            speed.steps_per_s >= GOAL_STEPS_PER_S,
        )
        for speed in speeds("pong_ppo")
    ]


def record_run(path: Path) -> None:
    """Record a run of thirty checks."""
    check = Check(
        "mean_return", "closed loop", Outcome.PASS, 0.5, 1.0, "at most", "return", "tested", ""
    )
    verdict = Verdict(
        "nav_ppo", tuple(replace(check, name=f"check_{number}") for number in range(30))
    )
    history.record(path, verdict, history.Occasion(datetime.now(UTC), "0", "0" * 64))


def fill_history(path: Path, runs: int) -> None:
    """Write a history of many runs in one go, in the form that single runs give it."""
    record_run(path)
    with closing(sqlite3.connect(path)) as database, database:
        count = f"WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {runs})"
        database.execute(
            f"{count} INSERT INTO runs SELECT i, at, policy, board, answer, manifest_sha256, "
            "version, git_commit, rung, host FROM n, runs WHERE number = 1"
        )
        database.execute(
            f"{count} INSERT INTO checks SELECT i, name, outcome, found, allowed, unit, kind "
            "FROM n, checks WHERE run = 1"
        )


def _flight_steps_s() -> float:
    import quarl.envs  # noqa: F401 (registers the environment)

    env = gymnasium.make_vec(
        "quarl/PointToPoint-v0", num_envs=256, vectorization_mode="vector_entry_point"
    )
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(8)]
    began, steps = time.process_time(), 0
    while steps < 100_000:
        env.step(actions[steps // 256 % 8])
        steps += 256
    return steps / (time.process_time() - began)
