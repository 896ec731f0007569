from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.errors import DeviceError
from quarl.links.frames import Frame, pack_frame, payload_of, take_frame

FRAMES = st.builds(Frame, st.sampled_from("IRAE"), st.binary(max_size=200))


@given(
    st.lists(FRAMES, max_size=4),
    st.binary(max_size=20).filter(lambda garbage: b"Q" not in garbage),
    st.binary(max_size=10),
)
def test_frames_survive_a_stream_with_garbage_before_and_a_tail_behind(
    frames: list[Frame], garbage: bytes, tail: bytes
) -> None:
    tail = tail.replace(b"Q", b"q")
    stream = garbage + b"".join(pack_frame(frame) for frame in frames)
    for frame in frames:
        found, stream = take_frame(stream)
        assert found == frame
    assert take_frame(stream + tail)[0] is None


@given(FRAMES, st.data())
def test_a_cut_frame_waits_for_the_rest(frame: Frame, data: st.DataObject) -> None:
    whole = pack_frame(frame)
    cut = data.draw(st.integers(0, len(whole) - 1))
    found, rest = take_frame(whole[:cut])
    assert found is None
    assert take_frame(rest + whole[cut:]) == (frame, b"")


@given(FRAMES, st.data())
def test_one_wrong_bit_is_never_taken_for_a_frame(frame: Frame, data: st.DataObject) -> None:
    whole = bytearray(pack_frame(frame))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found, _ = take_frame(bytes(whole))
    except DeviceError:
        return
    assert found is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_nothing_or_one_clear_error(stream: bytes) -> None:
    with suppress(DeviceError):
        take_frame(stream)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (Frame("E", b"\x01\0\0\0"), "CRC"),
        (Frame("E", b"\x09\0\0\0"), "reason 9"),
        (Frame("A", b""), "answers 'A'"),
    ],
)
def test_a_refusal_says_why(frame: Frame, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        payload_of(frame, "R")
