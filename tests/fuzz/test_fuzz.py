"""Bytes from outside never raise anything but quarl's own errors: the kept corpus, and what
hypothesis makes of good files.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.emitters import emit_tflite
from quarl.links.frames import Frame, pack_frame
from tests.fuzz.targets import CORPUS, TARGETS
from tests.support.samples import sample

KEPT = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
INTERESTING = (
    0,
    1,
    2,
    3,
    4,
    8,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0xFFFF_FFFE,
    1 << 16,
    1 << 24,
)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_kept_is_read_or_refused(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_the_corpus_is_small() -> None:
    assert {path.parent.name for path in KEPT} == set(TARGETS)
    assert sum(path.stat().st_size for path in KEPT) < 100_000


@cache
def good_files() -> tuple[bytes, ...]:
    return tuple(
        emit_tflite(sample(name, rung)[1])
        for name, rung in (("squashed", 3), ("branches", 3), ("small_images", 0))
    )


def good_streams() -> tuple[bytes, ...]:
    made = [
        Frame("I", bytes(84), 1),
        Frame("R", bytes(range(40)), 2),
        Frame("E", b"\1\0\0\0", 3),
        Frame("A", b"", 0xFFFF_FFFF),
    ]
    return (b"".join(pack_frame(frame) for frame in made), pack_frame(made[1]))


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """Return bytes that were `whole` once: bits flipped, words overwritten, parts cut, moved and
    doubled.
    """
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        change = data.draw(st.sampled_from(["byte", "bit", "word", "cut", "drop", "double"]))
        if change == "byte" and content:
            content[at] = data.draw(st.integers(0, 255))
        elif change == "bit" and content:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "word":
            at &= ~3
            content[at : at + 4] = struct.pack(
                "<I", data.draw(st.sampled_from((*INTERESTING, len(content))))
            )
        elif change == "cut":
            del content[at:]
        elif change == "drop":
            del content[at : at + data.draw(st.integers(1, 8))]
        else:
            other = data.draw(st.integers(0, max(0, len(content) - 1)))
            content[at:at] = content[other : other + data.draw(st.integers(1, 40))]
    return bytes(content)


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_tflite_is_read_or_refused(data: st.DataObject) -> None:
    TARGETS["tflite"](damaged(data, data.draw(st.sampled_from(good_files()))))


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_stream_gives_frames_that_came_or_nothing(data: st.DataObject) -> None:
    TARGETS["frames"](damaged(data, data.draw(st.sampled_from(good_streams()))))


@given(st.binary(max_size=400))
def test_any_bytes_at_all(content: bytes) -> None:
    for target in TARGETS.values():
        target(content)
