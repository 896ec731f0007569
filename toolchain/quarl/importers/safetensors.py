"""Safetensors files: tensors by name, with nothing but numbers in them.

In: a file. Out: a `Policy`, where its names are those of CleanRL's scripts, of a robot trainer, or
of a chain of Linear layers. Format: 8 bytes of length, a JSON header, the numbers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.files.open import read_file
from quarl.graph.policy import Policy
from quarl.importers.cleanrl import read_tensors
from quarl.importers.options import ImportOptions

MAX_HEADER_BYTES = 1 << 22
LENGTH_BYTES = 8
MAX_RANK = 8
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read_safetensors(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in a safetensors file; errors as `importers.read_policy`."""
    return read_tensors(path, tensors_in(path), options)


def tensors_in(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors by name, read-only.

    Raises:
        InputError: damaged.
        UnsupportedError: a number type that NumPy lacks.
        UntrustedFileError: sizes that do not fit the bytes.
    """
    content = read_file(path)
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    if length > min(MAX_HEADER_BYTES, len(content) - LENGTH_BYTES):
        raise UntrustedFileError(
            f"{path.name}: claims a header of {length:,} bytes: it was cut off or changed on the "
            "way, copy it again"
        )
    try:
        header = json.loads(content[LENGTH_BYTES : LENGTH_BYTES + length])
        entries = {str(key): entry for key, entry in header.items() if key != "__metadata__"}
        body = memoryview(content)[LENGTH_BYTES + length :]
        return {key: _tensor(path, key, entry, body) for key, entry in entries.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path.name}: its header is damaged ({error!r}): copy or save the file again"
        ) from error


def _tensor(path: Path, key: str, entry: Any, body: memoryview) -> NDArray[Any]:
    if entry["dtype"] not in DTYPES:
        raise UnsupportedError(
            f"{path.name}: {key} holds {str(entry['dtype'])[:20]} numbers: save the weights in "
            "float32"
        )
    dtype = np.dtype(DTYPES[entry["dtype"]])
    first, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    is_whole = all(type(n) is int and n >= 0 for n in (first, end, *shape))
    if not is_whole or len(shape) > MAX_RANK:
        raise ValueError(f"{key} has the shape {shape} at {first} to {end}")
    if not first <= end <= len(body) or end - first != math.prod(shape) * dtype.itemsize:
        raise UntrustedFileError(
            f"{path.name}: {key} claims {math.prod(shape):,} numbers at {first:,} to {end:,} of "
            f"{len(body):,} bytes: the file is damaged or forged"
        )
    return np.frombuffer(body[first:end], dtype).reshape(shape)
