"""A board on a serial port: the harness's own protocol over a UART, for a line that may lose,
garble and delay bytes.

In: a port and the program the board was flashed with. Out: outputs and actions as from any other
link, and the ticks the device counted.
A request is repeated until a whole answer with its tag has come, at most ATTEMPTS times; each
repetition follows as many zeros as complete whatever the device still waits for. The CRC keeps
damaged answers out, the tag late ones. Layout:
firmware_harness/harness/ql_frame.h.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from numpy.typing import NDArray

from quarl.boards.microcontroller import Board
from quarl.errors import DeviceError, ToolMissingError
from quarl.firmware.interface import Interface
from quarl.links.answers import (
    TICKS,
    actions_of,
    expected_identity,
    identity_from,
    input_payloads,
    observation_payloads,
    outputs_of,
    ticks_of,
)
from quarl.links.frames import (
    CRC,
    HEADER,
    REASONS,
    TRANSIENT,
    VERSION,
    Frame,
    FrameScanner,
    Kind,
    pack_frame,
    payload_of,
)

ATTEMPTS = 5
# for an inference, and for the example that is replayed at boot: a large network on a slow clock
# takes seconds
ANSWER_S = 15.0
BAUD = 115_200  # of a line that has none of its own, for how long an answer may take
BITS_PER_BYTE = 10  # start, eight data, stop
FAULT = 5  # the one refusal that belongs to no request
READ_S = 0.05
FLOOD_BYTES = 1 << 16  # a line that says more than this after its time is not answering


class BytePort(Protocol):
    """What the link needs of a serial port; `serial.Serial` is one."""

    @property
    def in_waiting(self) -> int:
        """Bytes that have come and not been read."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, or after a short wait those that have come."""
        ...

    def write(self, data: bytes, /) -> Any:
        """Send the bytes."""
        ...


def open_port(path: str, baud: int) -> BytePort:
    """Return the serial port, ours alone.

    Raises:
        ToolMissingError: pyserial is not installed.
        DeviceError: there is no such port, or it is in use or forbidden.
    """
    try:
        import serial  # type: ignore[import-untyped]
    except ImportError as error:
        raise ToolMissingError(
            "pyserial is not installed: pip install 'quarl[firmware]'"
        ) from error
    try:
        port: BytePort = serial.Serial(
            path, baud, timeout=READ_S, write_timeout=ANSWER_S, exclusive=True
        )
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"{path}: cannot open the serial port ({error}): is the board connected, the port "
            "free, and the user in its group (dialout)?"
        ) from error
    return port


