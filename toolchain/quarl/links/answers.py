"""What goes into a request and what an answer's bytes mean, the same on every link to a firmware.

In: an interface and the graph's integers, or payloads of frames. Out: the payloads, or arrays.
Layouts: firmware_harness/harness/ql_frame.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from quarl.errors import DeviceError
from quarl.firmware.c_types import DTYPES
from quarl.firmware.interface import Interface
from quarl.graph.rows import split_rows

TICKS = struct.Struct("<I")
IDENTITY = struct.Struct("<4I64s4x")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a firmware says of itself; sizes in bytes."""

    observation_bytes: int
    input_bytes: int
    output_bytes: int
    action_bytes: int
    contract_sha256: str

    @property
    def longest_request(self) -> int:
        """Bytes of the longest payload the host may send."""
        return max(self.observation_bytes, self.input_bytes)

    @property
    def longest_answer(self) -> int:
        """Bytes of the longest payload the device may send."""
        return max(IDENTITY.size, TICKS.size + self.output_bytes + self.action_bytes)


def expected_identity(interface: Interface) -> Identity:
    """Return what the firmware of an interface says of itself."""
    contract = interface.contract
    pixels_or_floats = np.dtype(np.uint8 if contract.observation.is_image else np.float32)
    state = 0 if interface.records is None else interface.records.state_bytes
    return Identity(
        int(np.prod(contract.observation.shape)) * pixels_or_floats.itemsize + state,
        interface.input_len * np.dtype(DTYPES[interface.input]).itemsize,
        interface.output_len * np.dtype(DTYPES[interface.output]).itemsize,
        4 * contract.action.width,
        contract.digest,
    )


def identity_from(payload: bytes) -> Identity:
    """Return what the answer to an identify request says.

    Raises:
        DeviceError: it has another length.
    """
    if len(payload) != IDENTITY.size:
        raise DeviceError(
            f"the device identifies itself in {len(payload)} bytes, expected are "
            f"{IDENTITY.size}: export and flash again"
        )
    observation, inputs, outputs, action, digest = IDENTITY.unpack(payload)
    return Identity(observation, inputs, outputs, action, digest.decode("ascii", "replace"))


def input_payloads(interface: Interface, inputs: NDArray[Any]) -> list[bytes]:
    """Return one payload for each of one step's integers [n, ...]."""
    if interface.records is not None:
        inputs = interface.records.input.pack(inputs)
    dtype = DTYPES[interface.input]
    return [np.ascontiguousarray(row, dtype).tobytes() for row in inputs]


def observation_payloads(interface: Interface, rows: NDArray[Any]) -> list[bytes]:
    """Return one payload for each row (`quarl.graph.rows`) of a policy of vectors, in environment
    units: the observation, and of a recurrent policy the integers of its state.
    """
    obs = split_rows(interface.contract, rows)[0]
    payloads = [row.tobytes() for row in np.ascontiguousarray(obs, np.float32)]
    if interface.records is None:
        return payloads
    states = interface.records.state_of(interface.contract, rows)
    return [obs + state.tobytes() for obs, state in zip(payloads, states, strict=True)]


def ticks_of(answers: Sequence[bytes]) -> tuple[int, ...]:
    """Return the device's ticks of each answer to a run or act request."""
    return tuple(int(TICKS.unpack_from(answer)[0]) for answer in answers)


def outputs_of(interface: Interface, answers: Sequence[bytes]) -> NDArray[Any]:
    """Return the outputs [n, count] in the answers to run requests."""
    dtype = DTYPES[interface.output]
    rows = [np.frombuffer(answer, dtype, interface.output_len, TICKS.size) for answer in answers]
    outputs = np.stack(rows) if rows else np.zeros((0, interface.output_len), dtype)
    return outputs if interface.records is None else interface.records.output.unpack(outputs)


def actions_of(interface: Interface, actions: Sequence[bytes]) -> NDArray[Any]:
    """Return the actions [n] or [n, width] from their bytes, which end an answer."""
    match interface.contract.action.kind:
        case "discrete":
            return np.array([struct.unpack("<i", action)[0] for action in actions], np.int64)
        case "multi_discrete":
            return np.stack([np.frombuffer(action, "<i4").astype(np.int64) for action in actions])
        case "box":
            return np.stack([np.frombuffer(action, np.float32) for action in actions])
        case other:
            assert_never(other)
