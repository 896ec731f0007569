"""A board through its debug probe: the product's own semihosting host and pyOCD adapter, on a core
in QEMU that is held through its gdb stub.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from quarl.boards.microcontroller import Board, find_board
from quarl.errors import DeviceError, InputError
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.source_tree import SourceTree, write_source_tree
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.links import probe
from quarl.links.firmware_link import rtt_port
from quarl.links.probe import PyOcdCore, check_probe, is_probe, open_channels, open_probe
from quarl.links.qemu import emulated_board
from quarl.links.rtt import RttPort
from quarl.links.semihosting import SemihostingPort
from quarl.links.serial import SerialDevice
from quarl.profiles.platforms import target_of
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.support.gdb_core import RunningTarget, held
from tests.support.samples import observations, sample

BOARD = find_board("nrf52840_dk", targets_dir())


def tree_of(name: str) -> tuple[Any, SourceTree]:
    policy, quantized = sample(name, 1)
    obs = observations(policy, np.random.default_rng(5), 4)
    return quantized, write_source_tree(quantized, BOARD, obs)


@contextmanager
def core_with(files: dict[str, bytes], machine: Board, folder: Path) -> Iterator[PyOcdCore]:
    elf = build_image(files, machine, default_cache_dir())
    image = read_image(elf, machine)
    with held(machine, elf, image.segments, folder) as target:
        yield PyOcdCore(target)


def test_a_board_answers_through_its_probe_bit_for_bit(tmp_path: Path) -> None:
    need("ziglang", "qemu-system-arm")
    quantized, tree = tree_of("squashed")
    machine = emulated_board(BOARD)
    with core_with(tree.image_files(machine), machine, tmp_path) as core:
        port = SemihostingPort(core, "nrf52840_dk by its probe")
        device = SerialDevice(port, "probe", replace(machine, uart=None), tree.interface)
        obs = observations(sample("squashed", 0)[0], np.random.default_rng(7), 6)
        np.testing.assert_array_equal(device.act(obs), act(quantized, obs))
        integers = quantize_observations(quantized, obs)
        np.testing.assert_array_equal(device.run(integers), integer_outputs(quantized, obs))
        _, ticks = device.timed_act(obs)
        assert len(ticks) == len(obs)
        assert device.repeated == 0


def changed(tree: SourceTree, machine: Board, main: str) -> dict[str, bytes]:
    return tree.image_files(machine) | {"main.c": main.encode()}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("for (;;) { }", "did not answer within 1 s; pc=0x"),
        ("*(volatile unsigned *)0xFFFFFFF0U = 1U;", "the firmware faulted; pc=0x"),
        ("ql_port_exit(7);", "ended with code 7; pc=0x"),
    ],
    ids=["hangs", "faults", "ends"],
)
def test_a_firmware_that_fails_is_halted_and_its_registers_shown(
    body: str, words: str, tmp_path: Path
) -> None:
    need("ziglang", "qemu-system-arm")
    _, tree = tree_of("squashed")
    machine = emulated_board(BOARD)
    text = f'#include "ql_port.h"\nint main(void) {{ ql_port_open(); {body} return 0; }}\n'
    with core_with(changed(tree, machine, text), machine, tmp_path) as core:
        port = SemihostingPort(core, "board", hang_s=1.0)
        with pytest.raises(DeviceError, match=words):
            SerialDevice(port, "probe", machine, tree.interface)


@contextmanager
def core_by_rtt(files: dict[str, bytes], machine: Board, folder: Path) -> Iterator[RttPort]:
    image = read_image(elf := build_image(files, machine, default_cache_dir()), machine)
    with held(machine, elf, image.segments, folder, RunningTarget) as target:
        yield rtt_port(PyOcdCore(target), image, "board", hang_s=2.0)


def test_a_board_answers_by_rtt_while_it_runs_bit_for_bit(tmp_path: Path) -> None:
    need("ziglang", "qemu-system-arm", "pyocd")
    quantized, tree = tree_of("squashed")
    machine = emulated_board(BOARD)
    with core_by_rtt(tree.image_files(machine, "rtt"), machine, tmp_path) as port:
        device = SerialDevice(port, "rtt", replace(machine, uart=None), tree.interface)
        obs = observations(sample("squashed", 0)[0], np.random.default_rng(7), 6)
        np.testing.assert_array_equal(device.act(obs), act(quantized, obs))
        integers = quantize_observations(quantized, obs)
        np.testing.assert_array_equal(device.run(integers), integer_outputs(quantized, obs))
        assert device.repeated == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("ql_port_open(); for (;;) { }", "did not answer within 2 s; pc=0x"),
        ("ql_port_open(); *(volatile unsigned *)0xFFFFFFF0U = 1U;", "the core took a fault"),
    ],
    ids=["hangs", "faults"],
)
def test_a_firmware_that_fails_by_rtt_is_halted_or_says_so(
    body: str, words: str, tmp_path: Path
) -> None:
    need("ziglang", "qemu-system-arm", "pyocd")
    _, tree = tree_of("squashed")
    machine = emulated_board(BOARD)
    main = f'#include "ql_port.h"\nint main(void) {{ {body} return 0; }}\n'
    files = tree.image_files(machine, "rtt") | {"main.c": main.encode()}
    with (
        core_by_rtt(files, machine, tmp_path) as port,
        pytest.raises(DeviceError, match=words),
    ):
        SerialDevice(port, "rtt", replace(machine, uart=None), tree.interface)


def test_a_firmware_that_opens_no_rtt_is_said_so() -> None:
    need("pyocd")
    target = SimpleNamespace(read_memory_block8=lambda address, count: [0] * count)
    with pytest.raises(DeviceError, match=r"opens no RTT within 0\.01 s"):
        open_channels(target, 0x2000_0000, "board", wait_s=0.01)


class Ring:
    """Both channels of a device that takes three bytes at a time and echoes them later."""

    def __init__(self) -> None:
        self.held, self.taken = b"", 0

    def write(self, data: bytes) -> int:
        part = data[:3]
        self.held += part
        return len(part)

    def read(self) -> bytes:
        part, self.held = self.held, b""
        return part


def test_bytes_that_find_no_room_in_the_ring_follow_later() -> None:
    ring = Ring()
    port = RttPort(Answering(), (ring, ring), "board")
    port.write(b"abcdefgh")
    came = b""
    while len(came) < 8:
        came += port.read(2)
    assert came == b"abcdefgh"
    assert port.in_waiting == 0


class Answering:
    """A core that stands at one request after the other, as a list says."""

    def __init__(self, *requests: tuple[int, int, int, int]) -> None:
        self.requests, self.registers = list(requests), {"pc": 0x100}
        self.memory = bytearray(range(256)) * 4
        self.memory[0x100:0x102] = b"\xab\xbe"

    def resume(self) -> None:
        operation, *words = self.requests.pop(0)
        self.registers |= {"pc": 0x100, "r0": operation, "r1": 0x200, "lr": 0, "sp": 0}
        self.memory[0x200:0x20C] = b"".join(word.to_bytes(4, "little") for word in words)

    def halt(self) -> None:
        return

    def is_halted(self, wait_s: float) -> bool:
        return True

    def register(self, name: str) -> int:
        return self.registers.get(name, 0)

    def set_register(self, name: str, value: int) -> None:
        self.registers[name] = value

    def read(self, address: int, count: int) -> bytes:
        return bytes(self.memory[address : address + count])

    def write(self, address: int, data: bytes) -> None:
        self.memory[address : address + len(data)] = data


def test_a_request_for_more_than_is_there_is_answered_in_part() -> None:
    core = Answering((6, 1, 0x300, 8), (6, 1, 0x303, 5), (5, 2, 0x10, 4))
    port = SemihostingPort(core, "board")
    assert port.read(1) == b"", "it waits for bytes"
    port.write(b"abc")
    assert port.read(1) == b"", "it wants the rest"
    assert core.read(0x300, 3) == b"abc"
    port.write(b"defgh")
    assert port.read(10) == bytes(range(0x10, 0x14))
    assert core.read(0x300, 8) == b"abcdefgh"
    assert core.registers["pc"] == 0x102


@pytest.mark.parametrize(
    ("request_", "words"),
    [((9, 0, 0, 0), "operation 0x09"), ((5, 2, 0, 1 << 30), "at most 1,048,576")],
)
def test_a_strange_request_is_refused(request_: tuple[int, int, int, int], words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        SemihostingPort(Answering(request_), "board").read(1)


def test_what_a_probe_needs_is_checked_before_any_work() -> None:
    with pytest.raises(InputError, match=r"no \[probe\] pyocd"):
        check_probe(replace(BOARD, probe=None))
    with pytest.raises(InputError, match="an emulator counts no time"):
        target_of(BOARD, "unicorn", clock_hz=64_000_000)
    with pytest.raises(InputError, match="did you mean probe"):
        target_of(BOARD, "prob")
    need("pyocd")
    target = target_of(BOARD, "probe", clock_hz=64_000_000)
    assert (target.real_link, target.clock_hz) == ("probe", 64_000_000)
    assert target_of(BOARD, "rtt:1234").real_link == "rtt:1234"
    assert is_probe("rtt")


def test_no_probe_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    need("pyocd")
    from pyocd.core.helpers import ConnectHelper

    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        ConnectHelper, "session_with_chosen_probe", lambda **words: asked.update(words)
    )
    with pytest.raises(DeviceError, match="finds no debug probe"):
        open_probe(BOARD, b"", "1234")
    assert (asked["target_override"], asked["unique_id"]) == ("nrf52840", "1234")


def test_the_firmware_is_written_and_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    need("pyocd")
    from pyocd.core.helpers import ConnectHelper

    told: list[str] = []
    target = SimpleNamespace(reset_and_halt=lambda: told.append("reset"))
    session = SimpleNamespace(
        target=target, open=lambda: told.append("open"), close=lambda: told.append("close")
    )
    monkeypatch.setattr(ConnectHelper, "session_with_chosen_probe", lambda **words: session)

    class Programmer:
        def __init__(self, session: Any) -> None:
            assert session is not None

        def program(self, path: str, file_format: str) -> None:
            told.append(f"{file_format} {Path(path).read_bytes()!r}")

    monkeypatch.setattr("pyocd.flash.file_programmer.FileProgrammer", Programmer)
    at_end = SimpleNamespace(register=lambda function: told.append("closes at the end"))
    monkeypatch.setattr(probe, "atexit", at_end)
    assert isinstance(open_probe(BOARD, b"ELF"), PyOcdCore)
    assert told == ["open", "closes at the end", "elf b'ELF'", "reset"]
