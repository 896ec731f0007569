"""Costs of a step by width in the environments of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quarl.actorq.measure import StepCost, step_costs
from quarl.actorq.record import Record
from quarl.actorq.run import contract_of
from quarl.actorq.settings import Settings


def measured_in(records: Sequence[Record]) -> Iterator[tuple[str, tuple[StepCost, ...]]]:
    """Yield each environment's name and costs, measured now."""
    seen: set[str] = set()
    for record in records:
        name = " ".join([record.env.registered_id, *map(str, record.env.kwargs.values())])
        if name not in seen:
            seen.add(name)
            settings = Settings(algorithm=record.algorithm)  # type: ignore[arg-type]
            yield name, step_costs(settings, record.env, contract_of(record.env, 1.0))
