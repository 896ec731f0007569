"""The statistics in a pickle of VecNormalize, read as data: nothing in it is loaded or run.

In: the bytes of the pickle. Out: mean, variance, epsilon and clip. Objects in it become names with
attributes; only arrays of plain numbers are given a meaning.
Source: stable_baselines3.common.vec_env.VecNormalize.save; numpy.ndarray.__reduce__.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, QuarlError, UnsupportedError
from quarl.files.open import read_file
from quarl.graph.contract import Normalizer
from quarl.importers.torch.pickle import Machine

MAX_PICKLE_BYTES = 1 << 24
MAX_RANK = 8
PICKLE_MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(eq=False)
class _Object:
    """Something of a class: what it was made with, and its attributes."""

    kind: str
    arguments: Any = ()
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Name:
    name: str


class _Meanings:
    """Objects stay what they are called; arrays are taken apart later, by `_array`."""

    def named(self, module: str, name: str) -> _Name:
        """Return the name."""
        return _Name(f"{module}.{name}")

    def called(self, function: object, arguments: object) -> Any:
        """Return what a call stands for; text that was written as letters is bytes again."""
        kind = function.name if isinstance(function, _Name) else "?"
        if kind == "_codecs.encode" and isinstance(arguments, tuple):
            return str(arguments[0]).encode("latin-1", "replace")
        if kind == "collections.OrderedDict" and arguments in ((), ([],)):
            return {}
        return _Object(kind, arguments)

    def stored(self, reference: object) -> Any:
        """Return nothing: such a pickle keeps nothing beside itself."""
        raise ValueError("it refers to a file beside it")

    def built(self, value: Any, state: Any) -> None:
        """Keep the attributes of an object."""
        if not isinstance(value, _Object):
            raise ValueError(f"attributes of a {type(value).__name__}")
        value.attributes.update(state if isinstance(state, dict) else {"": state})


def is_pickle(path: Path) -> bool:
    """Whether the file begins as a pickle does."""
    return read_file(path)[:2] in PICKLE_MAGIC


def read_vecnormalize(path: Path) -> Normalizer:
    """Return the statistics in a pickle that VecNormalize saved.

    Raises:
        InputError: it holds something else, or observations were not normalised.
        UnsupportedError: the statistics of a Dict of observations.
        UntrustedFileError: an instruction that such a pickle does not need.
    """
    try:
        found = Machine(path.name, _Meanings()).run(read_file(path, MAX_PICKLE_BYTES))
        return _normalizer(path, found)
    except QuarlError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(
            f"{path.name}: is not a pickle of VecNormalize ({error}): give the file written by "
            "VecNormalize.save, or an .npz with mean, var, epsilon, clip_obs"
        ) from error


def _normalizer(path: Path, found: Any) -> Normalizer:
    if not isinstance(found, _Object) or not found.kind.endswith(".VecNormalize"):
        kind = found.kind if isinstance(found, _Object) else type(found).__name__
        raise InputError(
            f"{path.name}: holds a {kind[:60]}, the file written by VecNormalize.save is needed"
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
    mean, var = (_array(running.attributes[name]) for name in ("mean", "var"))
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


def _array(value: Any) -> NDArray[np.float64]:
    """Return the numbers of an array, as `ndarray.__reduce__` writes one."""
    if value.kind.endswith("._frombuffer"):
        data, dtype, shape, order = value.arguments
    else:
        _, shape, dtype, is_fortran, data = value.attributes[""]
        order = "F" if is_fortran else "C"
    kind = np.dtype(str(dtype.arguments[0]))
    if dtype.attributes[""][1] == ">":
        kind = kind.newbyteorder(">")
    is_plain = kind.kind in "fiu" and len(shape) <= MAX_RANK
    if not is_plain or len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"an array of {kind} {shape} with {len(data)} bytes")
    return np.frombuffer(data, kind).reshape(shape, order=order).astype(np.float64)
