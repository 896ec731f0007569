"""Observation statistics: read from `.npz`, or converted once from the pickle VecNormalize saves.

An `.npz` holds `mean` and `var` (one number per feature), `epsilon` and `clip_obs`, and is read
within bounds, without pickle.
A VecNormalize pickle runs code when it is loaded; the conversion therefore asks for trust in so
many words.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, ToolMissingError, UnsupportedError, UntrustedFileError
from quarl.files.archives import Archive
from quarl.files.atomic import write_whole
from quarl.files.npz import npz_bytes, parse_npy
from quarl.files.open import open_file, read_file
from quarl.graph.contract import Normalizer

FIELDS = ("mean", "var", "epsilon", "clip_obs")
MAX_FIELD_BYTES = 1 << 20


def read_normalizer(path: Path) -> Normalizer:
    """Return the statistics in an `.npz` with `mean`, `var`, `epsilon` and `clip_obs`.

    Raises:
        InputError: no such file, no `.npz`, a field is missing or not numeric, or its values make
            no sense.
        UntrustedFileError: a field claims more than `MAX_FIELD_BYTES`, or holds Python objects.
    """
    _refuse_pickle(path)
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


def _refuse_pickle(path: Path) -> None:
    with open_file(path) as file:
        is_pickle = file.read(1) == pickle.PROTO
    if is_pickle:
        raise InputError(
            f"{path.name}: is a pickle, as VecNormalize saves it, and none is loaded here: quarl "
            f"convert-normalizer {path.name} {path.stem}.npz makes the file that --obs-norm takes"
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


def convert_vecnormalize(pickle_path: Path, out: Path, trust: bool) -> Normalizer:
    """Return, and write to `out`, the statistics in a pickle saved by VecNormalize.

    Raises:
        UntrustedFileError: `trust` is false: loading a pickle runs whatever it says.
        ToolMissingError: Stable-Baselines3, whose class the pickle names, is not installed.
        InputError: no pickle of VecNormalize, or observations were not normalised.
    """
    if not trust:
        raise UntrustedFileError(
            f"{pickle_path.name}: is a pickle, and loading one runs whatever code it names: "
            "if you made it yourself or trust who did, "
            "say so with --trust; the .npz it becomes is plain data"
        )
    try:
        from stable_baselines3.common.vec_env import VecNormalize
    except ImportError as error:
        raise ToolMissingError(
            "converting a VecNormalize pickle needs Stable-Baselines3: pip install 'quarl[sb3]'"
        ) from error
    data = read_file(pickle_path)
    try:
        found = pickle.loads(data)  # the user said --trust
    except Exception as error:  # a pickle may raise anything
        raise InputError(
            f"{pickle_path.name}: cannot be loaded ({error!r}): give the file written by "
            "VecNormalize.save"
        ) from error
    if not isinstance(found, VecNormalize):
        raise InputError(
            f"{pickle_path.name}: holds a {type(found).__name__}, the file written by "
            "VecNormalize.save is needed"
        )
    if not found.norm_obs:
        raise InputError(
            f"{pickle_path.name}: normalises rewards only: import the policy with --no-obs-norm"
        )
    if isinstance(found.obs_rms, dict):
        raise UnsupportedError(
            f"{pickle_path.name}: normalises a Dict of observations, only one vector is "
            "carried over"
        )
    mean, var = (
        np.asarray(found.obs_rms.mean, np.float64),
        np.asarray(found.obs_rms.var, np.float64),
    )
    if mean.ndim != 1:
        raise UnsupportedError(
            f"{pickle_path.name}: normalises observations of shape {mean.shape}, only a "
            "vector is carried over"
        )
    normalizer = Normalizer(
        tuple(mean.tolist()), tuple(var.tolist()), float(found.epsilon), float(found.clip_obs)
    )
    write_normalizer(out, normalizer)
    return normalizer


def _numbers(archive: Archive, field: str) -> NDArray[np.float64]:
    values = parse_npy(archive.read(f"{field}.npy", MAX_FIELD_BYTES), f"{archive.name}: {field}")
    if values.dtype.kind not in "fiu":
        raise InputError(f"{archive.name}: {field} holds {values.dtype}, numbers are needed")
    return values.astype(np.float64)
