"""NumPy archives as data: read within bounds and never unpickled, written so that the same arrays
give the same bytes.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from quarl.errors import InputError, UntrustedFileError
from quarl.files.archives import MAX_RATIO, Archive

MAX_ARRAY_BYTES = 1 << 30
MAX_HEADER_BYTES = 1 << 16  # NumPy reads headers of 10,000
PLAIN_KINDS = "biuf"
# stacked frames of a game shrink by 250 and more; 1,032 is the most that deflate can do
FRAMES_RATIO = 1_100
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's own beginning of time: no clock in an artifact
# What NumPy raises on headers that are not the Python literal they should be.
_BAD_HEADER = (
    ValueError,
    TypeError,
    LookupError,
    SyntaxError,
    ArithmeticError,
    RecursionError,
    MemoryError,
    TokenError,
)


def read_npz(path: Path, *, max_ratio: int = MAX_RATIO) -> dict[str, NDArray[Any]]:
    """Return every array of an `.npz` file by name.

    Args:
        max_ratio: how many times its size a member may unpack to; `FRAMES_RATIO` where observations
            are expected.
    Raises:
        InputError: no such file, not an `.npz`, or damaged.
        UntrustedFileError: it holds objects that would have to be unpickled, or claims too much
            memory.
    """
    with Archive(path, max_ratio=max_ratio) as archive:
        return _arrays_in(archive, str(path))


def npz_arrays(data: bytes, where: str, *, max_ratio: int = MAX_RATIO) -> dict[str, NDArray[Any]]:
    """Return every array in the bytes of an `.npz` file; `where` names it. Errors as `read_npz`."""
    with Archive(data, where, max_ratio=max_ratio) as archive:
        return _arrays_in(archive, where)


def _arrays_in(archive: Archive, where: str) -> dict[str, NDArray[Any]]:
    members = sorted(archive.names)
    if not members or not all(name.endswith(".npy") for name in members):
        raise InputError(
            f"{where}: holds {', '.join(members[:5]) or 'nothing'}, an .npz holds .npy "
            "arrays: give a file made by numpy.savez"
        )
    return {
        name.removesuffix(".npy"): parse_npy(
            archive.read_buffer(name, MAX_ARRAY_BYTES), f"{archive.name}: {name}"
        )
        for name in members
    }


def parse_npy(data: bytes | bytearray, where: str) -> NDArray[Any]:
    """Return the array in the bytes of an `.npy` file; its header is checked against the bytes that
    are there before memory is taken.

    Raises:
        InputError: not an array of whole or real numbers, or cut off.
        UntrustedFileError: objects that would have to be unpickled.
    """
    stream = io.BytesIO(memoryview(data)[:MAX_HEADER_BYTES])
    try:
        version = npy.read_magic(stream)
        header = (
            npy.read_array_header_1_0(stream)
            if version == (1, 0)
            else npy.read_array_header_2_0(stream)
        )
        shape, is_fortran, dtype = header
        if dtype.hasobject:
            raise UntrustedFileError(
                f"{where}: holds Python objects, which would have to be unpickled: save plain "
                "numbers"
            )
        if dtype.kind not in PLAIN_KINDS or dtype.shape:
            raise InputError(
                f"{where}: holds {dtype}, only plain numbers (integers, floats, booleans) are "
                "read: save those"
            )
        claimed, there = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
        if claimed != there:
            raise InputError(
                f"{where}: claims {claimed:,} bytes of numbers, {there:,} are there: it was "
                "cut off or changed"
            )
        if any(type(length) is not int or length < 0 for length in shape):
            raise ValueError(f"shape {shape}")
        array: NDArray[Any] = np.zeros(shape if not claimed else 0, dtype)
        if claimed:
            flat = np.frombuffer(data, dtype, math.prod(shape), stream.tell())
            array = flat.reshape(shape, order="F" if is_fortran else "C")
    except _BAD_HEADER as error:
        raise InputError(
            f"{where}: not a NumPy array ({error}): save it with numpy.savez"
        ) from error
    # a file's own memory is used where it can be: an array is written to, and starts where it must
    return array if isinstance(data, bytearray) and array.flags.aligned else array.copy("K")


def npz_bytes(arrays: Mapping[str, NDArray[Any]], *, compress: bool = True) -> bytes:
    """Return the bytes of an `.npz` file, arrays in sorted order, without clock or path."""
    return bytes(npz_buffer(arrays, compress=compress))


def npz_buffer(arrays: Mapping[str, NDArray[Any]], *, compress: bool = True) -> memoryview:
    """Return the same without a copy, for arrays that take much of the memory there is."""
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    ) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            npy.write_array(member, np.asarray(arrays[name], order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.compress_type = archive.compression
            archive.writestr(info, member.getbuffer())
            del member
    return out.getbuffer()
