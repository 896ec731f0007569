"""Fuzz the readers of quarl: python -m tests.fuzz [READER ...] --seconds 600.

Readers take turns, so that each gets its share of the time. What went wrong is kept in runs/fuzz/
under its number, which `--show` turns into the file again; counts go to runs/fuzz/counts.jsonl.
With --coverage, atheris (Linux, CPython; `make fuzz` installs it) watches which code an input
reaches, and mutates what reached new code further.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import fields
from pathlib import Path

FOUND = Path("runs") / "fuzz"
TURN = 2_000  # inputs of one reader before the next has its turn
TURN_SECONDS = 60


def main() -> int:
    """Return 0 where nothing went wrong."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    options = _options()
    if options.coverage:
        from tests.fuzz.coverage import fuzz

        return fuzz(options.readers, options.seconds, FOUND)
    from quarl.importers.beside_tensorflow import prepare_for_tensorflow
    from tests.fuzz.targets import TARGETS

    prepare_for_tensorflow()
    if options.show is not None:
        (reader,) = options.readers
        sys.stdout.buffer.write(TARGETS[reader].input(reader, options.seed, options.show))
        return 0
    return _campaigns(options.readers or list(TARGETS), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", help="all of them unless named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all readers together")
    parser.add_argument("--inputs", type=int, default=10**9, help="for each reader, at most")
    parser.add_argument("--seed", type=int, help="of the campaign; one never used unless given")
    parser.add_argument("--show", type=int, help="write the input of this number to stdout")
    parser.add_argument("--coverage", action="store_true", help="let atheris lead")
    return parser.parse_args()


def _campaigns(readers: list[str], options: argparse.Namespace) -> int:
    from tests.fuzz.campaign import Count, append_counts, fresh_seed, run_campaign, say

    seed = fresh_seed() if options.seed is None else options.seed
    end = time.monotonic() + options.seconds
    share = min(TURN_SECONDS, options.seconds / len(readers))
    totals = {reader: Count(reader, seed) for reader in readers}
    FOUND.mkdir(parents=True, exist_ok=True)
    while time.monotonic() < end and any(c.inputs < options.inputs for c in totals.values()):
        for reader, total in totals.items():
            left = min(TURN, options.inputs - total.inputs)
            seconds = min(share, end - time.monotonic())
            if left <= 0 or seconds <= 0:
                continue
            limits = {"first": total.inputs, "seconds": seconds}
            turn = run_campaign(reader, left, seed=seed, found=FOUND, **limits)  # type: ignore[arg-type]
            append_counts(FOUND / "counts.jsonl", turn)
            _add(total, turn)
            say(total)
    return 0 if all(count.is_clean for count in totals.values()) else 1


def _add(total: object, turn: object) -> None:
    for field in fields(total):  # type: ignore[arg-type]
        value = getattr(turn, field.name)
        if field.name == "kinds":
            for kind, count in value.items():
                total.kinds[kind] = total.kinds.get(kind, 0) + count  # type: ignore[attr-defined]
        elif isinstance(value, int | float) and field.name != "seed":
            setattr(total, field.name, getattr(total, field.name) + value)


if __name__ == "__main__":
    sys.exit(main())
