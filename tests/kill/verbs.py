"""Ends quarl's verbs by SIGKILL at random moments, and looks at what they leave.

In: a folder, a number of kills, a seed. Out: counts and every wrong state in words. A child that
was forked from this process runs the verb, so that it works on files and does not import; the verb
`command` is quarl as users start it. The parent kills the child after a random share of the time
that the verb takes. What must hold then: the old state or the new one, never half of either, and
nothing foreign touched.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from quarl import pipeline
from quarl.bundle.limits import Limits
from quarl.bundle.policy_file import policy_bytes
from quarl.bundle.release import open_bundle
from quarl.errors import QuarlError
from quarl.exporter.export import ExportRequest
from quarl.files.atomic import SCRATCH
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.profiles import host
from quarl.verdict.formats.verdict_json import read_checks
from quarl.verdict.history import Occasion, list_runs, record

# of a ship: what few episodes can prove, so that it ends soon and still writes every file
LIMITS = Limits(episodes=4, margin=0.9, failure_margin=0.9, random_return=20.0)
ENDS = {"command": (0, 1, 5)}  # exit codes of a whole run; the gate says no here
LATE = 1.05  # a kill may come a little after the end
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Tally:
    """What became of the kills."""

    kills: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)  # before the kill came
    wrong: list[str] = field(default_factory=list)


@dataclass
class Stage:
    """A folder with a bundle, a history, and things that are nobody's but the user's."""

    root: Path
    turn: int = 0

    def __post_init__(self) -> None:
        self.bundle = self.root / "bundle"
        self.history = self.root / "history.sqlite3"
        self.mine = self.root / "thesis.txt"
        self.mine.write_text("mine")
        self.source = pipeline.import_source("cartpole_ppo")
        assert isinstance(self.source.policy, Policy)
        weights = self.root / "policy.npz"  # whose import is proven without torch
        weights.write_bytes(policy_bytes(self.source.policy))
        self.quick = pipeline.import_source(str(weights), env=EnvSpec("CartPole-v1"))
        pipeline.export(self.source, self.bundle, ExportRequest(rung=0))
        self.verdict = pipeline.gate(open_bundle(self.bundle))
        self._record()

    def export(self) -> None:
        """Replace the bundle by one of the other rung."""
        pipeline.export(self.source, self.bundle, ExportRequest(rung=self.turn % 2))

    def ship(self) -> None:
        """The whole chain, into the same folder."""
        host.ROUNDS, host.WARM_UP_S, host.ROUND_S = 1, 0.01, 0.01  # times matter to nobody here
        pipeline.ship(self.quick, self.bundle, ExportRequest(rung=self.turn % 2, limits=LIMITS))

    def command(self) -> None:
        """`quarl export` and `quarl gate` in turn, in fresh interpreters."""
        words = ["gate", str(self.bundle), "--no-baseline"]
        if self.turn % 2:
            rung = str(self.turn // 2 % 2)
            words = ["export", "cartpole_ppo", "--rung", rung, "--out", str(self.bundle)]
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (1, 2):
            os.dup2(nowhere, standard)
        environment = {**os.environ, "QUARL_HISTORY": str(self.history)}
        os.execve(sys.executable, [sys.executable, "-m", "quarl", *words], environment)

    def gate(self) -> None:
        """Write a verdict into the bundle."""
        pipeline.gate(open_bundle(self.bundle))

    def record(self) -> None:
        """Add three runs to the history."""
        for _ in range(3):
            self._record()

    def _record(self) -> None:
        record(self.history, self.verdict, Occasion(AT, "1", "ab" * 32))

    def wrongs(self, runs_before: int) -> Iterator[str]:
        """Yield what is not as it must be after a kill."""
        if self.mine.read_text() != "mine":
            yield "a file of the user was changed"
        try:
            release = open_bundle(self.bundle)  # puts back what was killed between two renames
        except QuarlError as error:
            yield f"no bundle: {error}"
            return
        if release.changed_files:
            yield f"half a bundle: {release.changed_files}"
        stored = release.stored("verdict.json")
        if stored is not None:
            try:
                read_checks(stored.decode())
            except (QuarlError, ValueError) as error:
                yield f"half a verdict: {error}"
        try:
            runs = len(list_runs(self.history, limit=10**6))
            if not runs_before <= runs <= runs_before + 3:
                yield f"{runs} runs in the history, before {runs_before}"
            with contextlib.closing(sqlite3.connect(self.history)) as database:
                (sound,) = database.execute("PRAGMA integrity_check").fetchone()
                (lost,) = database.execute(
                    "SELECT COUNT(*) FROM runs WHERE number NOT IN (SELECT run FROM checks)"
                ).fetchone()
            if sound != "ok" or lost:
                yield f"half a history: {sound}, {lost} runs without their checks"
        except QuarlError as error:
            yield f"no history: {error}"

    def leftovers(self) -> list[str]:
        """Return scratch files and folders that lie about."""
        return [path.relative_to(self.root).as_posix() for path in self.root.rglob(f"{SCRATCH}*")]


VERBS: dict[str, Callable[[Stage], None]] = {
    "export": Stage.export,
    "gate": Stage.gate,
    "history": Stage.record,
    "ship": Stage.ship,
    "command": Stage.command,
}


def kill_verbs(
    root: Path,
    kills: dict[str, int],
    seed: int,
    progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Return what became of `kills` of each verb, in a fresh folder."""
    stage, rng, tally = Stage(root), random.Random(seed), Tally()
    for name, wanted in kills.items():
        takes = _run(stage, name, None)
        while tally.kills.get(name, 0) < wanted:
            stage.turn += 1
            before = len(list_runs(stage.history, limit=10**6))
            delay = rng.random() * takes * LATE
            counts = tally.ended if _run(stage, name, delay) is not None else tally.kills
            counts[name] = counts.get(name, 0) + 1
            tally.wrong += [f"{name} after {delay:.3f} s: {w}" for w in stage.wrongs(before)]
            progress(tally)
        _run(stage, name, None)
        left = stage.leftovers()
        if left:
            tally.wrong.append(f"{name}: {', '.join(left)} stay after a whole run")
    return tally


def _run(stage: Stage, name: str, delay: float | None) -> float | None:
    """Run a verb in a child; return the seconds it took, None where it was killed first."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        code = 1
        try:
            VERBS[name](stage)
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    while delay is None or time.monotonic() - start < delay:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            assert code in ENDS.get(name, (0,)), f"{name} failed by itself ({code})"
            return time.monotonic() - start
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    _wait_for_children(child)
    return None if os.WIFSIGNALED(status) else time.monotonic() - start


def _wait_for_children(group: int) -> None:
    """Wait until the child's own processes have ended, as they do when nobody asks them more."""
    for _ in range(2_000):
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.01)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("a process outlives the verb that started it by 20 s")
