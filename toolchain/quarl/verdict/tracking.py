"""A verdict for trackers of experiments: MLflow and Weights & Biases.

In: a verdict, and when and where it was given. Out: one run in the tracker: what the bundle is as
parameters, each figure as a metric, the answer as a tag. Where the run goes is the tracker's own
setting: MLFLOW_TRACKING_URI, WANDB_MODE=offline, WANDB_PROJECT and so on.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.files.tables import did_you_mean
from quarl.verdict.history import Occasion
from quarl.verdict.verdict import Verdict

PROJECT = "quarl"  # of W&B, where the user names none


def track(tracker: str, verdict: Verdict, occasion: Occasion) -> None:
    """Add the verdict to a tracker as one run.

    Args:
        tracker: "mlflow" or "wandb".
    Raises:
        InputError: another tracker.
        ToolMissingError: the tracker's package is not installed.
        DeviceError: the tracker refuses the run; carries its words.
    """
    check_tracker(tracker)
    try:
        module = importlib.import_module(tracker)
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"--track {tracker} needs the Python package {tracker}: pip install {tracker}"
        ) from error
    try:
        TRACKERS[tracker](module, verdict, occasion)
    except Exception as error:  # whatever a tracker raises, it is not a defect of quarl
        first = str(error).partition("\n")[0]
        raise DeviceError(f"--track {tracker}: {type(error).__name__}: {first}") from error


def check_tracker(tracker: str) -> None:
    """Check, before any work, that there is such a tracker.

    Raises:
        InputError: there is none; names the closest.
    """
    if tracker not in TRACKERS:
        known = ", ".join(TRACKERS)
        raise InputError(
            f"--track {tracker}: must be one of {known}{did_you_mean(tracker, TRACKERS)}"
        )


def metrics_of(verdict: Verdict) -> dict[str, float]:
    """Return each figure by the name of its check, and 1 or 0 for whether the release may go."""
    figures = {c.name: float(c.found) for c in verdict.checks if c.found is not None}
    return {**figures, "may_ship": float(verdict.may_ship)}


def parameters_of(verdict: Verdict, occasion: Occasion) -> dict[str, str]:
    """Return what was judged, as text."""
    return {
        "policy": verdict.policy,
        "board": occasion.board or "none",
        "rung": "none" if occasion.rung is None else str(occasion.rung),
        "manifest_sha256": occasion.manifest_sha256,
        "commit": occasion.commit or "none",
        "host": occasion.host,
        "quarl": occasion.version,
        "answer": verdict.answer.value,
    }


def _mlflow(mlflow: Any, verdict: Verdict, occasion: Occasion) -> None:
    with mlflow.start_run(run_name=f"quarl {verdict.policy}"):
        mlflow.log_params(parameters_of(verdict, occasion))
        mlflow.log_metrics(metrics_of(verdict))
        mlflow.set_tag("quarl.answer", verdict.answer.value)


def _wandb(wandb: Any, verdict: Verdict, occasion: Occasion) -> None:
    run = wandb.init(
        project=_own_project(),
        name=f"quarl {verdict.policy}",
        config=parameters_of(verdict, occasion),
    )
    run.log(metrics_of(verdict))
    run.finish()


def _own_project() -> str | None:
    return None if os.environ.get("WANDB_PROJECT") else PROJECT


TRACKERS: Mapping[str, Callable[[Any, Verdict, Occasion], None]] = {
    "mlflow": _mlflow,
    "wandb": _wandb,
}
"""Name of the tracker, and of its package -> what adds a run."""
