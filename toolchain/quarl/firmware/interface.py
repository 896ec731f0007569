"""The interface of a firmware: what goes in and out, and which kernels one inference calls.

It lies beside the C sources as interface.json, so that whoever builds them needs nothing else to
talk to the firmware and to count it layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from quarl.boards.core import Kernels
from quarl.files.documents import Document, Line, Name, decode, encode
from quarl.firmware.c_types import CType
from quarl.firmware.names import Names
from quarl.firmware.program import Program
from quarl.firmware.record import Records
from quarl.graph.contract import Contract

INTERFACE_FILE = "interface.json"
DOCUMENT = Document("a firmware's interface", 1, "export the bundle again")


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One call of a kernel in one inference."""

    layer: Line  # as the source calls it, often a path
    kernel: Name
    table_bytes: int  # of weights, biases, multipliers and tables in flash


@dataclass(frozen=True, slots=True)
class _Table:
    """What interface.json holds."""

    prefix: Name
    kernels: Kernels
    input: CType
    input_len: int
    output: CType
    output_len: int
    arena_bytes: int
    calls: tuple[KernelCall, ...]
    records: Records | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """What a link must know of a firmware: the contract, and how its C code is laid out."""

    contract: Contract
    prefix: Name
    kernels: Kernels
    input: CType
    input_len: int
    output: CType
    output_len: int
    arena_bytes: int  # tensors and scratch, input included
    calls: tuple[KernelCall, ...]  # in order
    records: Records | None = None  # of a recurrent policy

    @property
    def names(self) -> Names:
        """What the policy is called in C."""
        return Names(self.prefix)

    @property
    def table_bytes(self) -> int:
        """Bytes of all tables in flash, padding included."""
        return sum(call.table_bytes for call in self.calls)

    def to_json(self) -> bytes:
        """Return interface.json; the contract has a file of its own."""
        names = _Table.__dataclass_fields__
        return encode(_Table(**{name: getattr(self, name) for name in names}), DOCUMENT)


def interface_of(program: Program) -> Interface:
    """Return the interface of the firmware that a program's C files build."""
    return Interface(
        contract=program.policy.contract,
        prefix=program.names.prefix,
        kernels=program.kernels,
        input=program.input_ctype,
        input_len=program.input_len,
        output=program.output_ctype,
        output_len=program.output_len,
        arena_bytes=program.plan.arena_bytes,
        calls=tuple(KernelCall(call.node, call.kernel, call.bytes) for call in program.calls),
        records=program.records,
    )


def interface_from(data: bytes, contract: Contract, where: str) -> Interface:
    """Return the interface in the bytes of interface.json.

    Raises:
        InputError: it is not one.
    """
    table = decode(_Table, data, where, DOCUMENT)
    return Interface(
        contract, **{name: getattr(table, name) for name in _Table.__dataclass_fields__}
    )
