"""How faithful integers are that cost a Cortex-M4 hardly more than the cheapest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from quarl.boards.microcontroller import find_board
from quarl.exporter.ceilings import ceilings_of
from quarl.exporter.weighing import Candidate, Choice, weigh
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions
from quarl.pipeline import import_source
from quarl.resources import models_dir, targets_dir
from quarl.rollouts.shares import Field
from quarl.sources.observations import observations_of
from quarl.verdict.limits import recipe_limits
from tests.bench.row import Row

HERE = Path(__file__).parent
BOARD = "nrf52840_dk"
FACTORS = (1.05, 1.4)
GOALS = {1.05: (0.96, 0.8, 0.004), 1.4: (0.98, 0.85, 0.004)}  # mean, every one, box


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What one policy's integers are found to be."""

    name: str
    algorithm: str
    is_discrete: bool
    ceiling: float  # differing by observations of 8 bits alone, 0..1
    best: dict[float, tuple[float, int]]  # factor -> differing, rung
    seconds: float


def bench_fidelity(folder: Path) -> list[Row]:
    """The bench set on a Cortex-M4 (nRF52840): decisions unlike the source's on held-out
    observations, of the most faithful integers within 1.05 and 1.4 times the cheapest's cost.
    """
    found = [_fidelity(policy) for policy in bench_set()]
    rows = [
        Row(
            f"{one.name} ({one.algorithm})",
            ", ".join(
                f"{_said(one, differing)} at {factor:g} (rung {rung})"
                for factor, (differing, rung) in one.best.items()
            )
            + f"; 8-bit observations alone {_said(one, one.ceiling)}; weighed in "
            f"{one.seconds:.0f} s",
            "",
            None,
        )
        for one in found
    ]
    return rows + [row for factor in FACTORS for row in _summary(found, factor)]


def bench_set() -> list[str]:
    """Return the policies: shipped ones on vectors, the studies', and those that are hard."""
    shipped = ["cartpole_ppo", "nav_ppo", "nav_dqn_small", "nav_dqn_medium", "pendulum_sac"]
    folders = [models_dir() / "studies" / "policies", HERE / "policies", HERE / "stress"]
    made = [path.parent for where in folders for path in where.glob("*/policy.zip")]
    return shipped + sorted(map(str, made), key=lambda path: Path(path).name)


def _fidelity(name: str) -> Fidelity:
    source = import_source(name, ImportOptions(), None)
    assert isinstance(source.policy, Policy)
    assert source.env is not None
    fitted, held = observations_of(source, None)
    choice = Choice(
        source.policy,
        fitted,
        Field(source.env),
        recipe_limits(source.recipe, source.env),
        held=held.obs,
        board=find_board(BOARD, targets_dir()),
    )
    begin = time.perf_counter()
    candidates = weigh(choice)
    seconds = time.perf_counter() - begin
    eight, *_ = ceilings_of(source.policy, fitted, held.obs)
    return Fidelity(
        Path(name).name,
        source.policy.algorithm or "",
        source.policy.contract.action.kind == "discrete",
        eight.differing,
        {factor: _best(candidates, factor) for factor in FACTORS},
        seconds,
    )


def _best(candidates: Sequence[Candidate], factor: float) -> tuple[float, int]:
    within = [
        (one.result.differing, one.result.rung)
        for one in candidates
        if one.result.differing is not None
        and one.result.cost is not None
        and one.result.cost <= factor
    ]
    return min(within)


def _said(one: Fidelity, differing: float) -> str:
    return f"{1 - differing:.1%} equal" if one.is_discrete else f"{differing:.2%} off"


def _summary(found: Sequence[Fidelity], factor: float) -> list[Row]:
    average, every, off = GOALS[factor]
    equal = [1 - one.best[factor][0] for one in found if one.is_discrete]
    error = [one.best[factor][0] for one in found if not one.is_discrete]
    return [
        Row(
            f"agreement at {factor:g} times the cheapest, mean of {len(equal)}",
            f"{mean(equal):.1%}",
            f">= {average:.0%}",
            mean(equal) >= average,
        ),
        Row("  of the worst", f"{min(equal):.1%}", f">= {every:.0%}", min(equal) >= every),
        Row(
            f"action error at {factor:g} times, mean of {len(error)}",
            f"{mean(error):.2%} of the range",
            f"<= {off:.1%}",
            mean(error) <= off,
        ),
    ]
