"""Zip archives, read within bounds: what a file claims is checked before memory is spent,
and again while reading.

In: a path, or the bytes of a zip inside a zip. Out: bytes of single members. Nothing is ever
extracted to disk.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from quarl.errors import InputError, UntrustedFileError
from quarl.files.open import CHUNK_BYTES, open_file

# A policy for a small board has kilobytes to megabytes; these leave room for optimiser state and
# twins.
MAX_TOTAL_BYTES = 1 << 30
MAX_MEMBER_BYTES = 1 << 28
MAX_MEMBERS = 20_000
# trained weights hardly compress; a member that unpacks to more than this times its size is a bomb
MAX_RATIO = 200
# of the members together to the file, which bounds what a small file can ask for: 400 MiB of 1 MiB
MAX_TOTAL_RATIO = 400
FREE_BYTES = 1 << 20  # a member this small may compress as well as it likes


class Archive:
    """A zip whose directory has been checked against the limits above; members are read one by one.

    Raises:
        InputError: not a zip, or cut off.
        UntrustedFileError: a member or the sum claims too much, compresses too well, is encrypted,
            or a name comes twice.
    """

    def __init__(
        self, source: Path | bytes, name: str | None = None, *, max_ratio: int = MAX_RATIO
    ) -> None:
        self.name = name or (source.name if isinstance(source, Path) else "archive")
        self._file: BinaryIO = open_file(source) if isinstance(source, Path) else io.BytesIO(source)
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._members = {info.filename: info for info in self._zip.infolist()}
            self._check_directory(max_ratio)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            self._file.close()
            raise InputError(
                f"{self.name}: not a complete zip ({error}): it was cut off or changed on the "
                "way, copy it again"
            ) from error
        except UntrustedFileError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        self._file.close()

    @property
    def names(self) -> frozenset[str]:
        """The names of all members."""
        return frozenset(self._members)

    def read(self, member: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
        """Return the member's bytes, at most `limit` of them.

        Raises:
            InputError: no such member, or its bytes are damaged.
            UntrustedFileError: it claims, or turns out to hold, more than `limit`.
        """
        return bytes(self.read_buffer(member, limit))

    def read_buffer(self, member: str, limit: int = MAX_MEMBER_BYTES) -> bytearray:
        """Return what `read` returns, in memory that is taken once."""
        if member not in self._members:
            raise InputError(
                f"{self.name}: has no {member!r} inside: it is incomplete, or another kind of file"
            )
        claimed = self._members[member].file_size
        if claimed > limit:
            raise UntrustedFileError(
                f"{self.name}: {member} claims {claimed:,} bytes, at most {limit:,} are read"
            )
        content, total = bytearray(claimed), 0
        try:
            with self._zip.open(member) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    total += len(chunk)
                    if total > claimed:
                        raise UntrustedFileError(
                            f"{self.name}: {member} unpacks to more than the {claimed:,} "
                            "bytes it claims"
                        )
                    content[total - len(chunk) : total] = chunk
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
            ValueError,  # a name in bad UTF-8, a negative seek
        ) as error:
            raise InputError(
                f"{self.name}: {member} is damaged ({error}): copy the file again"
            ) from error
        if total != claimed:
            raise InputError(
                f"{self.name}: {member} has {total:,} of the {claimed:,} bytes it claims: "
                "copy the file again"
            )
        return content

    def _size(self) -> int:
        return self._file.seek(0, io.SEEK_END)

    def _check_directory(self, max_ratio: int) -> None:
        infos = self._zip.infolist()
        total = sum(info.file_size for info in infos)
        most = min(MAX_TOTAL_BYTES, MAX_TOTAL_RATIO * max(FREE_BYTES, self._size()))
        if len(infos) > MAX_MEMBERS or total > most:
            raise UntrustedFileError(
                f"{self.name}: claims {len(infos):,} members of {total:,} bytes together, "
                f"at most {MAX_MEMBERS:,} and {most:,} are read"
            )
        if len(self._members) != len(infos):
            raise UntrustedFileError(
                f"{self.name}: two members have one name, so it is unclear which of them "
                "counts: save it again"
            )
        for info in infos:
            if info.flag_bits & 1:
                raise UntrustedFileError(
                    f"{self.name}: {info.filename} is encrypted: give the plain file"
                )
            if info.file_size > max(FREE_BYTES, max_ratio * info.compress_size):
                raise UntrustedFileError(
                    f"{self.name}: {info.filename} unpacks {info.compress_size:,} bytes to "
                    f"{info.file_size:,}, "
                    f"more than {max_ratio} times: this is not a policy"
                )
