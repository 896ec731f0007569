"""One piece of work of a given size, in a process of its own.

python -m tests.bench.growth_job KIND SIZE

Prints one JSON object: cpu_s of the work alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, ACTIONS = 24, 4
OBSERVATIONS = 2_000  # where their number is not what grows
RECORDED = 20  # runs, whose mean counts


def _work_of_observations(size: int) -> Callable[[], object]:
    return _quantizing((FEATURES, 64, 64, ACTIONS), size)


def _work_of_parameters(size: int) -> Callable[[], object]:
    width = round((size / 2) ** 0.5)
    return _quantizing((FEATURES, width, width, width, ACTIONS), OBSERVATIONS)


def _work_of_layers(size: int) -> Callable[[], object]:
    return _quantizing((FEATURES, *(64 for _ in range(size)), ACTIONS), OBSERVATIONS)


def _quantizing(widths: tuple[int, ...], count: int) -> Callable[[], object]:
    """Return the quantisation of a ReLU network on rung 2, which fits to the calibration."""
    from quarl.graph.contract import Action, Contract, Observation
    from quarl.graph.policy import Activation, Dense, Policy, linear_chain
    from quarl.quantize.calibration import Calibration, calibrate, coverage
    from quarl.quantize.ladder import quantize_on_rung

    rng = np.random.default_rng(0)
    layers: list[tuple[str, Any]] = []
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        weights = rng.normal(0, (2 / inputs) ** 0.5, (outputs, inputs)).astype(np.float32)
        layers.append((f"dense{place}", Dense(weights, np.zeros(outputs, np.float32))))
        if outputs != widths[-1] or place < len(widths) - 2:
            layers.append((f"relu{place}", Activation("relu")))
    contract = Contract(
        Observation((FEATURES,), "float32", "vector"), Action("discrete", ACTIONS), 10.0
    )
    policy = Policy(linear_chain(layers), contract, "none", "none", "0" * 64)
    obs = rng.standard_normal((count, FEATURES), np.float32)

    def work() -> object:
        calibration: Calibration = calibrate(obs, contract)
        coverage(calibration, contract)
        return quantize_on_rung(policy, calibration, 2)

    return work


def _work_of_episodes(size: int) -> Callable[[], object]:
    """Return all that parity asks of paired episodes, of which one in ten differs."""
    from quarl.evidence.closed_loop import (
        ClosedLoopQuestion,
        Failure,
        PairedEpisodes,
        compare_episodes,
    )
    from quarl.rollouts.episodes import Episodes

    rng = np.random.default_rng(0)
    source = rng.normal(100, 20, size)

    def episodes() -> Episodes:
        moved = source + rng.normal(0, 5, size) * (rng.random(size) < 0.1)
        return Episodes(tuple(range(size)), moved, np.full(size, 200, np.int32), None)

    paired = PairedEpisodes("none", episodes(), episodes(), episodes())
    question = ClosedLoopQuestion(5.0, Failure("return", 40.0), 0.02)
    return lambda: compare_episodes(paired, question)


def _work_of_history(size: int) -> Callable[[], object]:
    """Return the recording of a few runs beside so many."""
    from tests.bench.commands import fill_history, record_run

    path = Path(tempfile.mkdtemp(prefix="quarl-growth-")) / "history.sqlite3"
    fill_history(path, size)

    def work() -> None:
        for _ in range(RECORDED):
            record_run(path)

    return work


WORK: dict[str, Callable[[int], Callable[[], object]]] = {
    "observations": _work_of_observations,
    "parameters": _work_of_parameters,
    "layers": _work_of_layers,
    "episodes": _work_of_episodes,
    "history": _work_of_history,
}


def main() -> None:
    kind, size = sys.argv[1], int(sys.argv[2])
    work = WORK[kind](size)
    began = time.process_time()
    work()
    print(json.dumps({"cpu_s": time.process_time() - began}))


if __name__ == "__main__":
    main()
