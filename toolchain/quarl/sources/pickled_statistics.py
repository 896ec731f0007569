"""The statistics in a pickle of VecNormalize, read as data: nothing in it is loaded or run.

In: the bytes of the pickle. Out: mean, variance, epsilon and clip. Objects in it become names with
attributes; only arrays of plain numbers are given a meaning.
Source: stable_baselines3.common.vec_env.VecNormalize.save; numpy.ndarray.__reduce__.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quarl.errors import InputError, UnsupportedError
from quarl.files.open import open_file, read_file
from quarl.graph.contract import Normalizer
from quarl.importers.torch.objects import ObjectMeanings, Thing, array_of, other_contents
from quarl.importers.torch.pickle import Machine

MAX_PICKLE_BYTES = 1 << 24
PICKLE_MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def is_pickle(path: Path) -> bool:
    """Whether the file begins as a pickle does."""
    with open_file(path) as file:
        return file.read(2) in PICKLE_MAGIC


def read_vecnormalize(path: Path) -> Normalizer:
    """Return the statistics in a pickle that VecNormalize saved.

    Raises:
        InputError: it holds something else, or observations were not normalised.
        UnsupportedError: the statistics of a Dict of observations.
        UntrustedFileError: an instruction that such a pickle does not need.
    """
    with other_contents(
        path.name,
        "is not a pickle of VecNormalize",
        "give the file written by VecNormalize.save, or an .npz with mean, var, epsilon, clip_obs",
    ):
        found = Machine(path.name, ObjectMeanings()).run(read_file(path, MAX_PICKLE_BYTES))
        return _normalizer(path, found)


def _normalizer(path: Path, found: Any) -> Normalizer:
    if not isinstance(found, Thing) or not found.kind.endswith(".VecNormalize"):
        kind = found.kind if isinstance(found, Thing) else type(found).__name__
        raise InputError(
            f"{path.name}: holds a {kind[:60]}, the file written by VecNormalize.save is needed, "
            "or an .npz with mean, var, epsilon, clip_obs"
        )
    values = found.attributes
    if not values.get("norm_obs", True):
        raise InputError(
            f"{path.name}: normalises rewards only: import the policy with --no-obs-norm"
        )
    running = values["obs_rms"]
    if isinstance(running, dict):
        raise UnsupportedError(
            f"{path.name}: normalises a Dict of observations, only one vector is carried over"
        )
    mean, var = (array_of(running.attributes[name]) for name in ("mean", "var"))
    if mean.ndim != 1 or var.shape != mean.shape:
        raise UnsupportedError(
            f"{path.name}: normalises observations of shape {mean.shape}, only a vector is "
            "carried over"
        )
    return Normalizer(
        tuple(mean.tolist()),
        tuple(var.tolist()),
        float(values["epsilon"]),
        float(values["clip_obs"]),
    )
