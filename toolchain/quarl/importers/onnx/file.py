"""An ONNX file: the parsed model and its constants, with sizes checked before they are read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.files.open import read_file

MAX_NODES = 5_000
MAX_CONSTANT_VALUES = 1 << 26
COMPUTED_VALUES = 1 << 22  # of constants, whatever the size of the file
COMPUTED_PER_BYTE = 2


def open_onnx(path: Path) -> OnnxFile:
    """Return the parsed file."""
    content = read_file(path)
    model = parse(path, content)
    producer = f"{model.producer_name} {model.producer_version}".strip()
    return OnnxFile(
        path, model, hashlib.sha256(content), f"onnx ({producer})" if producer else "onnx"
    )


class OnnxFile:
    """A parsed model and its constants; numbers are checked against the bytes that are there before
    they are read.
    """

    def __init__(
        self, path: Path, model: ModelProto, digest: hashlib._Hash, framework: str
    ) -> None:
        self.path = path
        self.model = model
        self.framework = framework
        self.graph: GraphProto = self.model.graph
        if len(self.graph.node) > MAX_NODES:
            raise UnsupportedError(
                f"{path.name}: {len(self.graph.node):,} nodes, at most {MAX_NODES:,} are "
                "read: this is not a policy"
            )
        self._data: dict[str, bytes] = {}
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        if self.graph.sparse_initializer:
            raise UnsupportedError(f"{path.name}: has sparse weights: export it with dense ones")
        for location in sorted(
            {self._location(tensor) for tensor in self.graph.initializer if _is_external(tensor)}
        ):
            digest.update(self._external(location))
        self.digest = digest.hexdigest()

    @property
    def computed_values(self) -> int:
        """How many values of constants the walk may compute: some for each byte of the file."""
        held = int(self.model.ByteSize()) + sum(len(data) for data in self._data.values())
        return COMPUTED_VALUES + COMPUTED_PER_BYTE * held

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the initializer of that name, None where there is none."""
        tensor = self.initializers.get(name)
        return None if tensor is None else self.array(tensor, name)

    def array(self, tensor: TensorProto, name: str) -> NDArray[Any]:
        """Return a tensor's numbers.

        Raises:
            UntrustedFileError: it claims more numbers than are there.
            UnsupportedError: a type that is not carried over.
        """
        count = (
            math.prod(tensor.dims)
            if all(length >= 0 for length in tensor.dims)
            else MAX_CONSTANT_VALUES + 1
        )
        if count > MAX_CONSTANT_VALUES:
            raise UntrustedFileError(
                f"{self.path.name}: {name} claims {count:,} values, at most "
                f"{MAX_CONSTANT_VALUES:,} are read"
            )
        try:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        except (KeyError, TypeError) as error:
            raise UnsupportedError(
                f"{self.path.name}: {name} has the unknown element type {tensor.data_type}"
            ) from error
        if dtype.kind not in "fiub" or dtype.name not in (
            "float16",
            "float32",
            "float64",
            "int64",
            "int32",
            "int8",
            "uint8",
            "bool",
        ):
            raise UnsupportedError(
                f"{self.path.name}: {name} holds {dtype}, carried over are float16, float32 and "
                "float64 weights: export the model in float32"
            )
        if _is_external(tensor):
            return self._external_array(tensor, name, count, dtype)
        held = len(tensor.raw_data) // dtype.itemsize
        held = (
            held
            or len(tensor.float_data)
            or len(tensor.double_data)
            or len(tensor.int64_data)
            or len(tensor.int32_data)
        )
        if held != count or len(tensor.raw_data) % dtype.itemsize:
            raise UntrustedFileError(
                f"{self.path.name}: {name} claims {count:,} values, the file holds {held:,}: "
                "copy it again"
            )
        values: NDArray[Any] = numpy_helper.to_array(tensor)
        return values

    def inlined(self, outputs: Sequence[str]) -> ModelProto:
        """Return the part of the model that computes `outputs`, with all its weights inside and all
        floats float32, for a runtime.
        """
        needed = set(outputs)
        for node in reversed(self.graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
        inputs = [value for value in self.graph.input if value.name in needed]
        graph = onnx.helper.make_graph(
            [_in_float32(node) for node in self.graph.node if needed.intersection(node.output)],
            "policy",
            [_input_in_float32(value) for value in inputs if value.name not in self.initializers],
            [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [
                numpy_helper.from_array(_as_float32(self.array(t, t.name)), t.name)
                for t in self.graph.initializer
                if t.name in needed
            ],
        )
        return onnx.helper.make_model(
            graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        )

    def _external_array(
        self, tensor: TensorProto, name: str, count: int, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        data = self._external(self._location(tensor))
        try:
            offset, length = (
                int(entries.get("offset", "0")),
                int(entries.get("length", str(count * dtype.itemsize))),
            )
        except ValueError as error:
            raise InputError(
                f"{self.path.name}: {name}: offset or length of its data is not a number: export "
                "the model again"
            ) from error
        if length != count * dtype.itemsize or offset < 0 or offset + length > len(data):
            raise UntrustedFileError(
                f"{self.path.name}: {name} claims {count * dtype.itemsize:,} bytes at "
                f"{offset:,} of {self._location(tensor)}, "
                f"which has {len(data):,}: copy both files again"
            )
        return np.frombuffer(data, dtype, count, offset).reshape(tuple(tensor.dims))

    def _location(self, tensor: TensorProto) -> str:
        return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")

    def _external(self, location: str) -> bytes:
        """Return the bytes of a data file beside the model, which torch writes by default; any
        other place is refused.
        """
        if location not in self._data:
            beside = self.path.parent / location
            if (
                not location
                or location in (".", "..")
                or beside.name != location
                or "\\" in location
                or beside.is_symlink()
            ):
                raise UntrustedFileError(
                    f"{self.path.name}: its weights lie in {location!r}; only a plain file in "
                    "the same folder is read: "
                    "export again with external_data=False"
                )
            if not beside.is_file():
                raise InputError(
                    f"{self.path.name}: its weights lie in {location}, which is not beside "
                    "it: copy both, or use external_data=False"
                )
            self._data[location] = read_file(beside)
        return self._data[location]


def parse(path: Path, content: bytes) -> ModelProto:
    """Return the parsed model.

    Raises:
        InputError: not an ONNX model, or cut off.
    """
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise InputError(
            f"{path.name}: not a complete ONNX model ({error}): it was cut off or changed on "
            "the way, copy it again"
        ) from error
    graph = model.graph
    if not graph.node:
        raise InputError(f"{path.name}: the graph is empty: export the model again")
    texts = [
        text
        for node in graph.node
        for text in (node.name, node.op_type, node.domain, *node.input, *node.output)
    ]
    texts += [
        named.name for field in (graph.input, graph.output, graph.initializer) for named in field
    ]
    if any(
        isinstance(text, bytes) for text in texts
    ):  # what protobuf gives for text that is not UTF-8
        raise InputError(
            f"{path.name}: a name in the graph is not text: the file was changed on the way, "
            "copy it again"
        )
    if model.functions:
        names = ", ".join(sorted({function.name for function in model.functions})[:3])
        raise UnsupportedError(
            f"{path.name}: contains functions ({names}): export it with a current "
            "torch.onnx.export, which inlines them"
        )
    return model


def _is_external(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL or bool(tensor.external_data)


FLOATS = (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def _as_float32(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _in_float32(node: NodeProto) -> NodeProto:
    """Return the node computing in float32."""
    copy = NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if attribute.name == "to" and node.op_type == "Cast" and attribute.i in FLOATS:
            attribute.i = TensorProto.FLOAT
        if attribute.HasField("t") and attribute.t.data_type in FLOATS:
            attribute.t.CopyFrom(
                numpy_helper.from_array(_as_float32(numpy_helper.to_array(attribute.t)))
            )
    return copy


def _input_in_float32(value: ValueInfoProto) -> ValueInfoProto:
    """Return the input in float32; a length of 0, which some exporters write, is open."""
    copy = ValueInfoProto()
    copy.CopyFrom(value)
    kind = copy.type.tensor_type
    if kind.elem_type in FLOATS:
        kind.elem_type = TensorProto.FLOAT
    for place, dim in enumerate(kind.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value <= 0:
            dim.dim_param = f"open_{place}"
    return copy
