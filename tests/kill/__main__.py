"""Kill quarl's verbs at many random moments: python -m tests.kill --kills 1000."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

SHARES = {"export": 0.4, "gate": 0.24, "history": 0.25, "ship": 0.07, "command": 0.04}


def main() -> int:
    """Return 0 where nothing was lost and nothing was half."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from tests.kill.verbs import Tally, kill_verbs

    def say(tally: Tally) -> None:
        if sum(tally.kills.values()) % 20 == 0:
            print(tally.kills, tally.ended, f"{len(tally.wrong)} wrong", flush=True)

    kills = {name: round(options.kills * share) for name, share in SHARES.items()}
    with tempfile.TemporaryDirectory(prefix="quarl-kill-") as folder:
        tally = kill_verbs(Path(folder), kills, options.seed, say)
    print(tally.kills, tally.ended, *tally.wrong, sep="\n")
    return int(bool(tally.wrong))


if __name__ == "__main__":
    sys.exit(main())
