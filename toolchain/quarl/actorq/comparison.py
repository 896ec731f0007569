"""What int8 actors gain, three ways that are never mixed: data collection, fixed learner steps, and
time to a threshold.

In: records of runs that differ in precision and seed alone. Out: ratios over int8, each with the
interval of its seeds. CPU seconds are compared first: wall time of a busy machine tells little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.record import STEP, Case, Record

RESAMPLES, LEVEL, _SEED = 2_000, 0.95, 0x41
REFERENCE = "int8"
Thresholds: TypeAlias = Mapping[str, float]
"""Returns stated before, by the name of the recipe; "" stands for all others."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """What another kind takes, over what int8 takes: above 1 int8 gains."""

    value: float
    low: float  # 95 % interval of the seeds; nan with one seed
    high: float
    runs: int

    @property
    def text(self) -> str:
        """For a table."""
        spread = "" if np.isnan(self.low) else f" ({self.low:.2f} to {self.high:.2f})"
        return f"{self.value:.2f}{spread}"


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """One kind against int8, in one case."""

    case: Case
    kind: str
    collection: Ratio  # CPU seconds of actors for a step
    fixed_steps_cpu: Ratio  # CPU seconds, the learner's counted as equal
    fixed_steps_cpu_raw: Ratio  # as spent: a learner that waits spends a little too
    fixed_steps_wall: Ratio
    predicted_wall: float  # by max(actors' step, learner's step)
    threshold: float | None
    threshold_cpu: Ratio | None  # None: not reached by all runs of both
    threshold_wall: Ratio | None
    final_int8: tuple[float, float]  # mean of the seeds' last points, and half the interval
    final_other: tuple[float, float]


def cases_of(records: Sequence[Record]) -> dict[Case, dict[str, list[Record]]]:
    """Return the runs by case and kind, int8 first, in the order of the seeds."""
    found: dict[Case, dict[str, list[Record]]] = {}

    def order(run: Record) -> tuple[object, ...]:
        case = run.case
        return case.name, case.layers, case.machine, run.kind != REFERENCE, run.kind, run.seed

    for record in sorted(records, key=order):
        found.setdefault(record.case, {}).setdefault(record.kind, []).append(record)
    return found


def by_actors(records: Sequence[Record]) -> list[list[Record]]:
    """Return the runs that differ in their number of actors alone, those of fewest first."""
    alike: dict[tuple[Case, str], list[Record]] = {}
    for run in sorted(records, key=lambda run: run.case.actors):
        alike.setdefault((replace(run.case, actors=0), run.kind), []).append(run)
    return [runs for runs in alike.values() if runs[0].case.actors < runs[-1].case.actors]


def threshold_of(thresholds: Thresholds, case: Case) -> float | None:
    """Return the threshold of a case."""
    return thresholds.get(case.name, thresholds.get(""))


def speed_ups(records: Sequence[Record], thresholds: Thresholds) -> tuple[SpeedUp, ...]:
    """Return int8's gains over every other kind, in every case that has both."""
    found = []
    for case, kinds in cases_of(records).items():
        ours = kinds.get(REFERENCE, [])
        for kind, others in kinds.items():
            if kind != REFERENCE and ours:
                threshold = threshold_of(thresholds, case)
                found.append(_speed_up(case, kind, (ours, others), threshold))
    return tuple(found)


def mean_with_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half of its 95 % interval (Student's t); nan with one value."""
    from scipy import stats

    array = np.array(values)
    if len(array) < 2:
        return float(array.mean()), float("nan")
    half = stats.t.ppf((1 + LEVEL) / 2, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5
    return float(array.mean()), float(half)


def ratio(others: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Return mean(others) / mean(ours) with the interval of resampled runs."""
    above, below = np.array(others), np.array(ours)
    value = float(above.mean() / below.mean())
    if min(len(above), len(below)) < 2:
        return Ratio(value, float("nan"), float("nan"), min(len(above), len(below)))
    rng = np.random.default_rng(_SEED)

    def drawn(values: NDArray[np.float64]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = values[
            rng.integers(len(values), size=(RESAMPLES, len(values)))
        ].mean(axis=1)
        return means

    tails = np.quantile(drawn(above) / drawn(below), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Ratio(value, float(tails[0]), float(tails[1]), min(len(above), len(below)))


def predicted_wall_s(record: Record) -> float:
    """Return max(actors' step, learner's step) times the learner's steps, both from CPU costs: what
    the run would take with a core for the learner and one for each actor.
    """
    steps = record.env_steps / max(1, record.learner.steps)
    actors = steps / (record.steps_per_cpu_s * len(record.actors))
    learner = record.learner.cpu_s / max(1, record.learner.steps)
    return max(actors, learner) * record.learner.steps


def _speed_up(
    case: Case, kind: str, runs: tuple[list[Record], list[Record]], threshold: float | None
) -> SpeedUp:
    ours, others = runs
    learner_s = float(np.mean([r.learner.cpu_s for r in ours]))
    in_cpu, in_wall = _thresholds(runs, threshold)
    return SpeedUp(
        case=case,
        kind=kind,
        collection=_ratio(runs, lambda r: 1 / r.steps_per_cpu_s),
        fixed_steps_cpu=_ratio(runs, lambda r: learner_s + r.env_steps / r.steps_per_cpu_s),
        fixed_steps_cpu_raw=_ratio(runs, lambda r: r.learner.cpu_s + r.actors_cpu_s),
        fixed_steps_wall=_ratio(runs, lambda r: r.learner.wall_s),
        predicted_wall=float(
            np.mean([predicted_wall_s(r) for r in others])
            / np.mean([predicted_wall_s(r) for r in ours])
        ),
        threshold=threshold,
        threshold_cpu=in_cpu,
        threshold_wall=in_wall,
        final_int8=mean_with_interval([r.returns(r.points[-1]) for r in ours]),
        final_other=mean_with_interval([r.returns(r.points[-1]) for r in others]),
    )


def _ratio(runs: tuple[list[Record], list[Record]], of: Callable[[Record], float]) -> Ratio:
    ours, others = runs
    return ratio([of(r) for r in others], [of(r) for r in ours])


def _thresholds(
    runs: tuple[list[Record], list[Record]], threshold: float | None
) -> tuple[Ratio | None, Ratio | None]:
    if threshold is None:
        return None, None
    reached = [[run.reached(threshold) for run in group] for group in runs]
    if any(point is None for group in reached for point in group):
        return None, None
    ours, others = ([p for p in group if p is not None] for group in reached)
    return (
        ratio([p.cpu_s + p.actors_cpu_s for p in others], [p.cpu_s + p.actors_cpu_s for p in ours]),
        ratio([p.wall_s for p in others], [p.wall_s for p in ours]),
    )


def cost_rows(record: Record) -> dict[str, float]:
    """Return CPU milliseconds of an actor for 1,000 steps, by the paper's terms; a policy is read
    where it lies, so nothing is deserialised.
    """
    return {
        "step (inference, environment, noise)": record.cost_ms(*STEP),
        "send rows": record.cost_ms("insert"),
        "pull": record.cost_ms("pull"),
        "deserialise": record.cost_ms("deserialise"),
        "load": record.cost_ms("load"),
    }
