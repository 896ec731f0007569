"""The serial link: emulated UARTs on a real pty, and a firmware in unicorn behind a line that
damages what passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.boards.microcontroller import Board, Region, find_board, read_boards
from quarl.boards.uart import Uart, UartKind
from quarl.errors import DeviceError, InputError
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.example import with_example
from quarl.firmware.image import PortName, harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.sources import kernels_for, program_sources
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.links.frames import HEADER, Frame, pack_frame
from quarl.links.qemu import emulated_board
from quarl.links.serial import ATTEMPTS, SerialDevice, open_port
from quarl.links.unicorn import UnicornDevice
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.support.samples import observations, sample
from tests.support.serial_line import Damage, Line, emulated_uart

POLICY, QUANTIZED = sample("squashed", 3)
OBS = observations(POLICY, np.random.default_rng(5), 6)
BOARDS = read_boards(targets_dir())


def board_on(cpu_of: str, kind: UartKind, base: int, **changes: Region) -> Board:
    board = emulated_board(BOARDS[cpu_of])
    return replace(
        board,
        **changes,
        uart=Uart(
            kind=kind,
            base=base,
            clock_hz=25_000_000,
            baud=115_200,
            wiring="QEMU",
            setup=(),
            core_hz=25_000_000,
        ),
    )  # type: ignore[arg-type]


STELLARIS = {"flash": Region(0, 256 << 10), "ram": Region(0x2000_0000, 64 << 10)}
MACHINES: dict[str, tuple[str, Board]] = {
    "the Black Pill's own image, STM32F4 USART": ("netduinoplus2", BOARDS["stm32f411_blackpill"]),
    "the MPS3's own image, CMSDK UART, M55": ("mps3-an547", BOARDS["mps3_an547"]),
    "CMSDK UART, M4": ("mps2-an386", board_on("nucleo_l4r5zi", "cmsdk", 0x4000_4000)),
    "nRF UART, M0": (
        "microbit",
        replace(board_on("rp2040_pico", "nrf", 0x4000_2000), cpu="cortex-m0"),
    ),
    "PL011, M3": (
        "lm3s6965evb",
        replace(board_on("rp2040_pico", "pl011", 0x4000_C000, **STELLARIS), cpu="cortex-m3"),
    ),
}


def built(
    board: Board, port: PortName, extra: dict[str, bytes] | None = None
) -> tuple[Program, bytes]:
    need("ziglang", "elftools")
    program = with_example(lower(QUANTIZED, kernels_for(board)), OBS)
    return program, build_image(
        program_sources(program) | harness_sources(board, port) | (extra or {}),
        board,
        default_cache_dir(),
    )


@pytest.mark.every(3)
@pytest.mark.parametrize("name", MACHINES)
def test_a_uart_on_a_pty_answers_like_the_reference(name: str) -> None:
    need("serial", "qemu-system-arm")
    machine, board = MACHINES[name]
    program, elf = built(board, "uart")
    with emulated_uart(machine, elf) as path:
        device = SerialDevice(open_port(path, 115_200), path, board, interface_of(program))
        integers = quantize_observations(QUANTIZED, OBS)
        np.testing.assert_array_equal(device.run(integers), integer_outputs(QUANTIZED, OBS))
        np.testing.assert_array_equal(device.decisions(integers), act(QUANTIZED, OBS))
        actions, ticks = device.timed_act(OBS)
        np.testing.assert_array_equal(actions, act(QUANTIZED, OBS))
        assert len(ticks) == len(OBS)


@pytest.fixture(scope="module")
def black_pill() -> Iterator[tuple[str, Board, Program]]:
    need("serial", "qemu-system-arm")
    board = BOARDS["stm32f411_blackpill"]
    program, elf = built(board, "uart")
    with emulated_uart("netduinoplus2", elf) as path:
        yield path, board, program


REQUEST = len(pack_frame(Frame("A", OBS[0].tobytes())))
ANSWER = len(pack_frame(Frame("A", bytes(12))))
FAULTS: dict[str, Callable[[str, int, int], bytes | None]] = {
    "a byte to the device is lost": lambda way, at, byte: (
        b"" if (way, at) == ("down", 20) else bytes([byte])
    ),
    "the first byte to the device is lost": lambda way, at, byte: (
        b"" if (way, at) == ("down", 0) else bytes([byte])
    ),
    "the length of a request is garbled": lambda way, at, byte: (
        b"\xff" if (way, at) == ("down", 6) else bytes([byte])
    ),
    "a byte from the device is garbled": lambda way, at, byte: (
        bytes([byte ^ 0x20]) if (way, at) == ("up", 18) else bytes([byte])
    ),
    "a byte from the device is lost": lambda way, at, byte: (
        b"" if (way, at) == ("up", 13) else bytes([byte])
    ),
    "garbage comes before an answer": lambda way, at, byte: (
        b"QL\x02A\x40\0\0\0QQL" + bytes([byte]) if (way, at) == ("up", 0) else bytes([byte])
    ),
    "an answer comes after the next request": lambda way, at, byte: (
        None if way == "up" and 0 <= at < ANSWER else bytes([byte])
    ),
}


@pytest.mark.every(3)
@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_line_is_survived_and_no_answer_is_wrong(
    black_pill: tuple[str, Board, Program], name: str
) -> None:
    path, board, program = black_pill
    starts = {"down": 1 << 30, "up": 1 << 30}

    def damage(way: str, index: int, byte: int) -> bytes | None:
        return FAULTS[name](way, index - starts[way], byte)

    with Line(path, damage) as line:
        device = SerialDevice(
            open_port(line.path, 115_200),
            "a damaged line",
            board,
            interface_of(program),
            answer_s=2.0,
        )
        starts.update(line.carried)
        np.testing.assert_array_equal(device.act(OBS), act(QUANTIZED, OBS))
        assert device.repeated <= ATTEMPTS


def test_a_port_that_goes_away_in_the_middle_is_a_device_error(
    black_pill: tuple[str, Board, Program],
) -> None:
    path, board, program = black_pill
    with Line(path) as line:
        device = SerialDevice(
            open_port(line.path, 115_200), line.path, board, interface_of(program)
        )
        device.act(OBS[:1])
        line.close()
        with pytest.raises(
            DeviceError, match=r"the serial port was lost in the middle.*check cable"
        ) as error:
            device.act(OBS)
    assert error.value.exit_code == 4


def test_a_port_that_is_not_there_is_a_device_error() -> None:
    need("serial")
    with pytest.raises(DeviceError, match=r"/dev/nothing: cannot open the serial port.*dialout"):
        open_port("/dev/nothing", 115_200)


class EmulatedLine:
    """A serial port whose other end is the firmware in unicorn; damage is done byte by byte, by a
    plan. No time passes.
    """

    def __init__(
        self, device: UnicornDevice, damage: Damage = lambda way, index, byte: bytes([byte])
    ) -> None:
        self._device, self.damage = device, damage
        self.carried = {"down": 0, "up": 0}
        self._kept = {"down": b"", "up": b""}
        self._waiting = b""

    def write(self, data: bytes) -> int:
        late, self._kept["up"] = self._kept["up"], b""
        self._waiting += late + self._pass("up", self._device.carry(self._pass("down", data)))
        return len(data)

    @property
    def in_waiting(self) -> int:
        return len(self._waiting)

    def read(self, size: int) -> bytes:
        part, self._waiting = self._waiting[:size], self._waiting[size:]
        return part

    def _pass(self, way: str, data: bytes) -> bytes:
        arrived = b""
        for byte in data:
            index = self.carried[way]
            self.carried[way] += 1
            passed = self.damage(way, index, byte)
            if passed is None:
                self._kept[way] += bytes([byte])
            else:
                arrived += passed
        return arrived


@pytest.fixture(scope="module")
def emulated() -> tuple[UnicornDevice, Board, Program]:
    need("unicorn", "capstone")
    board = BOARDS["nucleo_l4r5zi"]
    program, elf = built(board, "semihosting")
    return UnicornDevice(read_image(elf, board), board, interface_of(program)), board, program


CHANGES = st.one_of(
    st.tuples(st.just("drop"), st.just(b"")),
    st.tuples(st.just("flip"), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("insert"), st.binary(min_size=1, max_size=24)),
    st.tuples(
        st.just("insert"),
        st.sampled_from(
            [b"QL", b"QL\x02A", b"QL\x02A\x0c\0\0\0", b"QL\x02R\x08\0\0\0\x01\0\0\0", b"Q" * 30]
        ),
    ),
    st.tuples(st.just("late"), st.just(b"")),
)
PLANS = st.dictionaries(
    st.tuples(st.sampled_from(["down", "up"]), st.integers(0, 4 * REQUEST)), CHANGES, max_size=6
)


@settings(max_examples=150)
@given(plan=PLANS)
def test_whatever_happens_on_the_line_an_answer_is_right_or_there_is_none(
    emulated: tuple[UnicornDevice, Board, Program], plan: dict[tuple[str, int], tuple[str, bytes]]
) -> None:
    unicorn, board, program = emulated
    line = EmulatedLine(unicorn)
    unicorn.carry(bytes(200))  # what an earlier plan left the firmware waiting for
    device = SerialDevice(line, "unicorn", board, interface_of(program), answer_s=0.001)
    starts = dict(line.carried)

    def damage(way: str, index: int, byte: int) -> bytes | None:
        change, data = plan.get((way, index - starts[way]), ("none", b""))
        whole = bytes([byte])
        return {"none": whole, "drop": b"", "insert": data + whole, "late": None}.get(
            change, bytes([byte ^ (data or b"\1")[0]])
        )

    line.damage = damage
    expected = act(QUANTIZED, OBS)
    try:
        found = device.act(OBS)
    except DeviceError as error:
        assert len(plan) >= ATTEMPTS - 1, "so few faults are survived"
        assert "no whole answer" in str(error) or "refuses" in str(error)  # noqa: PT017
        return
    np.testing.assert_array_equal(found, expected)
    assert device.repeated <= len(OBS) * ATTEMPTS


def test_a_silent_line_is_given_up_after_a_few_attempts() -> None:
    class Silence:
        sent = 0
        in_waiting = 0

        def write(self, data: bytes) -> int:
            self.sent += 1
            return len(data)

        def read(self, size: int) -> bytes:
            return b""

    port = Silence()
    board = BOARDS["nucleo_l4r5zi"]
    with pytest.raises(
        DeviceError,
        match=rf"no whole answer to {ATTEMPTS} requests 'I' \(nothing came within.*baud rate "
        r"\(115200\)",
    ):
        SerialDevice(
            port, "a silent port", board, interface_of(lower(QUANTIZED, "dsp")), answer_s=0.001
        )
    assert port.sent == 2 * ATTEMPTS - 1


def test_a_line_that_never_stops_talking_is_given_up_too() -> None:
    class Flood:
        in_waiting = 4000

        def write(self, data: bytes) -> int:
            return len(data)

        def read(self, size: int) -> bytes:
            return (b"QL\x02I" + bytes(4) + b"noise")[:size] * (size // 13 or 1)

    with pytest.raises(DeviceError, match=r"no whole answer to 5 requests 'I'.*bytes came"):
        SerialDevice(
            Flood(),
            "a loud port",
            BOARDS["nucleo_l4r5zi"],
            interface_of(lower(QUANTIZED, "dsp")),
            answer_s=0.001,
        )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda request: pack_frame(Frame("E", b"\5\0\0\0", 0)), "the core took a fault"),
        (
            lambda request: pack_frame(
                Frame("E", b"\4\0\0\0", int.from_bytes(request[8:12], "little"))
            ),
            "its own example",
        ),
        (
            lambda request: pack_frame(
                Frame("I", bytes(84), int.from_bytes(request[8:12], "little"))
            ),
            "for another policy",
        ),
        (
            lambda request: b"hello, here is a boot loader\r\n",
            "30 bytes came, 30 of them outside any frame",
        ),
        (lambda request: b"QL\x01I" + pack_frame(Frame("I", bytes(84)))[4:], "outside any frame"),
    ],
)
def test_what_answers_but_not_as_it_should_is_named(
    answer: Callable[[bytes], bytes], words: str
) -> None:
    class Other:
        waiting = b""

        @property
        def in_waiting(self) -> int:
            return len(self.waiting)

        def write(self, data: bytes) -> int:
            if data[:2] == b"QL":
                self.waiting = answer(data)
            return len(data)

        def read(self, size: int) -> bytes:
            part, self.waiting = self.waiting[:size], self.waiting[size:]
            return part

    with pytest.raises(DeviceError, match=words):
        SerialDevice(
            Other(),
            "another board",
            BOARDS["nucleo_l4r5zi"],
            interface_of(lower(QUANTIZED, "dsp")),
            answer_s=0.001,
        )


def test_a_board_without_a_uart_says_so() -> None:
    board = replace(BOARDS["nucleo_l4r5zi"], uart=None)
    with pytest.raises(InputError, match=r"no \[uart\]"):
        harness_sources(board, "uart")


def test_a_fault_is_told_over_the_uart() -> None:
    need("serial", "qemu-system-arm")
    machine, board = MACHINES["CMSDK UART, M4"]
    crash = b"""#include "ql_port.h"
