"""Frames between host and device; the byte layout is drawn in firmware_harness/harness/ql_frame.h."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from quarl.errors import DeviceError

MAGIC = b"QL"
VERSION = 1
HEADER = struct.Struct("<2sBcI")
CRC = struct.Struct("<I")
REASONS = {
    1: "the request arrived damaged (bad CRC)",
    2: "it does not know the request or its version",
    3: "the request has the wrong length",
    4: "its own example came out differently at boot; the compiler, its flags or the core do not keep the arithmetic",
}
Kind = Literal["I", "R", "A", "X"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: its type and payload."""

    kind: str
    payload: bytes


def pack_frame(frame: Frame) -> bytes:
    """Return the frame's bytes."""
    body = HEADER.pack(MAGIC, VERSION, frame.kind.encode("ascii"), len(frame.payload)) + frame.payload
    return body + CRC.pack(zlib.crc32(body))


def take_frame(stream: bytes) -> tuple[Frame | None, bytes]:
    """Return the first whole frame of a stream and what follows it; None where none is whole yet. Bytes before a frame are dropped.

    Raises:
        DeviceError: a frame with a wrong CRC or of another version.
    """
    at = stream.find(MAGIC)
    if at < 0:
        return None, stream[-1:] if stream[-1:] == MAGIC[:1] else b""
    stream = stream[at:]
    if len(stream) < HEADER.size:
        return None, stream
    _, version, kind, length = HEADER.unpack_from(stream)
    if version != VERSION:
        raise DeviceError(f"the device speaks version {version} of the protocol, this quarl version {VERSION}: export and flash again")
    end = HEADER.size + length
    if len(stream) < end + CRC.size:
        return None, stream
    if CRC.unpack_from(stream, end)[0] != zlib.crc32(stream[:end]):
        raise DeviceError("the device's answer arrived damaged (bad CRC)")
    return Frame(kind.decode("ascii", "replace"), stream[HEADER.size : end]), stream[end + CRC.size :]


def payload_of(frame: Frame, expected: Kind) -> bytes:
    """Return the payload of an answer of the expected type.

    Raises:
        DeviceError: the device refuses, or answers something else; says what.
    """
    if frame.kind == "E" and len(frame.payload) == CRC.size:
        reason = CRC.unpack(frame.payload)[0]
        raise DeviceError(f"the device refuses: {REASONS.get(reason, f'reason {reason}')}")
    if frame.kind != expected:
        raise DeviceError(f"the device answers {frame.kind!r} to a request {expected!r}")
    return frame.payload
