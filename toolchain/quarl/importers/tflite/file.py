"""A `.tflite` file as checked values: what it claims is bounded before time or memory is spent on
it.

In: a path. Out: a `TfliteGraph`. In a FlatBuffer tables may overlap and vectors claim any length,
and the generated readers verify neither, so a file of kilobytes could describe billions of tensors.
Here nothing is unpacked as a whole:
every count has a limit, every index and every constant is checked, and whatever a damaged file
makes the readers raise becomes one message.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.files.open import read_file
from quarl.importers.detect import TFLITE_MAGIC
from quarl.importers.tflite.settings import OPTIONS, Settings, names_of

MAX_BYTES = 1 << 27
MAX_TENSORS = 4_096
MAX_OPERATORS = 1_024
MAX_OPERANDS = 64
MAX_RANK = 6
MAX_ELEMENTS = 1 << 24  # of one activation
# constants may claim this many times the file's bytes together: tensors may share a buffer, in a
# bomb all of them do
MAX_SHARING = 4
NUMPY_TYPES = {
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
}


_OPERATORS = names_of(schema.BuiltinOperator)
_TYPES = names_of(schema.TensorType)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """One tensor: real = scale * (q - zero_point), per tensor or per index of `axis`."""

    name: str
    dtype: str  # its name in the schema
    shape: tuple[int, ...]
    scale: NDArray[np.float32]  # [0] where it is not quantised, [1], or [shape[axis]]
    zero_point: NDArray[np.int64]  # as scale
    axis: int
    data: NDArray[np.uint8] | None  # the bytes of a constant

    def values(self) -> NDArray[Any] | None:
        """Return a constant's values, None where it is none or of a type no importer reads."""
        if self.data is None or self.dtype not in NUMPY_TYPES:
            return None
        return self.data.view(NUMPY_TYPES[self.dtype]).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator; tensors by index, -1 for an optional input that is omitted."""

    index: int
    name: str  # of the builtin operator in the schema
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    settings: Settings


@dataclass(frozen=True, slots=True, eq=False)
class TfliteGraph:
    """The one graph of a file."""

    content: bytes
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    is_made_by_quarl: bool

    @property
    def output_names(self) -> tuple[str, ...]:
        """What each output is called; "NAME:1" where several have one name."""
        names = [self.tensors[index].name or "output" for index in self.outputs]
        return tuple(
            name if names.count(name) == 1 else f"{name}:{place}"
            for place, name in enumerate(names)
        )

    def showing(self, tensor: int) -> bytes:
        """Return the file with one tensor as its only output, everything else as it was."""
        table = schema.Model.GetRootAs(self.content, 0).Subgraphs(0)._tab
        start = table.Vector(table.Offset(8))  # SubGraph.outputs: a count, then indices
        return self.content[: start - 4] + struct.pack("<Ii", 1, tensor) + self.content[start + 4 :]


def read_graph(path: Path) -> TfliteGraph:
    """Return the graph in the file.

    Raises:
        InputError: cut off or damaged.
        UnsupportedError: several graphs, or constants outside the file.
        UntrustedFileError: it claims more than the limits above.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise UntrustedFileError(
            f"{path.name}: {path.stat().st_size:,} bytes, at most {MAX_BYTES:,} are read: no "
            "policy for a small board"
        )
    content = read_file(path)
    with _damage_reported(path.name):
        if content[4:8] != TFLITE_MAGIC:
            raise InputError(
                f"{path.name}: is not a .tflite file ({TFLITE_MAGIC.decode()} is missing at its "
                "start)"
            )
        model = schema.Model.GetRootAs(content, 0)
        if model.Version() != 3:
            raise InputError(
                f"{path.name}: is a .tflite of version {model.Version()}, only version 3 is "
                "known: convert the model again"
            )
        if model.SubgraphsLength() != 1:
            raise UnsupportedError(
                f"{path.name}: has {model.SubgraphsLength()} graphs, a policy is one: convert "
                "it without control flow"
            )
        return _Reader(path.name, content, model).graph()


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    try:
        yield
    except (
        struct.error,
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        AssertionError,
    ) as error:
        raise InputError(
            f"{name}: the .tflite is cut off or damaged ({error}): copy it again, or convert "
            "the model again"
        ) from error


