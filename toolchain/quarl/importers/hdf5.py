"""HDF5 as a source of plain numbers: arrays and strings are checked for what they claim before a byte of them is read.

In: a path or the bytes of an HDF5 file. Out: float32 arrays by name. Links that lead elsewhere, references, filters and arrays
kept outside the file are refused: Keras writes none of them.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.importers.archives import MAX_MEMBER_BYTES, read_file

MAX_TEXT_BYTES = 1 << 24
MAX_NAMES = 10_000


class Hdf5File:
    """An HDF5 file, opened for reading; `name` stands in the messages.

    Raises:
        InputError: not an HDF5 file, or cut off.
    """

    def __init__(self, source: Path | bytes, name: str) -> None:
        self.name = name
        content = read_file(source) if isinstance(source, Path) else source
        try:
            self._file = h5py.File(io.BytesIO(content), "r")
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{name}: not a complete HDF5 file ({error}): it was cut off or changed on the way, copy it again") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def children(self, place: str) -> tuple[str, ...]:
        """Return the names inside the group at `place`, none where there is no such group."""
        found = self._find(place)
        return tuple(found) if isinstance(found, h5py.Group) else ()

    def text(self, place: str, attribute: str) -> str | None:
        """Return a string attribute, None where there is none."""
        value = self._attribute(place, attribute)
        if value is None:
            return None
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if not isinstance(text, str):
            raise InputError(f"{self.name}: attribute {attribute} of {place} is no text: the file was not written by Keras")
        return text

    def texts(self, place: str, attribute: str) -> tuple[str, ...]:
        """Return an attribute that lists names; empty where there is none."""
        value = self._attribute(place, attribute)
        if value is None:
            return ()
        return tuple(item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in np.ravel(value))

    def array(self, place: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the float32 array at `place`.

        Raises:
            InputError: there is none, or its shape is not `shape`.
            UnsupportedError: its numbers are not float32, or it is stored compressed.
            UntrustedFileError: it claims more than the file holds, or lies outside it.
        """
        found = self._find(place)
        if not isinstance(found, h5py.Dataset):
            raise InputError(f"{self.name}: {place} is missing: the file is incomplete, save the model again")
        if found.shape != shape:
            raise InputError(f"{self.name}: {place} has shape {found.shape}, its layer needs {shape}: the file is inconsistent")
        if found.dtype != np.float32:
            raise UnsupportedError(f"{self.name}: {place} holds {found.dtype}, only float32 is carried over: save the model in float32")
        if found.is_virtual or found.external:
            raise UntrustedFileError(f"{self.name}: {place} takes its numbers from another file: save the model again as one file")
        claimed = int(np.prod(shape, dtype=np.int64)) * 4
        if claimed > MAX_MEMBER_BYTES:
            raise UntrustedFileError(f"{self.name}: {place} claims {claimed:,} bytes, at most {MAX_MEMBER_BYTES:,} are read")
        if found.id.get_create_plist().get_nfilters():
            raise UnsupportedError(f"{self.name}: {place} is stored compressed, which Keras does not do: load the model and save it again")
        if claimed and found.id.get_storage_size() != claimed:
            held = found.id.get_storage_size()
            raise UntrustedFileError(f"{self.name}: {place} claims {claimed:,} bytes, the file holds {held:,} of them: copy it again")
        try:
            values: NDArray[np.float32] = np.ascontiguousarray(found[()], np.float32)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{self.name}: {place} cannot be read ({error}): the file is damaged, copy it again") from error
        return values

    def _find(self, place: str) -> Any:
        """Return the object at `place`, step by step, so that no link leads out of the file or round in a circle."""
        here: Any = self._file
        try:
            for step in place.strip("/").split("/"):
                if not isinstance(here, h5py.Group) or step not in here.keys():  # noqa: SIM118 - `in group` would follow links
                    return None
                if not isinstance(here.get(step, getlink=True), h5py.HardLink):
                    raise UntrustedFileError(f"{self.name}: {place} is a link to somewhere else: save the model again as one file")
                here = here[step]
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"{self.name}: {place} cannot be read ({error}): the file is damaged, copy it again") from error
        return here

    def _attribute(self, place: str, attribute: str) -> Any:
        found = self._find(place) if place else self._file
        try:
            if found is None or attribute not in found.attrs:
                return None
            handle = found.attrs.get_id(attribute)
            if int(np.prod(handle.shape, dtype=np.int64)) > MAX_NAMES or handle.get_storage_size() > MAX_TEXT_BYTES:
                raise UntrustedFileError(f"{self.name}: attribute {attribute} of {place or 'the file'} is far too large: this is no policy")
            return found.attrs[attribute]
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"{self.name}: attribute {attribute} cannot be read ({error}): the file is damaged, copy it again") from error
