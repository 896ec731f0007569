"""Who computes: this process, processes of this machine, or the nodes of a Ray cluster.

In: a function of this package and its arguments, one call each: cells of a study, parts of a
parity's episodes. Out: what each call returned, as it comes in. The numbers do not depend on who
computes: the seeds of a call are its own.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Workers(Protocol):
    """Runs calls, some of them at the same time."""

    def run(self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """Yield what function(*call) returned for each call, in any order."""


class Here:
    """This process, one call after the other."""

    def run(self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """Yield in the order of the calls."""
        for call in calls:
            yield function(*call)


class Processes:
    """Processes of this machine, each with one thread."""

    def __init__(self, count: int) -> None:
        self._count = count

    def run(self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """Yield as they come in; an interrupt ends the processes."""
        if not calls:
            return
        context = multiprocessing.get_context("spawn")  # torch and its threads do not fork
        with context.Pool(min(self._count, len(calls)), _one_thread) as pool:
            yield from pool.imap_unordered(_Spread(function), calls)


class Nodes:
    """The nodes of a Ray cluster; each call is a task of one processor."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def run(self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """Yield as they come in; a task whose node dies is tried again by Ray."""
        task = self._ray.remote(num_cpus=1, max_retries=3)(function)
        waiting = [task.remote(*call) for call in calls]
        while waiting:
            ready, waiting = self._ray.wait(waiting, num_returns=1)
            yield from self._ray.get(ready)


class _Spread:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, call: tuple[Any, ...]) -> Any:
        return self._function(*call)


@contextmanager
def open_workers(count: int | None, ray_address: str | None) -> Iterator[Workers]:
    """Give the workers that are asked for.

    Args:
        count: processes of this machine; None: as many as it has processors. 1: this process.
        ray_address: of a cluster, or "local"; None: no Ray.
    Raises:
        ToolMissingError, InputError: as `quarl.workers.cluster.cluster`.
    """
    if ray_address is not None:
        from quarl.workers.cluster import cluster, require_ray

        with cluster(ray_address, 1):
            yield Nodes(require_ray())
        return
    count = count or len(os.sched_getaffinity(0))
    yield Here() if count == 1 else Processes(count)


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
