"""The program: a quantised policy as a straight line of kernel calls, before it is text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quarl.boards.core import Kernels
from quarl.firmware.memory_planner import MemoryPlan
from quarl.graph.quant_policy import QuantPolicy

CType = Literal["int8_t", "int16_t", "int32_t", "float"]
SIZES: dict[CType, int] = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "float": 4}
DTYPES: dict[CType, type[np.generic]] = {
    "int8_t": np.int8,
    "int16_t": np.int16,
    "int32_t": np.int32,
    "float": np.float32,
}


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """A constant table in flash."""

    name: str
    ctype: CType
    values: NDArray[Any]
    alignment: int = 1  # bytes, where more than the type's own is needed

    @property
    def bytes(self) -> int:
        """Bytes of flash it takes."""
        return int(self.values.size) * SIZES[self.ctype]


@dataclass(frozen=True, slots=True)
class Operand:
    """A place in the arena, read or written by a call."""

    buffer: str
    ctype: CType


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One kernel call: `kernel(&descriptor, leading..., operands...)`.

    `fields` initialise the descriptor, as C text; without a descriptor only `leading` and the
    operands are passed.
    """

    node: str
    kernel: str
    operands: tuple[Operand, ...]
    descriptor_type: str = ""
    descriptor: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    leading: tuple[str, ...] = ()
    arrays: tuple[Array, ...] = ()
    is_const: tuple[bool, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of flash its tables take."""
        return sum(array.bytes for array in self.arrays)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """Graph inputs [n, ...] and the outputs [n, count] the device must give for them before it
    serves.
    """

    inputs: NDArray[Any]
    outputs: NDArray[Any]

    @property
    def bytes(self) -> int:
        """Bytes of flash it takes."""
        return int(self.inputs.nbytes + self.outputs.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Calls in order, the arena they work in, where input and output lie, and what to check at
    boot.
    """

    policy: QuantPolicy
    kernels: Kernels
    calls: tuple[Call, ...]
    plan: MemoryPlan
    input: Operand
    output: Operand
    input_len: int
    output_len: int
    example: Example | None = None

    @property
    def table_bytes(self) -> int:
        """Bytes of weights, biases, multipliers and tables in flash, padding included."""
        return sum(call.bytes for call in self.calls)


def ctype_of(dtype: type[np.generic]) -> CType:
    """Return the C type of an artifact's output type."""
    types: dict[type[np.generic], CType] = {
        np.int8: "int8_t",
        np.int16: "int16_t",
        np.float32: "float",
    }
    return types[dtype]


def float_text(value: np.float32) -> str:
    """Return a C literal of exactly this finite float32."""
    return f"{float(value).hex()}F"
