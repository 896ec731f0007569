"""The harness's protocol on this machine, under sanitizers: whatever arrives, it answers frames and
ends cleanly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.firmware.example import with_example
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.sources import program_sources
from quarl.graph.reference import integer_outputs, quantize_observations
from quarl.links.frames import Frame, pack_frame, payload_of, take_frame
from quarl.resources import firmware_dir
from quarl.tools import run
from tests.conftest import need
from tests.support.host_build import FLAGS, TIMEOUT_S
from tests.support.samples import observations, sample

PORT = """\
#include "ql_frame.h"
#include "ql_port.h"
#include "ql_ticks.h"

#include <stdio.h>

void ql_port_open(void) {}
int32_t ql_port_read(void *to, uint32_t count) { return fread(to, 1U, count, stdin) == count; }
void ql_port_write(const void *from, uint32_t count) { (void)fwrite(from, 1U, count, stdout); }
void ql_ticks_start(void) {}
uint32_t ql_ticks_passed(void) { return 0U; }

int main(void)
{
    ql_serve();
    return 0;
}
"""
POLICY, QUANTIZED = sample("argmax_mlp", 0)
OBS = observations(POLICY, np.random.default_rng(5), 4)
RUNS = [
    pack_frame(Frame("R", row.astype(np.int8).tobytes()))
    for row in quantize_observations(QUANTIZED, OBS)
]
ACTS = [pack_frame(Frame("A", row.tobytes())) for row in OBS]
IDENTIFY, END = pack_frame(Frame("I", b"")), pack_frame(Frame("X", b""))


def program() -> Program:
    return with_example(lower(QUANTIZED, "portable"), OBS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    folder = tmp_path_factory.mktemp("serve")
    harness = firmware_dir() / "harness"
    for name, content in (program_sources(program()) | {"port.c": PORT.encode()}).items():
        (folder / name).write_bytes(content)
    sources = [*folder.glob("*.c"), harness / "ql_serve.c", harness / "ql_crc32.c"]
    flags = [
        *FLAGS,
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        f"-I{harness}",
        f"-I{folder}",
    ]
    done = run(["gcc", *flags, *sources, "-o", folder / "server"], timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr.decode()
    return folder / "server"


def answers(server: Path, stream: bytes) -> list[Frame]:
    done = run([server], input=stream, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr.decode()
    frames, rest = [], done.stdout
    while rest:
        frame, rest = take_frame(rest)
        assert frame is not None
        frames.append(frame)
    return frames


def test_requests_are_answered_in_order(server: Path) -> None:
    frames = answers(server, IDENTIFY + b"".join(RUNS) + ACTS[0] + END + RUNS[0])
    assert [frame.kind for frame in frames] == ["I", "R", "R", "R", "R", "A"]
    assert QUANTIZED.contract.digest.encode() in payload_of(frames[0], "I")
    outputs = np.stack(
        [np.frombuffer(payload_of(frame, "R"), np.int8, 5, 4) for frame in frames[1:5]]
    )
    np.testing.assert_array_equal(outputs, integer_outputs(QUANTIZED, OBS))


def test_a_link_that_closes_in_the_middle_of_a_request_ends_the_server(server: Path) -> None:
    for length in range(len(RUNS[0])):
        assert answers(server, IDENTIFY + RUNS[0][:length])[0].kind == "I"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_streams_get_refusals_and_right_answers_never_wrong_ones(
    server: Path, data: st.DataObject
) -> None:
    right = {frame.payload for frame in answers(server, IDENTIFY + b"".join(RUNS + ACTS) + END)}
    pieces = data.draw(
        st.lists(
            st.one_of(st.sampled_from([IDENTIFY, *RUNS, *ACTS]), st.binary(max_size=40)), max_size=8
        )
    )
    stream = bytearray(b"".join(pieces))
    for _ in range(data.draw(st.integers(0, 4))):
        if stream:
            stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    for frame in answers(server, bytes(stream)):
        assert frame.kind in "IRAE"
        assert frame.kind == "E" or frame.payload in right


def test_after_garbage_the_next_request_is_answered(server: Path) -> None:
    garbage = b"QQL\x01" + b"\0" * 5 + b"Q" + RUNS[1][:3]
    assert answers(server, garbage + IDENTIFY + END)[-1].kind in "IE"
    assert [frame.kind for frame in answers(server, b"Q" * 7 + b"\xff" * 9 + RUNS[0] + END)] == [
        "R"
    ]
