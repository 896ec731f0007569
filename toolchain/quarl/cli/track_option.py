"""The option that names a tracker of experiments."""

from __future__ import annotations

from typing import Annotated

import typer


def _known(tracker: str | None) -> str | None:
    from quarl.verdict.tracking import check_tracker

    if tracker is not None:
        check_tracker(tracker)
    return tracker


TrackOption = Annotated[
    str | None,
    typer.Option(
        "--track",
        metavar="mlflow|wandb",
        callback=_known,
        help="Also add the verdict to this tracker of experiments, as one run.",
    ),
]
