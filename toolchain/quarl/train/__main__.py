"""`python -m quarl.train models/<policy>`: train a policy from its recipe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from quarl.errors import QuarlError
from quarl.recipe import Recipe
from quarl.train import train
from quarl.train.trained import Progress


def main(arguments: Sequence[str]) -> int:
    """Train and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m quarl.train", description="Train a policy from its recipe.")
    parser.add_argument("folder", type=Path, help="the policy's folder, with its recipe.toml")
    parser.add_argument("--out", type=Path, help="folder to write to; RUNS/<policy>/policy/<policy> unless given")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where checkpoints and curves are kept")
    parser.add_argument("--quick", action="store_true", help="train for quick_steps only")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    options = parser.parse_args(arguments)
    name = options.folder.resolve().name
    out = options.out or options.runs / name / "policy" / name
    try:
        recipe = train(options.folder, out, runs=options.runs, quick=options.quick, resume=options.resume, progress=_show)
    except QuarlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{out}: {_score(recipe)}")
    return 0


def _show(progress: Progress) -> None:
    success = "" if progress.success_rate is None else f"  success {100 * progress.success_rate:5.1f} %"
    steps = f"{progress.steps:>10,} / {progress.total:,}"
    print(f"{steps}  return {progress.mean_return:9.2f}{success}  {progress.cpu_s:7.1f} cpu s", flush=True)


def _score(recipe: Recipe) -> str:
    assert recipe.score is not None
    success = "" if recipe.score.success_rate is None else f", success {100 * recipe.score.success_rate:.1f} %"
    return f"mean return {recipe.score.mean_return:.2f} over {recipe.score.episodes} episodes{success}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
