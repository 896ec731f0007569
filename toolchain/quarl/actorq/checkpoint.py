"""Checkpoints of a run: all that it needs to go on, in one folder that is whole or not there.

In: a learner's state, and whoever writes the replay beside it. Out: RUN/checkpoints/STEP. The
newest one is kept. Nothing is unpickled: torch reads tensors and plain numbers only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quarl.actorq.fill import Ranges
from quarl.errors import InputError

if TYPE_CHECKING:
    import torch

LEARNER_FILE, FOLDER = "learner.pt", "checkpoints"


def newest_checkpoint(run: Path) -> Path | None:
    """Return the folder of the newest checkpoint, None where there is none."""
    folder = run / FOLDER
    found = [path for path in folder.glob("*") if path.name.isdecimal()] if folder.is_dir() else []
    return max(found, key=lambda path: int(path.name), default=None)


def write_checkpoint(
    run: Path, step: int, state: dict[str, Any], save_replay: Callable[[Path], None]
) -> Path:
    """Write a checkpoint and remove the ones before it; return its folder.

    Raises:
        InputError: it cannot be written; the one before it is still there.
    """
    import torch

    target = run / FOLDER / f"{step:010d}"
    scratch = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        torch.save(state, scratch / LEARNER_FILE)
        save_replay(scratch)
        if target.exists():  # of a learner that went back to an older one
            shutil.rmtree(target)
        scratch.replace(target)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise InputError(
            f"{target}: the checkpoint cannot be written ({error.strerror or error}): free space; "
            "--resume goes on from the one before"
        ) from error
    for older in (run / FOLDER).glob("*"):
        if older != target:
            shutil.rmtree(older, ignore_errors=True)
    return target


def read_learner(folder: Path) -> dict[str, Any]:
    """Return the learner's state of a checkpoint."""
    import torch

    state: dict[str, Any] = torch.load(folder / LEARNER_FILE, weights_only=True)
    return state


def ranges_state(ranges: Ranges | None) -> list[torch.Tensor]:
    """Return the ranges as tensors; none where nothing was seen."""
    import torch

    if ranges is None:
        return []
    return [torch.from_numpy(values.copy()) for values in (ranges.low, ranges.high, ranges.peaks)]


def ranges_from(state: list[torch.Tensor]) -> Ranges | None:
    """Return the ranges of a state."""
    return Ranges(*(np.array(values.numpy()) for values in state)) if state else None
