"""Records: how one step of a recurrent policy lies in bytes, on its way in and out of the C
runtime.

In: a quantised policy. Out: a record for what goes in (observation and states) and one for what
comes out (outputs and next states). In a record the widest elements come first, so that none has to
be padded. A policy without a state has no records: its input and output are plain arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.firmware.c_types import DTYPES, SIZES, CType, ctype_of
from quarl.graph.contract import Contract
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.quant_tensor import QuantTensor
from quarl.graph.rows import split_rows, state_parts


@dataclass(frozen=True, slots=True)
class Field:
    """One tensor of a record: elements of a C type from an offset in bytes."""

    name: str
    ctype: CType
    length: int
    offset: int

    @property
    def bytes(self) -> int:
        """Bytes it takes."""
        return self.length * SIZES[self.ctype]


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of one step, in the order of the columns that stand for them elsewhere."""

    fields: tuple[Field, ...]

    @property
    def bytes(self) -> int:
        """Bytes of the record."""
        return sum(field.bytes for field in self.fields)

    def field(self, name: str) -> Field:
        """Return the field of that name."""
        return next(field for field in self.fields if field.name == name)

    def pack(self, rows: NDArray[Any]) -> NDArray[np.int8]:
        """Return int8 [n, bytes] from columns [n, values]."""
        packed = np.zeros((len(rows), self.bytes), np.int8)
        at = 0
        for field in self.fields:
            values = np.ascontiguousarray(rows[:, at : at + field.length], DTYPES[field.ctype])
            end = field.offset + field.bytes
            packed[:, field.offset : end] = values.view(np.int8).reshape(len(rows), field.bytes)
            at += field.length
        return packed

    def unpack(self, packed: NDArray[np.int8]) -> NDArray[Any]:
        """Return the columns [n, values] of int8 [n, bytes], in the widest of their types."""
        parts = []
        for field in self.fields:
            part = packed[:, field.offset : field.offset + field.bytes]
            parts.append(np.ascontiguousarray(part).view(DTYPES[field.ctype]))
        widest = max(self.fields, key=lambda field: SIZES[field.ctype])
        return np.concatenate(parts, axis=1).astype(DTYPES[widest.ctype])


@dataclass(frozen=True, slots=True)
class HeldState:
    """How a state's integers mean numbers; see `QuantTensor`."""

    name: str
    scale: float
    zero_point: int
    qmin: int
    qmax: int

    @property
    def tensor(self) -> QuantTensor:
        """The tensor of a graph."""
        return QuantTensor(np.float32(self.scale), self.zero_point, self.qmin, self.qmax)


@dataclass(frozen=True, slots=True)
class Records:
    """Both records of a recurrent policy, and what its states mean."""

    input: Record
    output: Record
    states: tuple[HeldState, ...]

    @property
    def state_fields(self) -> tuple[Field, ...]:
        """The states in the order of their bytes, which is that of the struct in C."""
        fields = [self.input.field(state.name) for state in self.states]
        return tuple(sorted(fields, key=lambda field: field.offset))

    @property
    def state_bytes(self) -> int:
        """Bytes of all states."""
        return sum(field.bytes for field in self.state_fields)

    def state_of(self, contract: Contract, rows: NDArray[Any]) -> NDArray[np.int8]:
        """Return int8 [n, bytes]: the states in rows (`quarl.graph.rows`) as the struct holds
        them.
        """
        parts = state_parts(contract, split_rows(contract, rows)[1])
        made = {
            state.name: state.tensor.quantize(parts[vector.tensor_name])
            for state, vector in zip(self.states, contract.state, strict=True)
        }
        held = [
            np.ascontiguousarray(made[field.name], DTYPES[field.ctype]).view(np.int8)
            for field in self.state_fields
        ]
        return np.concatenate(held, axis=1)


OBSERVATION, OUTPUT = "observation", "output"


def records_of(policy: QuantPolicy) -> Records | None:
    """Return the records of a recurrent policy; None of another."""
    if not policy.state:
        return None
    lengths = {vector.name: vector.length for vector in policy.contract.state}
    states: list[tuple[str, CType, int]] = [
        (state.name, ctype_of(state.dtype), lengths[state.name]) for state in policy.state
    ]
    observed: CType = "int8_t" if policy.observation.tensor.is_int8 else "int16_t"
    features, count = policy.contract.observation.shape[0], policy.contract.action.count
    held = tuple(
        HeldState(s.name, float(s.tensor.scale), s.tensor.zero_point, s.tensor.qmin, s.tensor.qmax)
        for s in policy.state
    )
    return Records(
        _record([(OBSERVATION, observed, features), *states]),
        _record([(OUTPUT, ctype_of(policy.head_dtype), count), *states]),
        held,
    )


def _record(parts: list[tuple[str, CType, int]]) -> Record:
    """Return the record: the widest elements first, else in order."""
    offsets, at = {}, 0
    for name, ctype, length in sorted(parts, key=lambda part: -SIZES[part[1]]):
        offsets[name] = at
        at += length * SIZES[ctype]
    return Record(tuple(Field(name, c, length, offsets[name]) for name, c, length in parts))
