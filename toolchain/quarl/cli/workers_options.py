"""Options that say who plays the episodes.

Goes in: the words of a command line. Comes out: workers.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quarl.workers import Workers

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Processes that play episodes; default: one for each processor where it takes long. "
        "The numbers do not depend on it.",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="A Ray cluster plays: HOST:PORT, auto, or local to start one.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class WorkersOptions:
    """Who plays the episodes."""

    workers: WorkersOption = None
    ray: RayOption = None

    def open_workers(self) -> AbstractContextManager[Workers]:
        """Return the workers, for as long as the block lasts."""
        from quarl.cli.progress import say
        from quarl.workers import open_workers

        return open_workers(self.workers, self.ray, say, patient=True)
