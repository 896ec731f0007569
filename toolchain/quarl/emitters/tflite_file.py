"""Builds one `.tflite` file: tensors, operators and constants through the schema classes that ship
with LiteRT.

The same calls in the same order give the same bytes. Constants with equal bytes share one buffer;
buffers start at multiples of 16 bytes, so that a device may read them in place.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]
from numpy.typing import NDArray

from quarl.graph.policy import INPUT
from quarl.graph.quant_policy import QuantTensor

ALIGNMENT = 16  # bytes; what the TensorFlow Lite file format asks of buffers
MOST_METADATA = 64  # entries that are looked at
OUTPUT = "output"  # name of the result in the signature, beside INPUT
# an options object of the schema; its class name says which member of the union it is
Options = Any
_TYPES = {
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.float32): schema.TensorType.FLOAT32,
}


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose bytes start at a multiple of ALIGNMENT in the file; the generated class leaves
    them where they fall.
    """

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802, the generated class calls it so
        builder.StartVector(1, self.data.size, ALIGNMENT)
        head = builder.head - self.data.size
        builder.head = head
        builder.Bytes[head : head + self.data.size] = self.data.tobytes()
        builder.vectorNumElems = self.data.size
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


class TfliteFile:
    """One subgraph under construction. Tensors are addressed by their index."""

    def __init__(self) -> None:
        self._graph = schema.SubGraphT()
        self._graph.name = "main"
        self._graph.tensors = []
        self._graph.operators = []
        self._buffers: list[Any] = [schema.BufferT()]  # buffer 0 is the empty one
        self._buffer_of: dict[bytes, int] = {}
        self._codes: list[Any] = []
        self._code_of: dict[tuple[int, int], int] = {}

    def activation(
        self,
        name: str,
        shape: Sequence[int],
        dtype: type[np.generic],
        tensor: QuantTensor | None = None,
    ) -> int:
        """Return a new tensor that an operator writes, or the input; `shape` without the batch,
        which may be resized.
        """
        index = self._tensor(name, (1, *shape), np.dtype(dtype), 0)
        self._graph.tensors[index].shapeSignature = [-1, *map(int, shape)]
        if tensor is not None:
            self._set_scale(index, np.array([tensor.scale], np.float32), tensor.zero_point, 0)
        return index

    def unpacked(self, name: str, shape: Sequence[int]) -> int:
        """Return a new float32 tensor that an operator makes from a constant; it has no batch."""
        return self._tensor(name, shape, np.dtype(np.float32), 0)

    def constant(
        self,
        name: str,
        values: NDArray[Any],
        scale: NDArray[np.float32] | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """Return a new constant tensor; `scale` float32 [1] or one per channel along `axis`."""
        index = self._tensor(
            name, values.shape, values.dtype, self._buffer(np.ascontiguousarray(values).tobytes())
        )
        if scale is not None:
            self._set_scale(index, scale, zero_point, axis)
        return index

    def operator(
        self,
        code: int,
        version: int,
        inputs: Sequence[int],
        output: int,
        options: Options | None = None,
    ) -> int:
        """Add an operator that writes `output`, and return `output`."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(code, version)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(
                schema.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
        self._graph.operators.append(operator)
        return output

    def finish(
        self,
        graph_input: int,
        graph_output: int,
        metadata: dict[str, str],
        state: Sequence[tuple[str, int, int]] = (),
    ) -> bytes:
        """Return the file's bytes; the signature calls the two tensors "observation" and
        "output".

        Args:
            state: name, input and output of each state, "state_NAME" and "next_NAME" in the
                signature.
        """
        self._graph.inputs = [graph_input, *(held for _, held, _ in state)]
        self._graph.outputs = [graph_output, *(made for _, _, made in state)]
        signature = schema.SignatureDefT()
        signature.signatureKey = "serving_default"
        signature.inputs = [_tensor_map(INPUT, graph_input)]
        signature.outputs = [_tensor_map(OUTPUT, graph_output)]
        for name, held, made in state:
            signature.inputs.append(_tensor_map(f"state_{name}", held))
            signature.outputs.append(_tensor_map(f"next_{name}", made))
        entry = schema.MetadataT()
        entry.name = "quarl"
        entry.buffer = self._buffer(json.dumps(metadata, sort_keys=True).encode())
        model = schema.ModelT()
        model.version = 3
        model.description = "quarl"
        model.operatorCodes, model.subgraphs, model.buffers = (
            self._codes,
            [self._graph],
            self._buffers,
        )
        model.signatureDefs, model.metadata = [signature], [entry]
        builder = flatbuffers.Builder(sum(b.data.size for b in self._buffers[1:]) + (1 << 16))
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _tensor(self, name: str, shape: Sequence[int], dtype: np.dtype[Any], buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer, tensor.hasRank = (
            name,
            list(map(int, shape)),
            _TYPES[dtype],
            buffer,
            True,
        )
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _set_scale(
        self, index: int, scale: NDArray[np.float32], zero_point: int, axis: int
    ) -> None:
        quantization = schema.QuantizationParametersT()
        quantization.scale = scale.astype(np.float32)
        quantization.zeroPoint = np.full(scale.shape, zero_point, np.int64)
        quantization.quantizedDimension = axis
        self._graph.tensors[index].quantization = quantization

    def _buffer(self, data: bytes) -> int:
        if data not in self._buffer_of:
            buffer = _AlignedBuffer()
            buffer.data = np.frombuffer(data, np.uint8)
            self._buffers.append(buffer)
            self._buffer_of[data] = len(self._buffers) - 1
        return self._buffer_of[data]

    def _code(self, code: int, version: int) -> int:
        if (code, version) not in self._code_of:
            operator_code = schema.OperatorCodeT()
            operator_code.builtinCode, operator_code.version = code, version
            operator_code.deprecatedBuiltinCode = min(
                code, 127
            )  # 127 stands for "see builtinCode" in old readers
            self._codes.append(operator_code)
            self._code_of[code, version] = len(self._codes) - 1
        return self._code_of[code, version]


def metadata_of(model: bytes) -> dict[str, str]:
    """Return the entries that `TfliteFile.finish` wrote, empty where another tool made the file, or
    where it is none. Nothing else of the file is unpacked.
    """
    try:
        content = schema.Model.GetRootAs(model, 0)
        for index in range(min(content.MetadataLength(), MOST_METADATA)):
            entry = content.Metadata(index)
            if entry.Name() == b"quarl":
                text = content.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
                return {str(k): str(v) for k, v in json.loads(text).items()}
    except (ValueError, LookupError, TypeError, AttributeError, struct.error, RecursionError):
        pass  # a damaged file says nothing of itself
    return {}


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
