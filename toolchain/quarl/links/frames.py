"""Frames between host and device; the byte layout is drawn in firmware_harness/harness/ql_frame.h.

`take_frame` reads a link that loses nothing, an emulator's; `FrameScanner` reads one that does, a
serial line.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from quarl.errors import DeviceError

MAGIC = b"QL"
VERSION = 2
HEADER = struct.Struct("<2sBcII")
CRC = struct.Struct("<I")
REASONS = {
    1: "the request arrived damaged (bad CRC)",
    2: "it does not know the request or its version",
    3: "the request has the wrong length",
    4: "its own example came out differently at boot; the compiler, its flags or the core do "
    "not keep the arithmetic",
    5: "the core took a fault and has stopped",
}
TRANSIENT = frozenset(
    {1, 2, 3}
)  # reasons that a request damaged on its way can have as well as a wrong one
Kind = Literal["I", "R", "A", "X"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: its type, its payload, and the tag that an answer takes from its request."""

    kind: str
    payload: bytes
    tag: int = 0

    @property
    def refusal(self) -> int | None:
        """Why the device refuses, a key of REASONS; None where it does not."""
        return (
            int(CRC.unpack(self.payload)[0])
            if self.kind == "E" and len(self.payload) == CRC.size
            else None
        )


def pack_frame(frame: Frame) -> bytes:
    """Return the frame's bytes."""
    body = (
        HEADER.pack(MAGIC, VERSION, frame.kind.encode("latin-1"), len(frame.payload), frame.tag)
        + frame.payload
    )
    return body + CRC.pack(zlib.crc32(body))


def take_frame(stream: bytes) -> tuple[Frame | None, bytes]:
    """Return the first whole frame of a stream and what follows it; None where none is whole yet.
    Bytes before a frame are dropped.

    Raises:
        DeviceError: a frame with a wrong CRC or of another version.
    """
    at = stream.find(MAGIC)
    if at < 0:
        return None, stream[-1:] if stream[-1:] == MAGIC[:1] else b""
    stream = stream[at:]
    if len(stream) < HEADER.size:
        return None, stream
    _, version, kind, length, tag = HEADER.unpack_from(stream)
    if version != VERSION:
        raise DeviceError(
            f"the device speaks version {version} of the protocol, this quarl version "
            f"{VERSION}: export and flash again"
        )
    end = HEADER.size + length
    if len(stream) < end + CRC.size:
        return None, stream
    if CRC.unpack_from(stream, end)[0] != zlib.crc32(stream[:end]):
        raise DeviceError("the device's answer arrived damaged (bad CRC)")
    return Frame(kind.decode("latin-1"), stream[HEADER.size : end], tag), stream[end + CRC.size :]


class FrameScanner:
    """Finds whole frames in a stream that may be damaged anywhere: what is no frame is skipped,
    what has a right CRC is one.

    Args:
        most_payload: longest payload an answer can have; a header that announces more is damage.
    """

    def __init__(self, most_payload: int) -> None:
        self._most = HEADER.size + most_payload + CRC.size
        self._stream = b""
        self.skipped = 0  # bytes that belonged to no frame, so far
        self.other_version: int | None = None  # of a frame that was whole but for its version

    def feed(self, received: bytes) -> list[Frame]:
        """Return the frames that are whole now that these bytes have come."""
        self._stream += received
        frames: list[Frame] = []
        while True:
            at = self._stream.find(MAGIC)
            if at < 0:
                self._drop(len(self._stream) - self._stream.endswith(MAGIC[:1]))
                return frames
            self._drop(at)
            if len(self._stream) < HEADER.size:
                return frames
            _, version, kind, length, tag = HEADER.unpack_from(self._stream)
            end = HEADER.size + length
            if end + CRC.size > self._most:
                self._drop(1)
            elif len(self._stream) < end + CRC.size:
                return frames
            elif CRC.unpack_from(self._stream, end)[0] != zlib.crc32(self._stream[:end]):
                self._drop(1)
            else:
                if version == VERSION:
                    frames.append(
                        Frame(kind.decode("latin-1"), self._stream[HEADER.size : end], tag)
                    )
                else:
                    self.other_version = version
                self._stream = self._stream[end + CRC.size :]

    def give_up(self) -> list[Frame]:
        """Return the frames behind a header that announces more than came; for a line that has
        fallen silent.
        """
        frames: list[Frame] = []
        while self._stream.startswith(MAGIC) and not frames:
            self._drop(1)
            frames = self.feed(b"")
        return frames

    def _drop(self, count: int) -> None:
        self.skipped += count
        self._stream = self._stream[count:]


def payload_of(frame: Frame, expected: Kind) -> bytes:
    """Return the payload of an answer of the expected type.

    Raises:
        DeviceError: the device refuses, or answers something else; says what.
    """
    if (reason := frame.refusal) is not None:
        raise DeviceError(f"the device refuses: {REASONS.get(reason, f'reason {reason}')}")
    if frame.kind != expected:
        raise DeviceError(f"the device answers {frame.kind!r} to a request {expected!r}")
    return frame.payload
