"""Who computes: this process, processes of this machine, or the nodes of a Ray cluster.

In: a function of this package and its arguments, one call each: cells of a study, shares of a
parity's episodes. Out: what each call returned, as it comes in. The numbers do not depend on who
computes: the seeds of a call are its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from quarl.workers.processors import only_one, processors

__all__ = ["HERE", "Here", "Nodes", "Workers", "open_workers"]

T = TypeVar("T")
PATIENCE_S = 3.0  # work that ends sooner is not worth starting processes for


class Workers(Protocol):
    """Runs calls, some of them at the same time."""

    @property
    def count(self) -> int:
        """How many calls run at the same time."""

    @property
    def patience_s(self) -> float:
        """How long work may be tried in this process before the workers are asked."""

    def waited(self, seconds: float) -> None:
        """Take in that work was tried here for so long."""

    def run(
        self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]
    ) -> Generator[T, None, None]:
        """Yield what function(*call) returned for each call, in any order; they begin in that of
        the calls. What is not done when the generator is closed is given up.
        """


class Here:
    """This process, one call after the other."""

    count = 1
    patience_s = 0.0

    def waited(self, seconds: float) -> None:
        """Nothing comes of it."""

    def run(
        self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]
    ) -> Generator[T, None, None]:
        """Yield in the order of the calls."""
        for call in calls:
            yield function(*call)


HERE = Here()


class Nodes:
    """The nodes of a Ray cluster; each call is a task of one processor."""

    patience_s = 0.0

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    @property
    def count(self) -> int:
        """The processors of the cluster as it is now."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def waited(self, seconds: float) -> None:
        """Nothing comes of it."""

    def run(
        self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]
    ) -> Generator[T, None, None]:
        """Yield as they come in; a task whose node dies is tried again by Ray."""
        task = self._ray.remote(num_cpus=1, max_retries=3)(_alone)
        waiting = [task.remote(function, call) for call in calls]
        try:
            while waiting:
                ready, waiting = self._ray.wait(waiting, num_returns=1)
                yield from self._ray.get(ready)
        finally:
            for left in waiting:
                self._ray.cancel(left)


def _alone(function: Callable[..., T], call: tuple[Any, ...]) -> T:
    only_one()
    return function(*call)


@contextmanager
def open_workers(
    count: int | None,
    ray_address: str | None,
    tell: Callable[[str], None] = lambda line: None,
    *,
    patient: bool = False,
) -> Iterator[Workers]:
    """Give the workers that are asked for; they end with the block.

    Args:
        count: processes of this machine; None: as many as it has processors. 1: this process.
        ray_address: of a cluster, or "local"; None: no Ray.
        tell: told when a process has died and its work is done again.
        patient: short work is done in this process, where no count is given.
    Raises:
        ToolMissingError, InputError: as `quarl.workers.cluster.cluster`.
    """
    if ray_address is not None:
        from quarl.workers.cluster import cluster, require_ray

        with cluster(ray_address, 1):
            yield Nodes(require_ray())
        return
    wanted = count or processors()
    if wanted == 1 or not hasattr(os, "fork"):  # Windows hands no pipe on to a child
        yield HERE
        return
    from quarl.workers.processes import Processes  # costs what the start of every verb would pay

    patience_s = PATIENCE_S if patient and count is None else 0.0
    workers = Processes(wanted, patience_s, tell)
    try:
        yield workers
    finally:
        workers.close()
