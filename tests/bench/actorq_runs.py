"""The runs behind the results of toolchain/docs/actorq.md, one after the other on one local Ray.

python -m tests.bench.actorq_runs [RECIPE ...] [--here] [--out RUNS]  # makes the missing runs
python -m tests.bench.actorq_runs --page toolchain/docs/actorq-results.md

A run that has ended is not made again. What the page needs of a run lies in
models/studies/actorq/results: what was asked for, where the time went, the curve.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quarl.actorq.evaluating import CURVE_FILE
from quarl.actorq.folder import ACCOUNTS_FILE, RUN_FILE, machine_name
from quarl.actorq.markdown_page import write_markdown
from quarl.actorq.measured import measured_in
from quarl.actorq.recipes import recipe_at
from quarl.actorq.record import Record, read_record
from quarl.actorq.release import write_policy
from quarl.actorq.run import Wishes, returns_text, run_actorq
from quarl.actorq.tables import Measured
from quarl.profiles.host import cpu_name
from quarl.resources import models_dir

STUDY = models_dir() / "studies" / "actorq"
RESULTS = STUDY / "results"  # a folder for each kind of machine: costs are compared within one
KEPT = (RUN_FILE, ACCOUNTS_FILE, CURVE_FILE)
PROCESSORS = 6  # that Ray counts; the processes share what the machine has
KINDS: dict[str, dict[str, object]] = {
    "int8": {"precision": "int8"},
    "fp16": {"precision": "fp16"},
    "fp32": {"precision": "fp32"},
    "torch": {"precision": "fp32", "runtime": "torch"},
}
COSTS, BASELINES, BOTH = tuple(KINDS), ("int8", "fp32", "torch"), ("int8", "fp32")
INT8, FP32 = ("int8",), ("fp32",)


@dataclass(frozen=True, slots=True)
class Cell:
    """Runs of one recipe: every kind of actors with every seed."""

    recipe: str
    kinds: tuple[str, ...]
    seeds: tuple[int, ...] = (1,)
    pull_every: int | None = None  # None: as the recipe says
    count: int | None = None  # of actors; None: as the recipe says

    def run_name(self, kind: str, seed: int) -> str:
        """Return the folder of one run."""
        pull = "" if self.pull_every is None else f"-pull{self.pull_every}"
        actors = "" if self.count is None else f"-actors{self.count}"
        return f"{self.recipe}-{kind}-{seed}{pull}{actors}"


CELLS = (  # in this order: those of a shorter time hold most of it
    Cell("cheetah_2048", COSTS, pull_every=30),
    Cell("cheetah_2048", COSTS, pull_every=300),
    Cell("steps_2048", BASELINES),
    Cell("cartpole_dqn", BASELINES),
    Cell("cartpole_balance_d4pg", BOTH),
    Cell("walker_stand_d4pg", BOTH),
    Cell("reacher_easy_d4pg", BOTH),
    Cell("acrobot_dqn", BOTH),
    Cell("point_to_point_dqn", BOTH),
    Cell("cartpole_dqn", BOTH, (2, 3)),
    Cell("cartpole_balance_d4pg", BOTH, (2, 3)),
    Cell("cheetah_run_d4pg", BOTH),
    Cell("cartpole_dqn", BOTH, (4, 5)),
    Cell("cartpole_balance_d4pg", BOTH, (4, 5)),
    Cell("steps_512", BASELINES),
    Cell("steps_2048_spi16", BASELINES),
    Cell("mountaincar_dqn", BOTH),
    *(Cell("collect_512", BOTH, count=count) for count in (1, 2, 3)),
    Cell("walker_stand_d4pg", BOTH, (2, 3)),
    Cell("finger_spin_d4pg", BOTH),
    Cell("hopper_stand_d4pg", BOTH),
)
THRESHOLDS = {"cartpole_dqn": 195.0, "cartpole_balance_d4pg": 500.0}  # stated before any run
SHIPPED = (
    "cartpole_dqn",
    "cartpole_balance_d4pg",
)  # policies kept beside their recipe: int8, seed 1


def main(arguments: Sequence[str]) -> int:
    """Make the runs that are missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.actorq_runs")
    parser.add_argument("recipes", nargs="*", help="all of them unless named")
    parser.add_argument("--out", type=Path, default=Path("runs/actorq"), metavar="RUNS")
    parser.add_argument(
        "--page", type=Path, metavar="FILE.md", help="write the results, run nothing"
    )
    parser.add_argument(
        "--here", action="store_true", help="also those that only another machine has made"
    )
    options = parser.parse_args(arguments)
    if options.page is not None:
        write_markdown(kept_records(), THRESHOLDS, _widths(), options.page)
        return 0
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    quiet["_system_config"] = {"worker_niceness": 0}  # workers share a core as this process does
    ray.init(address="local", num_cpus=PROCESSORS, include_dashboard=False, **quiet)
    for cell, kind, seed in _runs(options.recipes):
        name = cell.run_name(kind, seed)
        if not any(RESULTS.glob(f"{_here() if options.here else '*'}/{name}")):
            print(f"{name}: {_made(cell, kind, seed, options.out / name)}", flush=True)
    ray.shutdown()
    return 0


def kept_records() -> list[Record]:
    """Return the runs whose results are kept, in the order of their names."""
    return [read_record(folder) for folder in sorted(RESULTS.glob("*/*"))]


def _widths() -> list[Measured]:
    """Measure a step by width, where an environment is cheap and where it is not."""
    chosen = {record.case.name: record for record in kept_records()}
    records = [chosen[name] for name in ("cartpole_dqn", "cheetah_2048") if name in chosen]
    return [Measured(name, costs, machine_name()) for name, costs in measured_in(records)]


def _runs(recipes: Sequence[str]) -> Iterator[tuple[Cell, str, int]]:
    for cell in CELLS:
        if not recipes or cell.recipe in recipes:
            yield from ((cell, kind, seed) for seed in cell.seeds for kind in cell.kinds)


def _made(cell: Cell, kind: str, seed: int, run: Path) -> str:
    """Make one run, keep its results, and return one line on it."""
    shutil.rmtree(run, ignore_errors=True)  # one that was cut off
    recipe, text = recipe_at(str(STUDY / cell.recipe))
    seeded = replace(recipe, train=replace(recipe.train, seed=seed))
    outcome = run_actorq(
        seeded,
        run,
        Wishes(changes={**KINDS[kind], "pull_every": cell.pull_every, "count": cell.count}),
    )
    if cell.recipe in SHIPPED and (kind, seed) == ("int8", 1):
        shutil.copytree(
            write_policy(outcome, seeded, text), STUDY / cell.recipe, dirs_exist_ok=True
        )
    kept = RESULTS / _here() / run.name
    scratch = kept.with_suffix(".part")
    scratch.mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        shutil.copy(run / file, scratch / file)
    scratch.replace(kept)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    return f"{returns_text(outcome.points)}; {outcome.wall_s:.0f} s, {outcome.differing} differ"


def _here() -> str:
    """Return the folder of this kind of machine."""
    return re.sub(r"\W+", "-", cpu_name().lower()).strip("-")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
