"""Files that try to run code or to fill the memory, for the tests of the readers."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Bomb:
    """Unpickling it makes the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def zip_bytes(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip of the members, in order, without a clock: the same bytes every time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return buffer.getvalue()


def torch_file(
    pickled: bytes, storages: Mapping[str, bytes] | None = None, byteorder: bytes = b"little"
) -> bytes:
    """Return a file laid out like torch.save's around any pickle."""
    data = {f"a/data/{key}": values for key, values in (storages or {}).items()}
    return zip_bytes({"a/data.pkl": pickled, "a/byteorder": byteorder, **data, "a/version": b"3\n"})


def replaced(archive: bytes, changes: Mapping[str, bytes]) -> bytes:
    """Return the zip with some members' bytes exchanged."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        return zip_bytes({name: changes.get(name, source.read(name)) for name in source.namelist()})


def bomb_pickle(marker: Path) -> bytes:
    """Return a pickle that makes `marker` when it is loaded, and prove that it would."""
    data = pickle.dumps(Bomb(marker), protocol=2)
    pickle.loads(data)
    assert marker.exists(), "the bomb itself must work, or the test proves nothing"
    marker.unlink()
    return data