int main(void)
{
    uint8_t request[12];
    ql_port_open();
    (void)ql_port_read(request, sizeof request);
    return *(volatile const int32_t *)(uintptr_t)0x70000000U;
}
"""
    program, elf = built(board, "uart", {"main.c": crash})
    with (
        emulated_uart(machine, elf) as path,
        pytest.raises(DeviceError, match="the core took a fault"),
    ):
        SerialDevice(open_port(path, 115_200), path, board, interface_of(program))


@pytest.mark.parametrize("name", [name for name, board in BOARDS.items() if board.uart is not None])
def test_every_boards_uart_compiles_and_comes_within_two_percent_of_its_baud_rate(
    name: str,
) -> None:
    board = BOARDS[name]
    assert board.uart is not None
    uart = board.uart
    clock = {
        "nrf": uart.clock_hz * uart.divisor / 2**32,
        "pl011": uart.clock_hz * 4 / uart.divisor,
        "stm32_lpuart": 256 * uart.clock_hz / uart.divisor,
    }
    assert abs(clock.get(uart.kind, uart.clock_hz / uart.divisor) / uart.baud - 1) < 0.02
    assert uart.divisor < {"pl011": 1 << 22, "nrf": 1 << 32, "stm32_lpuart": 1 << 20}.get(
        uart.kind, 1 << 16
    )
    built(board, "uart")


def test_header_and_tag_lie_where_the_drawing_says() -> None:
    assert HEADER.size == 12
    assert pack_frame(Frame("A", b"", 7))[:12] == b"QL\x02A\0\0\0\0\x07\0\0\0"
    assert find_board("nrf52840_dk", targets_dir()).uart is not None
