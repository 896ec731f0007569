"""HDF5 as a source of plain numbers and names. The HDF5 library runs in a process of its own:
`hdf5_worker`.

In: a path or the bytes of an HDF5 file. Out: float32 arrays and strings by place. Links that lead
elsewhere, references, filters and arrays kept outside the file are refused: Keras writes none of
them. Chainer shrinks its arrays, by deflate alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import DeviceError, InputError, QuarlError, UnsupportedError, UntrustedFileError
from quarl.files.open import read_file
from quarl.importers.hdf5_worker import FILE_IS_BAD, MAX_ARRAY_BYTES, WHOLE
from quarl.tools import ONE_THREAD, own_module, run

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Hdf5File:
    """The names and numbers of an HDF5 file; `name` stands in the messages."""

    name: str
    texts: dict[str, dict[str, list[str] | str]]  # place -> attribute -> value
    index: dict[
        str, dict[str, Any]
    ]  # place -> shape and offset of an array, or why it was not read
    content: memoryview

    def text(self, place: str, attribute: str) -> str | None:
        """Return a string attribute, None where there is none."""
        value = self.texts.get(place, {}).get(attribute)
        return value if isinstance(value, str) else None

    def list_of_texts(self, place: str, attribute: str) -> tuple[str, ...]:
        """Return an attribute that lists names; empty where there is none."""
        value = self.texts.get(place, {}).get(attribute, ())
        return (value,) if isinstance(value, str) else tuple(value)

    def array(self, place: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the float32 array at `place`.

        Raises:
            InputError: there is none, or its shape is not `shape`.
            UnsupportedError: its numbers are not float32, or it is stored compressed.
            UntrustedFileError: it claims more than the file holds or than the limit, or lies
                outside the file.
        """
        found = self.index.get(place)
        if found is None:
            raise InputError(
                f"{self.name}: {place} is missing: the file is incomplete, save the model again"
            )
        if "refused" in found:
            raise self._refusal(place, found)
        if tuple(found["shape"]) != shape:
            held = tuple(found["shape"])
            raise InputError(
                f"{self.name}: {place} has shape {held}, its layer needs {shape}: the file is "
                "inconsistent, save the model again"
            )
        values = np.frombuffer(self.content, "<f4", math.prod(shape), found["offset"])
        return values.reshape(shape).astype(np.float32)

    def _refusal(self, place: str, found: dict[str, Any]) -> QuarlError:
        match found["refused"]:
            case "link":
                return UntrustedFileError(
                    f"{self.name}: {place} is a link to somewhere else: save the model again "
                    "as one file"
                )
            case "outside":
                return UntrustedFileError(
                    f"{self.name}: {place} takes its numbers from another file: save the "
                    "model again as one file"
                )
            case "size":
                return UntrustedFileError(
                    f"{self.name}: {place} claims {found['claimed']:,} bytes, at most "
                    f"{MAX_ARRAY_BYTES:,} are read"
                )
            case "missing":
                claimed, held = found["claimed"], found["held"]
                return UntrustedFileError(
                    f"{self.name}: {place} claims {claimed:,} bytes, the file holds {held:,} "
                    "of them: copy it again"
                )
            case "filter":
                return UnsupportedError(
                    f"{self.name}: {place} is stored compressed, which neither Keras nor rl_tools "
                    "does: load the model and save it again"
                )
        return UnsupportedError(
            f"{self.name}: {place} holds {found['found']}, only float32 is carried over: save "
            "the model in float32"
        )


def open_hdf5(source: Path | bytes, name: str, *, whole: bool = False) -> Hdf5File:
    """Return the names and numbers of a file.

    Args:
        whole: read all of it, instead of the groups of Keras and rl_tools.
    Raises:
        InputError: not an HDF5 file, cut off, or made so that the HDF5 library fails or does not
            end.
    """
    content = read_file(source) if isinstance(source, Path) else source
    damaged = (
        f"{name}: not a complete HDF5 file: it was cut off or changed on the way, copy it again"
    )
    try:
        worker = run(
            [*own_module("quarl.importers.hdf5_worker"), *([WHOLE] if whole else [])],
            input=content,
            timeout=TIMEOUT_S,
            env=ONE_THREAD,
        )
    except DeviceError as error:
        raise InputError(
            f"{name}: was not read within {TIMEOUT_S:g} s: this machine is too busy, or the file "
            "was made so that reading does not end: try again when less runs"
        ) from error
    length = int.from_bytes(worker.stdout[:8], "little")
    words = " ".join(worker.stderr.decode("utf-8", "replace").strip().splitlines()[-1:])
    if worker.returncode > 0 and worker.returncode != FILE_IS_BAD:
        raise DeviceError(
            f"{name}: the process that reads HDF5 files failed: {words}. It needs about 1 GiB of "
            "address space: see ulimit -v"
        )
    if worker.returncode or len(worker.stdout) < 8 + length:
        raise InputError(f"{damaged} ({words})" if words else damaged)
    index = json.loads(worker.stdout[8 : 8 + length])
    return Hdf5File(name, index["texts"], index["arrays"], memoryview(worker.stdout)[8 + length :])