class SerialDevice:
    """A flashed board. Answers like the other runtimes: `run` and `infer`."""

    def __init__(
        self,
        port: BytePort,
        name: str,
        board: Board,
        interface: Interface,
        answer_s: float = ANSWER_S,
    ) -> None:
        """Ask the device who it is; one without a baud rate is reached by its probe."""
        self.interface, self._port, self._name, self._path, self._board = (
            interface,
            port,
            f"{board.name} on {name}",
            name,
            board,
        )
        baud = None if board.uart is None else board.uart.baud
        self._byte_s, self._answer_s, self._tag = BITS_PER_BYTE / (baud or BAUD), answer_s, 0
        self._expected = expected_identity(interface)
        self._scanner = FrameScanner(self._expected.longest_answer)
        self.repeated = 0  # requests sent again, so far
        found = identity_from(self._ask("I", b""))
        if found != self._expected:
            raise DeviceError(
                f"{self._name}: the board answers, but for another policy (contract "
                f"{found.contract_sha256[:12]}, "
                f"expected {self._expected.contract_sha256[:12]}): flash this bundle's "
                "firmware, quarl profile ... --flash pyocd"
            )

    @property
    def place(self) -> str:
        """Where it runs, for people."""
        return f"on {self._path}"

    def run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [n, count] for the graph's integers [n, ...]."""
        return outputs_of(
            self.interface,
            [self._ask("R", payload) for payload in input_payloads(self.interface, inputs)],
        )

    def infer(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [n, count] of a batch."""
        return self.run(inputs)

    def act(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions for vector observations [n, features] in environment units, quantised
        on the device.
        """
        return self.timed_act(obs)[0]

    def decisions(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions for the graph's integers [n, ...], decoded on the device."""
        return self.timed_decisions(inputs)[0]

    def timed_act(self, obs: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, ...]]:
        """Return `act`'s actions and the ticks of each decision, from observation to action; 0
        where the core counts none.
        """
        answers = [self._ask("A", payload) for payload in observation_payloads(self.interface, obs)]
        return actions_of(self.interface, [answer[TICKS.size :] for answer in answers]), ticks_of(
            answers
        )

    def timed_decisions(self, inputs: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, ...]]:
        """Return `decisions`' actions and the ticks of each inference, from the graph's integers to
        its outputs.
        """
        answers = [self._ask("R", payload) for payload in input_payloads(self.interface, inputs)]
        start = TICKS.size + self._expected.output_bytes
        return actions_of(self.interface, [answer[start:] for answer in answers]), ticks_of(answers)

    def _ask(self, kind: Kind, payload: bytes) -> bytes:
        """Return the payload of the answer to one request.

        Raises:
            DeviceError: the port is gone, or ATTEMPTS requests had no whole answer; says what came
                instead.
        """
        trouble = "nothing came"
        for attempt in range(ATTEMPTS):
            self._tag = self._tag % 0xFFFF_FFFF + 1
            if attempt:
                self.repeated += 1
                self._send(bytes(self._expected.longest_request + CRC.size))
            self._send(pack_frame(Frame(kind, payload, self._tag)))
            answer, trouble = self._receive(len(payload))
            if answer is not None and self._is_whole(answer, kind):
                try:
                    return payload_of(answer, kind)
                except DeviceError as error:
                    raise DeviceError(f"{self._name}: {error}") from error
            trouble = (
                trouble
                if answer is None
                else "the last answer: "
                f"{REASONS.get(answer.refusal or 0, f'{answer.kind!r}, wrong length')}"
            )
        raise DeviceError(
            f"{self._name}: no whole answer to {ATTEMPTS} requests {kind!r} ({trouble}): "
            "check wiring and baud rate "
            f"({self._board.uart and self._board.uart.baud}), and that the firmware with the "
            "UART port is flashed"
        )

    def _is_whole(self, answer: Frame, kind: Kind) -> bool:
        """Whether an answer settles the request: the wanted kind and length, or a refusal that
        asking again would not change.
        """
        if answer.kind == "E":
            return answer.refusal is not None and answer.refusal not in TRANSIENT
        output, action = self._expected.output_bytes, self._expected.action_bytes
        lengths = {"R": TICKS.size + output + action, "A": TICKS.size + action}
        return answer.kind != kind or len(answer.payload) == lengths.get(kind, len(answer.payload))

    def _receive(self, sent: int) -> tuple[Frame | None, str]:
        """Return the answer with the current tag, None where none comes in time; and what came
        instead.
        """
        before, received = self._scanner.skipped, 0
        line_s = self._byte_s * (
            2 * HEADER.size + 2 * CRC.size + sent + self._expected.longest_answer
        )
        end = time.monotonic() + self._answer_s + line_s
        part = b""
        after = 0  # bytes read when the time was already up: what came before still counts
        while time.monotonic() < end or (after <= FLOOD_BYTES and (part or not received)):
            try:
                part = self._port.read(max(1, self._port.in_waiting))
            except (
                OSError,
                TypeError,
            ) as error:  # pyserial raises TypeError where another thread has closed the port
                raise self._gone(error) from error
            received += len(part)
            after += (len(part) or FLOOD_BYTES + 1) if time.monotonic() >= end else 0
            for frame in self._scanner.feed(part):
                if frame.tag == self._tag or frame.refusal == FAULT:
                    return frame, ""
        for frame in self._scanner.give_up():
            if frame.tag == self._tag:
                return frame, ""
        if self._scanner.other_version is not None:
            return (
                None,
                f"it speaks version {self._scanner.other_version} of the protocol, this quarl "
                f"version {VERSION}: export and flash again",
            )
        if not received:
            return None, f"nothing came within {self._answer_s:g} s"
        return (
            None,
            f"{received} bytes came, {self._scanner.skipped - before} of them outside any frame",
        )

    def _send(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except OSError as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> DeviceError:
        return DeviceError(
            f"{self._name}: the serial port was lost in the middle of the run ({error}): "
            "check cable and power, then run again"
        )
