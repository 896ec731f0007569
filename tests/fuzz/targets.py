"""What is fuzzed: readers of bytes that come from outside. Each takes any bytes and may only
succeed or raise one of quarl's own errors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from quarl.errors import DeviceError, QuarlError
from quarl.firmware.lower import lower
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import ImportOptions
from quarl.importers.tflite import read_tflite
from quarl.links.frames import FrameScanner, pack_frame, payload_of, take_frame

CORPUS = Path(__file__).parent / "corpus"
MOST_PAYLOAD = 200


def tflite(data: bytes) -> None:
    """A file of somebody else's; what is read must also become a program."""
    with tempfile.TemporaryDirectory(prefix="quarl-fuzz-") as folder:
        path = Path(folder) / "file.tflite"
        path.write_bytes(data)
        with suppress(QuarlError):
            policy = read_tflite(path, ImportOptions())
            if isinstance(policy, QuantPolicy):
                lower(policy, "dsp")


def frames(data: bytes) -> None:
    """What a device may send, whole and byte by byte: the same frames are found, each packs to
    bytes that came.
    """
    with suppress(DeviceError):
        frame, rest = take_frame(data)
        assert data.endswith(rest)
        if frame is not None:
            assert pack_frame(frame) in data
            with suppress(DeviceError):
                payload_of(frame, "R")
    whole, bytewise = FrameScanner(MOST_PAYLOAD), FrameScanner(MOST_PAYLOAD)
    found = whole.feed(data)
    assert found == [frame for i in range(len(data)) for frame in bytewise.feed(data[i : i + 1])]
    for frame in (*found, *whole.give_up()):
        assert pack_frame(frame) in data
        assert len(frame.payload) <= MOST_PAYLOAD


TARGETS: dict[str, Callable[[bytes], None]] = {"tflite": tflite, "frames": frames}