class _Reader:
    """Reads one file's tables; only used where damage is reported."""

    def __init__(self, name: str, content: bytes, model: Any) -> None:
        self.name, self.content, self.model = name, content, model
        self.claimed = 0

    def graph(self) -> TfliteGraph:
        subgraph = self.model.Subgraphs(0)
        tensors = tuple(
            self._tensor(subgraph.Tensors(i))
            for i in range(self._count(subgraph.TensorsLength(), MAX_TENSORS, "tensors"))
        )
        count = self._count(subgraph.OperatorsLength(), MAX_OPERATORS, "operators")
        operators = tuple(
            self._operator(i, subgraph.Operators(i), len(tensors)) for i in range(count)
        )
        inputs = self._indices(subgraph.InputsAsNumpy, subgraph.InputsLength(), 0, len(tensors))
        outputs = self._indices(subgraph.OutputsAsNumpy, subgraph.OutputsLength(), 0, len(tensors))
        if not inputs or not outputs or not operators:
            raise InputError(
                f"{self.name}: has {len(inputs)} inputs, {len(operators)} operators and "
                f"{len(outputs)} outputs: not a policy"
            )
        self._check_order(tensors, operators, inputs)
        return TfliteGraph(
            self.content, tensors, operators, inputs, outputs, self._is_made_by_quarl()
        )

    def _count(self, found: int, limit: int, what: str) -> int:
        if found > limit:
            raise UntrustedFileError(
                f"{self.name}: claims {found:,} {what}, at most {limit:,} are read: no policy "
                "for a small board"
            )
        return int(found)

    def _vector(self, read: Callable[[], Any], length: int, limit: int, what: str) -> NDArray[Any]:
        """Return a vector of numbers; NumPy refuses one that does not end inside the file."""
        return np.array(read()) if self._count(length, limit, what) else np.zeros(0)

    def _indices(
        self, read: Callable[[], Any], length: int, low: int, count: int
    ) -> tuple[int, ...]:
        found = tuple(
            int(i) for i in self._vector(read, length, MAX_OPERANDS, "operands of one operator")
        )
        if any(not low <= index < count for index in found):
            raise InputError(
                f"{self.name}: names tensors {found}, there are {count}: the file is damaged, "
                "convert the model again"
            )
        return found

    def _tensor(self, table: Any) -> Tensor:
        shape = tuple(
            int(n)
            for n in self._vector(table.ShapeAsNumpy, table.ShapeLength(), MAX_RANK, "dimensions")
        )
        elements = math.prod(shape)
        dtype = _TYPES.get(table.Type(), f"type {table.Type()}")
        data = self._data(int(table.Buffer()))
        if min(shape, default=0) < 0 or (data is None and elements > MAX_ELEMENTS):
            raise UntrustedFileError(
                f"{self.name}: a tensor claims shape {shape}, at most {MAX_ELEMENTS:,} "
                "numbers are read"
            )
        if (
            data is not None
            and dtype in NUMPY_TYPES
            and data.size != elements * np.dtype(NUMPY_TYPES[dtype]).itemsize
        ):
            raise InputError(
                f"{self.name}: a constant {dtype} {shape} has {data.size:,} bytes: the file "
                "is damaged, convert it again"
            )
        if table.IsVariable() or table.Sparsity() is not None:
            kind = "variable" if table.IsVariable() else "sparse"
            raise UnsupportedError(
                f"{self.name}: has a {kind} tensor, which is not carried over: convert a "
                "dense model without state"
            )
        scale, zero_point, axis = self._quantization(table.Quantization(), max((*shape, 1)))
        return Tensor(_text(table, 10), dtype, shape, scale, zero_point, axis, data)

    def _data(self, index: int) -> NDArray[np.uint8] | None:
        if index >= self.model.BuffersLength():
            raise InputError(
                f"{self.name}: a tensor names buffer {index}, there are "
                f"{self.model.BuffersLength()}: the file is damaged"
            )
        buffer = self.model.Buffers(index)
        if buffer.Offset() > 1:
            raise UnsupportedError(
                f"{self.name}: keeps constants behind the graph, as files above 2 GB do: no "
                "policy for a small board"
            )
        if buffer.DataLength() == 0:
            return None
        data: NDArray[np.uint8] = buffer.DataAsNumpy()
        self.claimed += data.size
        if self.claimed > MAX_SHARING * len(self.content):
            raise UntrustedFileError(
                f"{self.name}: its constants claim over {MAX_SHARING} times the bytes of the "
                "file: do not trust it"
            )
        return data

    def _quantization(
        self, table: Any, longest: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
        if table is None or table.ScaleLength() == 0:
            return np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        if table.DetailsType() != schema.QuantizationDetails.NONE:
            raise UnsupportedError(
                f"{self.name}: a tensor is quantised in a way of its own, only scales and "
                "zero points are known"
            )
        scale = self._vector(
            table.ScaleAsNumpy, table.ScaleLength(), longest, "scales of one tensor"
        ).astype(np.float32)
        zero_point = self._vector(
            table.ZeroPointAsNumpy, table.ZeroPointLength(), longest, "zero points of one tensor"
        ).astype(np.int64)
        if len(scale) != len(zero_point):
            raise InputError(
                f"{self.name}: a tensor has {len(scale)} scales and {len(zero_point)} zero "
                "points: the file is damaged"
            )
        return scale, zero_point, int(table.QuantizedDimension())

    def _operator(self, index: int, table: Any, tensors: int) -> Operator:
        if table.OpcodeIndex() >= self.model.OperatorCodesLength():
            raise InputError(
                f"{self.name}: operator {index} is of unknown kind {table.OpcodeIndex()}: the "
                "file is damaged"
            )
        entry = self.model.OperatorCodes(table.OpcodeIndex())
        code = max(
            entry.BuiltinCode(), entry.DeprecatedBuiltinCode()
        )  # old files have the second alone
        name = _OPERATORS.get(code, f"operator code {code}")
        inputs = self._indices(table.InputsAsNumpy, table.InputsLength(), -1, tensors)
        outputs = self._indices(table.OutputsAsNumpy, table.OutputsLength(), 0, tensors)
        return Operator(index, name, inputs, outputs, self._settings(name, index, table))

    def _settings(self, name: str, index: int, table: Any) -> Settings:
        if name not in OPTIONS:
            return Settings()
        kind, read = OPTIONS[name]
        union = table.BuiltinOptions()
        if union is None or table.BuiltinOptionsType() != getattr(schema.BuiltinOptions, kind):
            raise InputError(
                f"{self.name}: operator {index} ({name}) lacks its options: the file is "
                "damaged, convert the model again"
            )
        options = getattr(schema, kind)()
        options.Init(union.Bytes, union.Pos)
        return read(options)

    def _check_order(
        self, tensors: Sequence[Tensor], operators: Sequence[Operator], inputs: tuple[int, ...]
    ) -> None:
        known = {-1, *inputs, *(i for i, tensor in enumerate(tensors) if tensor.data is not None)}
        for operator in operators:
            early = [i for i in operator.inputs if i not in known]
            twice = [i for i in operator.outputs if i in known]
            if early or twice:
                found = (
                    f"reads tensor {early[0]} before it is made"
                    if early
                    else f"writes tensor {twice[0]}, which is made already"
                )
                raise InputError(
                    f"{self.name}: operator {operator.index} ({operator.name}) {found}: the "
                    "file is damaged"
                )
            known.update(operator.outputs)

    def _is_made_by_quarl(self) -> bool:
        return any(
            _text(self.model.Metadata(i), 4) == "quarl"
            for i in range(
                self._count(self.model.MetadataLength(), MAX_OPERANDS, "metadata entries")
            )
        )


def _text(table: Any, field: int) -> str:
    """Return the name in a table; a string is a vector, and a long one is not copied."""
    place = table._tab.Offset(field)
    if place == 0 or table._tab.VectorLen(place) > MAX_OPERANDS:
        return ""
    return bytes(table.Name()).decode("utf-8", "replace")
