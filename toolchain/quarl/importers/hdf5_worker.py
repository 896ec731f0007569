"""The process that opens an HDF5 file, so that a file made to break the HDF5 library breaks nothing
but this process.

In, on stdin: the file. Out, on stdout: the length of an index as 8 bytes, the index as JSON, then
the arrays' bytes.
What an array claims is checked before it is read; why one was not read stands in the index instead.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from quarl.tools import limit_this_process

MAX_TEXT_BYTES = 1 << 24
MAX_NAMES = 10_000
MAX_OBJECTS = 20_000
MAX_DEPTH = 32  # a group may hold itself
MAX_ARRAY_BYTES = 1 << 28
FILE_IS_BAD = 3  # exit code
MEMORY_BYTES = 2 << 30  # address space: libraries, and what a small file may ask for
MEMORY_FACTOR = 6  # times the size of the file
CPU_SECONDS = 5  # before the size of the file
CPU_BYTES_PER_SECOND = 10_000_000
# of Keras, then of rl_tools; the rest is the optimiser's
GROUPS = ("layers", "model_weights", "actor", "example")
WHOLE = "whole"  # all groups
DEFLATE = 1  # H5Z_FILTER_DEFLATE
MOST_SHRUNK = 1_032  # times, by deflate


def main() -> None:
    """Read stdin, write stdout. Exit code FILE_IS_BAD blames the file; any other failure is of this
    process itself.
    """
    content = sys.stdin.buffer.read()
    limit_this_process(
        cpu_s=CPU_SECONDS + len(content) // CPU_BYTES_PER_SECOND,
        memory_bytes=MEMORY_BYTES + MEMORY_FACTOR * len(content),
    )
    try:
        index, parts = _read(content, whole=WHOLE in sys.argv)
    except Exception as error:  # whatever the library makes of a damaged file
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(FILE_IS_BAD)
    written = json.dumps(index).encode()
    sys.stdout.buffer.write(len(written).to_bytes(8, "little") + written)
    for part in parts:
        sys.stdout.buffer.write(part)


def _read(content: bytes, *, whole: bool = False) -> tuple[dict[str, Any], list[bytes]]:
    """Return the index, and the bytes of the arrays it tells of."""
    arrays: dict[str, dict[str, Any]] = {}
    parts: list[bytes] = []
    offset = 0
    with h5py.File(io.BytesIO(content), "r") as file:
        texts: dict[str, dict[str, list[str] | str]] = {"": _texts(file)}
        names = list(file.keys())  # `in file` would follow links
        stack = names[:MAX_NAMES] if whole else [name for name in GROUPS if name in names]
        while stack:
            place = stack.pop()
            if len(texts) + len(arrays) >= MAX_OBJECTS or place.count("/") > MAX_DEPTH:
                raise ValueError(
                    f"more than {MAX_OBJECTS:,} groups and arrays, or deeper than {MAX_DEPTH}"
                )
            parent, _, name = place.rpartition("/")
            group = file[parent] if parent else file
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                arrays[place] = {"refused": "link"}
                continue
            found = group[name]
            if isinstance(found, h5py.Group):
                texts[place] = _texts(found)
                stack += [f"{place}/{child}" for child in found.keys()]  # noqa: SIM118, `found` would follow links
                continue
            arrays[place] = _describe(found, whole)
            if "refused" not in arrays[place]:
                parts.append(np.ascontiguousarray(found[()], "<f4").tobytes())
                arrays[place]["offset"] = offset
                offset += len(parts[-1])
    return {"texts": texts, "arrays": arrays}, parts


def _describe(found: Any, may_shrink: bool) -> dict[str, Any]:
    """Return an array's shape, or why it is not read with the numbers that say so."""
    if not isinstance(found, h5py.Dataset) or found.dtype != np.float32 or found.shape is None:
        return {"refused": "type", "found": str(getattr(found, "dtype", "no numbers"))}
    claimed = int(np.prod([int(length) for length in found.shape], dtype=object)) * 4
    shape = [int(length) for length in found.shape]
    if found.is_virtual or found.external:
        return {"refused": "outside"}
    if claimed > MAX_ARRAY_BYTES:
        return {"refused": "size", "claimed": claimed}
    settings = found.id.get_create_plist()
    filters = [settings.get_filter(place)[0] for place in range(settings.get_nfilters())]
    if filters not in ([], [DEFLATE] * may_shrink):
        return {"refused": "filter"}
    held = int(found.id.get_storage_size())
    is_there = held * MOST_SHRUNK >= claimed if filters else held == claimed
    return (
        {"shape": shape} if is_there else {"refused": "missing", "claimed": claimed, "held": held}
    )


def _texts(found: Any) -> dict[str, list[str] | str]:
    """Return the attributes that are strings or lists of them, of bounded size."""
    texts: dict[str, list[str] | str] = {}
    for name in found.attrs.keys():  # noqa: SIM118, the others read the values too
        handle = found.attrs.get_id(name)
        if (
            handle.dtype.kind not in "SO"
            or handle.get_storage_size() > MAX_TEXT_BYTES
            or np.prod(handle.shape, dtype=object) > MAX_NAMES
        ):
            continue
        value = found.attrs[name]
        texts[str(name)] = (
            _text(value)
            if isinstance(value, str | bytes)
            else [_text(item) for item in np.ravel(value)]
        )
    return texts


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
