"""The program: a quantised policy as a straight line of kernel calls, before it is text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.boards.core import Kernels
from quarl.firmware.c_types import LETTERS, SIZES, CType
from quarl.firmware.memory_planner import MemoryPlan
from quarl.firmware.names import OWN, Names
from quarl.firmware.record import Records
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.shapes import Shape


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
class Function:
    """A function of the runtime, named in a descriptor."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Struct:
    """A C initialiser: name -> value, in the order of the members."""

    fields: tuple[tuple[str, Value], ...]

    def parts(self) -> Iterator[Value]:
        """Yield every value in it, those of inner structs included."""
        for _, value in self.fields:
            if isinstance(value, Struct):
                yield from value.parts()
            else:
                yield value


NULL = Function("NULL")
Value: TypeAlias = int | np.float32 | Array | Function | Struct


@dataclass(frozen=True, slots=True)
class Operand:
    """A place in the arena, read or written by a call."""

    buffer: str
    ctype: CType
    offset: int = 0  # bytes from the buffer's start


@dataclass(frozen=True, slots=True, eq=False)
class Descriptor:
    """A constant that a kernel is called with: its type and name in C, and what it holds."""

    ctype: str
    name: str
    value: Struct


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One kernel call: `kernel(&descriptor, sizes..., operands...)`."""

    node: str
    kernel: str
    operands: tuple[Operand, ...]
    descriptor: Descriptor | None = None
    sizes: tuple[int, ...] = ()

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The tables that the descriptor points to."""
        return tuple(part for part in self._parts() if isinstance(part, Array))

    @property
    def functions(self) -> tuple[str, ...]:
        """The kernel, and those that its descriptor names."""
        named = (p.name for p in self._parts() if isinstance(p, Function) and p is not NULL)
        return (self.kernel, *named)

    @property
    def bytes(self) -> int:
        """Bytes of flash its tables take."""
        return sum(array.bytes for array in self.arrays)

    def _parts(self) -> Iterator[Value]:
        if self.descriptor is not None:
            yield from self.descriptor.value.parts()


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
    input: Operand  # the observation
    output: Operand  # the last node's result
    shapes: dict[str, Shape]
    input_len: int  # elements; bytes of a record
    output_len: int
    example: Example | None = None
    names: Names = OWN
    records: Records | None = None  # of a recurrent policy

    @property
    def input_ctype(self) -> CType:
        """What the input is an array of; a record is bytes."""
        return self.input.ctype if self.records is None else "int8_t"

    @property
    def output_ctype(self) -> CType:
        """What the output is an array of; a record is bytes."""
        return self.output.ctype if self.records is None else "int8_t"

    @property
    def table_bytes(self) -> int:
        """Bytes of weights, biases, multipliers and tables in flash, padding included."""
        return sum(call.bytes for call in self.calls)

    @property
    def observe_function(self) -> str:
        """The kernel that makes the graph's integers of an observation."""
        if self.policy.contract.observation.is_image:
            return "ql_observe_pixels"
        return f"ql_observe_{LETTERS[self.input.ctype]}"

    @property
    def real_function(self) -> str | None:
        """The kernel that makes real numbers of the outputs; None where they are floats already."""
        is_float = self.policy.nodes[-1].output is None
        return None if is_float else f"ql_real_{LETTERS[self.output.ctype]}"

    @property
    def decide_function(self) -> str:
        """The kernel that makes the action of the outputs."""
        is_discrete = self.policy.contract.action.is_choice
        return f"ql_argmax_{LETTERS[self.output.ctype]}" if is_discrete else "ql_act_box"

    @property
    def functions(self) -> frozenset[str]:
        """Every function of the runtime that the program's C text names."""
        named = {name for call in self.calls for name in call.functions}
        named |= {self.observe_function, self.decide_function}
        is_sampled = self.policy.contract.action.sampled
        has_softmax = self.policy.softmax_beta is not None or is_sampled
        is_box = self.policy.contract.action.kind == "box"
        if self.real_function is not None and (is_box or has_softmax):
            named.add(self.real_function)
        if has_softmax:
            named.add("ql_softmax_f32")
        if is_sampled:
            named |= {"ql_random_seed", "ql_random_next", "ql_sample_f32"}
        return frozenset(named)
