"""Observation statistics: read from `.npz`, or from the pickle that VecNormalize saves.

An `.npz` holds `mean` and `var` (one number per feature), `epsilon` and `clip_obs`. Both are read
within bounds, and nothing in them is run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.files.archives import Archive
from quarl.files.atomic import write_whole
from quarl.files.npz import npz_bytes, parse_npy
from quarl.graph.contract import Normalizer
from quarl.sources.pickled_statistics import is_pickle, read_vecnormalize

FIELDS = ("mean", "var", "epsilon", "clip_obs")
MAX_FIELD_BYTES = 1 << 20


def read_normalizer(path: Path) -> Normalizer:
    """Return the statistics in an `.npz` with `mean`, `var`, `epsilon` and `clip_obs`, or in a
    pickle of VecNormalize, which is read as data.

    Raises:
        InputError: no such file, no `.npz`, a field is missing or not numeric, or its values make
            no sense.
        UntrustedFileError: a field claims more than `MAX_FIELD_BYTES`, or holds Python objects.
    """
    if is_pickle(path):
        return read_vecnormalize(path)
    with Archive(path) as archive:
        missing = [field for field in FIELDS if f"{field}.npy" not in archive.names]
        if missing:
            raise InputError(
                f"{path.name}: lacks {', '.join(missing)}; --obs-norm needs an .npz with "
                f"{', '.join(FIELDS)}"
            )
        mean, var, epsilon, clip_obs = (_numbers(archive, field) for field in FIELDS)
    if mean.ndim != 1 or var.shape != mean.shape or epsilon.size != 1 or clip_obs.size != 1:
        raise InputError(
            f"{path.name}: mean {mean.shape}, var {var.shape}, epsilon {epsilon.shape}, "
            f"clip_obs {clip_obs.shape}: "
            "mean and var need one number per feature, epsilon and clip_obs one number"
        )
    return Normalizer(
        tuple(mean.tolist()),
        tuple(var.tolist()),
        float(epsilon.ravel()[0]),
        float(clip_obs.ravel()[0]),
    )


def write_normalizer(path: Path, normalizer: Normalizer) -> None:
    """Write the statistics as `read_normalizer` reads them; the file appears complete or not at
    all.

    Raises:
        InputError: it cannot be written there.
    """
    values = (normalizer.mean, normalizer.var, normalizer.epsilon, normalizer.clip_obs)
    write_whole(
        path,
        npz_bytes(
            {
                field: np.array(value, np.float64)
                for field, value in zip(FIELDS, values, strict=True)
            }
        ),
    )


def convert_vecnormalize(pickle_path: Path, out: Path) -> Normalizer:
    """Return, and write to `out`, the statistics in a pickle saved by VecNormalize.

    Raises:
        InputError, UnsupportedError, UntrustedFileError: as `read_vecnormalize`.
    """
    normalizer = read_vecnormalize(pickle_path)
    write_normalizer(out, normalizer)
    return normalizer


def _numbers(archive: Archive, field: str) -> NDArray[np.float64]:
    values = parse_npy(archive.read(f"{field}.npy", MAX_FIELD_BYTES), f"{archive.name}: {field}")
    if values.dtype.kind not in "fiu":
        raise InputError(f"{archive.name}: {field} holds {values.dtype}, numbers are needed")
    return values.astype(np.float64)
