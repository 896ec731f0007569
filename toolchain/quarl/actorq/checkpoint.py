"""Checkpoints of a run: all that it needs to go on, in one folder that is whole or not there.

In: a learner's state, and whoever writes the replay beside it. Out: RUN/checkpoints/STEP. The
newest one is kept. Nothing is unpickled: torch reads tensors and plain numbers only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.fill import Ranges
from quarl.errors import InputError, QuarlError
from quarl.files.open import open_file, read_file
from quarl.files.text import shortened

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
    """Return the learner's state of a checkpoint.

    Raises:
        InputError: the file is not one; what it holds is the caller's to check.
    """
    import torch

    path = folder / LEARNER_FILE
    with damaged(path), open_file(path) as file:
        state: dict[str, Any] = torch.load(file, weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"holds a {type(state).__name__}")
        return state


def read_rows(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the rows [n] of a type that `numpy.save` has written.

    Raises:
        InputError: the file is cut off, or holds something else.
    """
    with damaged(path):
        read_file(path)  # no link to a device, no pipe, and no larger than any file that is read
        rows = np.load(path, mmap_mode="r", allow_pickle=False)  # takes no memory that it claims
        if rows.dtype != dtype or rows.ndim != 1:
            raise ValueError(f"holds {rows.dtype} {rows.shape}")
        return np.array(rows)


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn what NumPy and torch raise on a file that is not what was saved into one message."""
    try:
        yield
    except QuarlError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: is not part of a checkpoint ({shortened(reason)}): remove the run's "
            f"{FOLDER}, or start again in another folder"
        ) from error


def ranges_state(ranges: Ranges | None) -> list[torch.Tensor]:
    """Return the ranges as tensors; none where nothing was seen."""
    import torch

    if ranges is None:
        return []
    return [torch.from_numpy(values.copy()) for values in (ranges.low, ranges.high, ranges.peaks)]


def ranges_from(state: list[torch.Tensor]) -> Ranges | None:
    """Return the ranges of a state."""
    return Ranges(*(np.array(values.numpy()) for values in state)) if state else None
