"""The tables of ActorQ's page: the tasks, where the time goes, what int8 actors gain, from which
width, and with how many actors.

In: records of runs, thresholds stated before, costs measured on this machine. Out: titles, notes
and cells, for whoever writes a page.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from quarl.actorq.comparison import (
    SpeedUp,
    Thresholds,
    by_actors,
    cases_of,
    cost_rows,
    mean_with_interval,
    speed_ups,
)
from quarl.actorq.measure import StepCost, break_even
from quarl.actorq.record import Record
from quarl.actorq.saturation import costs_of, limits_of

GRAMS_PER_KWH, WATTS_PER_CORE = 480.0, 10.0  # world mean of electricity; a server's core at work


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """Costs of a step by width in one environment."""

    env: str
    costs: tuple[StepCost, ...]
    machine: str  # that they were measured on


def tables_of(
    records: Sequence[Record], thresholds: Thresholds, measured: Sequence[Measured]
) -> list[Table]:
    """Return the tables, in the order of the page."""
    return [
        _tasks(records),
        _costs(records),
        _speed_ups(speed_ups(records, thresholds)),
        *(_widths(each) for each in measured),
        *_by_actors(records),
        _saturation(records),
        _runs(records),
    ]


def machines_of(records: Sequence[Record]) -> str:
    """Return how many runs were made on which machines."""
    counts = Counter(run.case.machine or "a machine that is not known" for run in records)
    return ", ".join(
        f"{count} run{'s' if count > 1 else ''} on {machine}" for machine, count in counts.items()
    )


def energy_text(records: Sequence[Record]) -> str:
    """Return what the runs took: measured energy, or CPU seconds with an estimate."""
    joules = [r.joules for r in records if r.joules is not None]
    if joules:
        return (
            f"Energy of the processor packages, other work included: {sum(joules) / 1e3:,.1f} kJ."
        )
    seconds = sum(r.learner.cpu_s + r.actors_cpu_s + r.store.cpu_s for r in records)
    kwh = seconds * WATTS_PER_CORE / 3.6e6
    return (
        "Energy cannot be read on this machine (no RAPL counter), so CPU seconds stand for it: "
        f"{seconds:,.0f} in all. As an estimate, at {WATTS_PER_CORE:g} W a core and "
        f"{GRAMS_PER_KWH:g} g CO2 a kWh: {kwh * 1e3:.1f} Wh, {kwh * GRAMS_PER_KWH:.1f} g."
    )


def _tasks(records: Sequence[Record]) -> Table:
    rows = []
    anywhere = [replace(run, case=replace(run.case, machine="")) for run in records]
    for case, kinds in cases_of(anywhere).items():
        for kind, runs in kinds.items():
            curves = [[run.returns(point) for point in run.points] for run in runs]
            if min(map(len, curves)) < 2:
                continue  # a run for its costs alone
            floats = [run.points[-1].float_mean for run in runs]
            rows.append(
                (
                    *(case.name, " x ".join(map(str, case.layers)), kind, f"{len(runs)}"),
                    *(f"{runs[0].env_steps:,}", f"{case.learner_steps:,}"),
                    _with_interval(mean_with_interval([curve[0] for curve in curves])),
                    _with_interval(mean_with_interval([curve[-1] for curve in curves])),
                    _with_interval(mean_with_interval(floats)),
                    _with_interval(mean_with_interval([max(curve) for curve in curves])),
                )
            )
    return Table(
        "The tasks",
        "Mean return of deterministic play, of the policy as the actors play it, with the 95 % "
        "interval of the seeds (Student's t). First: the first policy judged. Best: the best "
        "policy judged of each run, which is the one that ships. Machines are not told apart.",
        (
            *("task", "layers", "actors", "seeds", "environment steps", "learner steps"),
            *("first", "last", "last, the learner's floats", "best"),
        ),
        tuple(rows),
    )


def _costs(records: Sequence[Record]) -> Table:
    rows = []
    for case, kinds in cases_of(records).items():
        for kind, runs in kinds.items():
            costs = [cost_rows(run) for run in runs]
            means = [sum(c[phase] for c in costs) / len(costs) for phase in costs[0]]
            cells = (case.title, kind, *(f"{value:.2f}" for value in means), f"{sum(means):.2f}")
            rows.append(cells)
    return Table(
        "Where an actor's time goes, CPU ms for 1,000 environment steps",
        "CPU time of the actors' processes, shared out as their wall time without waiting is. A "
        "policy is read where it lies in the object store: there is nothing to deserialise.",
        ("case", "actors", *cost_rows(records[0]), "sum"),
        tuple(rows),
    )


def _speed_ups(gains: Sequence[SpeedUp]) -> Table:
    rows = []
    for gain in gains:
        reached = ("not stated", "")
        if gain.threshold is not None:
            found = (gain.threshold_cpu, gain.threshold_wall)
            reached = tuple("not reached by all" if r is None else r.text for r in found)  # type: ignore[assignment]
        rows.append(
            (
                gain.case.title,
                gain.kind,
                gain.collection.text,
                gain.fixed_steps_cpu.text,
                gain.fixed_steps_cpu_raw.text,
                f"{gain.fixed_steps_wall.text}; {gain.predicted_wall:.2f}",
                *reached,
                f"{_with_interval(gain.final_int8)} / {_with_interval(gain.final_other)}",
            )
        )
    return Table(
        "What int8 actors gain: three numbers that are never mixed",
        "Each is what the other kind takes over what int8 takes, with the 95 % interval of the "
        "seeds. Fixed steps: CPU of learner and actors, first with the learner's counted as equal "
        "(a learner that waits spends a little); wall time beside what the formula max(actors' "
        "step, learner's step) predicts from the CPU costs. Threshold: the first judged policy, as "
        "the actors play it, that reaches the return stated before.",
        (
            *("case", "against", "data collection", "fixed steps, CPU", "the same as spent"),
            *("fixed steps, wall; predicted", "threshold, CPU", "threshold, wall"),
            "last return, int8 / other",
        ),
        tuple(rows),
    )


def _widths(measured: Measured) -> Table:
    costs, worth = measured.costs, break_even(measured.costs)
    names = list(dict.fromkeys(cost.candidate for cost in costs))
    rows = []
    for width in sorted({cost.width for cost in costs}):
        steps = {c.candidate: c.step_us for c in costs if c.width == width}
        ours = steps["int8"]
        rows.append(
            (f"3 x {width}", *(f"{1e6 / steps[n]:,.0f} ({steps[n] / ours:.1f} x)" for n in names))
        )
    where = "no measured width" if worth is None else f"3 x {worth}"
    return Table(
        f"Break-even width: {measured.env}",
        f"On {measured.machine}. "
        "Environment steps a CPU second of one actor, Ray not counted, and how many times int8's "
        f"cost that is. Worth it (1.1 times the best float) from: {where}. torch's distance at "
        "small widths is the price of a call, not of arithmetic.",
        ("width", *names),
        tuple(rows),
    )


def _by_actors(records: Sequence[Record]) -> list[Table]:
    """Return what several actors collected, of runs that differ in their number; none where no runs
    do.
    """
    rows = []
    for runs in by_actors(records):
        few = runs[0]
        rows += [
            (
                *(run.case.name, run.kind, f"{run.case.actors}", f"{run.steps_per_s:,.0f}"),
                f"{run.steps_per_s / few.steps_per_s:.2f}",
                f"{run.steps_per_cpu_s:,.0f}",
            )
            for run in runs
        ]
    note = (
        "Environment steps a second of all actors together, their calls to the store included, "
        "where the learner waits for nobody; all processes of the run share the processors."
    )
    head = ("case", "actors", "number", "steps a second", "times the fewest", "a CPU second")
    return [Table("How much several actors collect", note, head, tuple(rows))] if rows else []


def _saturation(records: Sequence[Record]) -> Table:
    rows = []
    for case, kinds in cases_of(records).items():
        for kind, runs in kinds.items():
            costs = costs_of(runs[0], runs[0].batches_a_call)
            limits, halved = limits_of(costs), limits_of(costs, shards=2)
            rows.append(
                (
                    *(case.title, kind, f"{1 / costs.step_s:,.0f}"),
                    f"{costs.steps_per_learner_step / costs.learner_step_s:,.0f}",
                    f"{limits.learner:.1f}",
                    f"{limits.store:.0f}; {halved.store:.0f}",
                    f"{limits.network:.0f}",
                    limits.first,
                )
            )
    return Table(
        "How many actors a run can use (a model fitted to these costs)",
        "From this number of actors on, each on a core of its own, the part is full. The store "
        "with "
        "one shard and with two; the network at 10 Gbit/s with one actor a node.",
        (
            *("case", "actors", "steps/s of an actor", "steps/s the learner needs", "learner"),
            *("store; two shards", "network", "full first"),
        ),
        tuple(rows),
    )


def _runs(records: Sequence[Record]) -> Table:
    rows = [
        (
            r.folder.name,
            r.kind,
            r.case.processor,
            f"{r.env_steps:,}",
            f"{r.learner.steps:,}",
            f"{r.wall_s:.0f}",
            f"{r.learner.cpu_s:.0f} + {r.actors_cpu_s:.0f} + {r.store.cpu_s:.0f}",
            f"{r.learner.bytes_sent / 1e6:,.1f}",
            f"{r.ages.mean:.1f}; {r.ages.largest}; {r.ages.refused}",
            f"{r.compared:,}; {r.differing}",
        )
        for r in records
    ]
    return Table(
        "The runs",
        "Age: learner steps that the policy lay behind which made a transition; mean, largest, and "
        "rows refused because it was beyond the bound. Outputs: compared with the NumPy reference, "
        "and of them differing.",
        (
            *("run", "actors", "machine", "environment steps", "learner steps", "wall s"),
            *("CPU s: learner + actors + store", "MB published", "age of policies", "int8 outputs"),
        ),
        tuple(rows),
    )


def _with_interval(found: tuple[float, float]) -> str:
    mean, half = found
    return f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}"
