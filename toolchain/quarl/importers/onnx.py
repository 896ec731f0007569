"""ONNX float models read as data: the operators a policy is made of, whatever exporter wrote them.

In: a graph with one observation as input. Out: a `Policy`. The graph is kept in NHWC: transposes
and NCHW order are followed symbolically and vanish into the order of the weights. Everything else
is refused by operator and node.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from quarl.errors import InputError, QuarlError, UnsupportedError, UntrustedFileError
from quarl.files.archives import read_file
from quarl.graph.contract import Layout
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Padding,
    Policy,
)
from quarl.importers.draft import (
    RELU,
    Clip,
    Draft,
    DraftBuilder,
    DraftOp,
    Head,
    affine,
    average,
    choose_output,
    finish,
    same_padding,
)
from quarl.importers.options import ImportOptions

MAX_NODES = 5_000
MAX_CONSTANT_VALUES = 1 << 26
FLOAT = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64", TensorProto.UINT8: "uint8"}
BATCH = -(
    1 << 30
    # stands for the batch length in a shape that the graph computes; no sum or product of lengths hits
    # it
)
NOTHING = np.zeros(0)
LOG_SUM = "log_sum"  # the layout of log(sum(exp(x))), one number per row, whose `node` is x


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor that depends on the observation.

    `layout` is "nchw" or "nhwc" for images and "flat" for vectors; `order` tells for each place of
    a vector which place of the draft's vector it shows; `dims` are the source's lengths behind the
    batch.
    """

    node: str
    layout: str
    dims: tuple[int, ...]
    order: NDArray[np.int64]


Known: TypeAlias = Value | NDArray[Any]  # an array is a constant, or a shape with `BATCH` in it


class WrongLayoutError(UnsupportedError):
    """The input is in the other order of axes than was assumed."""


def read_onnx(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in an ONNX file.

    Raises:
        InputError: damaged or inconsistent, or the action or observation is unknown.
        UnsupportedError: an operator or attribute without exact counterpart; names it.
        UntrustedFileError: weights outside the file's folder, or sizes beyond the limits.
    """
    return finish(path, read_draft(path, options), options)


def read_draft(path: Path, options: ImportOptions) -> Draft:
    """Return the network as the file tells it, before it is folded into a policy."""
    return draft_of(open_onnx(path), options)


def draft_of(source: OnnxFile, options: ImportOptions) -> Draft:
    """Return the draft of the output that is the policy."""
    outputs = {output.name: partial(_draft, source, output.name) for output in source.graph.output}
    return choose_output(source.path, outputs, options)


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
                "read: this is no policy"
            )
        self._data: dict[str, bytes] = {}
        self._initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        if self.graph.sparse_initializer:
            raise UnsupportedError(f"{path.name}: has sparse weights: export it with dense ones")
        for location in sorted(
            {self._location(tensor) for tensor in self.graph.initializer if _is_external(tensor)}
        ):
            digest.update(self._external(location))
        self.digest = digest.hexdigest()

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the initializer of that name, None where there is none."""
        tensor = self._initializers.get(name)
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
            "float32",
            "float64",
            "int64",
            "int32",
            "int8",
            "uint8",
            "bool",
        ):
            raise UnsupportedError(
                f"{self.path.name}: {name} holds {dtype}, only float32 weights are carried "
                "over: export the model in float32"
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
        """Return the part of the model that computes `outputs` (float32), with all its weights
        inside, for a runtime.
        """
        needed = set(outputs)
        for node in reversed(self.graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
        graph = onnx.helper.make_graph(
            [node for node in self.graph.node if needed.intersection(node.output)],
            "policy",
            [value for value in self.graph.input if value.name in needed],
            [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [
                numpy_helper.from_array(self.array(t, t.name), t.name)
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
                f"{self.path.name}: {name}: offset or length of its data is no number: export "
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
    ):  # what protobuf gives for text that is no UTF-8
        raise InputError(
            f"{path.name}: a name in the graph is no text: the file was changed on the way, "
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


def _draft(source: OnnxFile, output: str) -> Draft:
    """Return the draft that ends in `output`; the order of the input's axes is the one in which the
    graph makes sense.
    """
    first = _Walk(source, "nchw")
    try:
        return first.draft(output)
    except QuarlError as error:
        if first.layout == "vector":
            raise
        try:
            return _Walk(source, "nhwc").draft(output)
        except QuarlError:
            if isinstance(error, WrongLayoutError):
                raise
            raise error from None


class _Walk:
    """Walks the graph in the file's order and appends what the nodes on the way to one output do."""

    def __init__(self, source: OnnxFile, layout: str) -> None:
        self.source = source
        self.path = source.path
        self.assumed = layout
        self.known: dict[str, Known] = {}
        shape, self.dtype = self._input()
        dims = shape[1:]
        self.batch = shape[0]
        self.layout: Layout = "vector" if len(dims) == 1 else "chw" if layout == "nchw" else "hwc"
        graph_shape = (dims[1], dims[2], dims[0]) if self.layout == "chw" else dims
        self.builder = DraftBuilder(self.path, graph_shape)
        order = np.arange(dims[0]) if len(dims) == 1 else NOTHING.astype(np.int64)
        self.known[self.input_name] = Value(
            INPUT, "flat" if len(dims) == 1 else layout, dims, order
        )

    def draft(self, output: str) -> Draft:
        """Walk what leads to `output` and return the draft."""
        needed = {output}
        for node in reversed(self.source.graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
        for node in self.source.graph.node:
            if needed.intersection(node.output):
                self.known[node.output[0]] = self._checked_step(node)
        last = self.known.get(output)
        if not isinstance(last, Value):
            raise InputError(
                f"{self.path.name}: the output {output!r} does not depend on the observation: "
                "export the model again"
            )
        if last.layout == "flat" and not np.array_equal(last.order, np.arange(len(last.order))):
            raise UnsupportedError(
                f"{self.path.name}: the output {output!r} is a flattened image: a policy ends "
                "with a dense layer"
            )
        return self.builder.draft(
            last.node, self.layout, self.dtype, self.source.framework, self.source.digest
        )

    def _input(self) -> tuple[tuple[int, ...], str]:
        inputs = [i for i in self.source.graph.input if i.name not in self.source._initializers]
        if len(inputs) != 1:
            names = ", ".join(i.name for i in inputs) or "none"
            raise UnsupportedError(
                f"{self.path.name}: the graph has {len(inputs)} inputs ({names}), quarl "
                "carries one observation: export it so"
            )
        self.input_name = inputs[0].name
        kind = inputs[0].type.tensor_type
        dims = tuple(d.dim_value if d.HasField("dim_value") else BATCH for d in kind.shape.dim)
        if kind.elem_type not in FLOAT:
            name = (
                TensorProto.DataType.Name(kind.elem_type)
                if kind.elem_type in TensorProto.DataType.values()
                else str(kind.elem_type)
            )
            raise UnsupportedError(
                f"{self.path.name}: the input {self.input_name!r} has type {name}, carried "
                "over are float and uint8"
            )
        if len(dims) not in (2, 4) or not all(0 < length < 1 << 24 for length in dims[1:]):
            shown = [
                "batch" if index == 0 else length if length > 0 else "?"
                for index, length in enumerate(dims)
            ]
            raise UnsupportedError(
                f"{self.path.name}: the input {self.input_name!r} has shape {shown}, carried "
                "over are [batch, features] and "
                "images [batch, 3 fixed lengths]: export it with such an input"
            )
        return dims, FLOAT[kind.elem_type]

    def _checked_step(self, node: NodeProto) -> Known:
        try:
            return self._step(node)
        except (
            AttributeError,
            IndexError,
            KeyError,
            OverflowError,
            TypeError,
            ValueError,
        ) as error:
            raise InputError(
                f"{self.path.name}: {node.op_type} (node {_name(node)!r}) has inputs or "
                f"attributes that do not fit ({error})"
            ) from error

    def _step(self, node: NodeProto) -> Known:
        """Return what the node's first output is."""
        if node.domain not in ("", "ai.onnx"):
            raise self.unsupported(
                node, f"is of the domain {node.domain!r}, only standard operators are carried over"
            )
        if "quantizelinear" in node.op_type.lower() or node.op_type.startswith(
            ("QLinear", "QGemm")
        ):
            raise self.unsupported(
                node,
                "says that the model is quantised already, quarl quantises the float model itself",
            )
        inputs = [self._value(node, name) for name in node.input]
        if node.op_type == "Constant":
            return self._constant_node(node)
        if node.op_type == "Shape" and isinstance(inputs[0], Value):
            dims = (BATCH, *inputs[0].dims)
            return np.array(
                dims[_attribute(node, "start", 0) : _attribute(node, "end", len(dims))], np.int64
            )
        if not any(isinstance(value, Value) for value in inputs):
            return self._evaluate(node, inputs)
        reader = OPERATORS.get(node.op_type)
        if reader is None:
            raise self.unsupported(
                node,
                "is not among the operators that can be carried over "
                f"({', '.join(sorted(OPERATORS))})",
            )
        return reader(self, node, inputs)

    def _value(self, node: NodeProto, name: str) -> Known:
        if not name:
            return NOTHING
        if name not in self.known:
            constant = self.source.constant(name)
            if constant is None:
                raise InputError(
                    f"{self.path.name}: {node.op_type} {_name(node)!r} reads {name!r}, which "
                    "nothing computes before: export again"
                )
            self.known[name] = constant
        return self.known[name]

    def _constant_node(self, node: NodeProto) -> NDArray[Any]:
        for attribute in node.attribute:
            if attribute.name == "value":
                return self.source.array(attribute.t, _name(node))
            if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
                dtype = np.float32 if "float" in attribute.name else np.int64
                return np.asarray(onnx.helper.get_attribute_value(attribute), dtype)
        raise self.unsupported(node, "holds no number")

    def _evaluate(self, node: NodeProto, inputs: Sequence[Known]) -> NDArray[Any]:
        """Return the constant that a node of constants computes: shapes, and statistics folded by
        the exporter or not.
        """
        arrays = [value for value in inputs if not isinstance(value, Value)]
        function = CONSTANTS.get(node.op_type)
        if function is None:
            raise self.unsupported(
                node, f"of constants is not among those computed ({', '.join(sorted(CONSTANTS))})"
            )
        try:
            if _result_size(node, arrays) > MAX_CONSTANT_VALUES:
                raise UntrustedFileError(
                    f"{self.path.name}: {node.op_type} {_name(node)!r} makes more than "
                    f"{MAX_CONSTANT_VALUES:,} values of constants"
                )
            result = np.asarray(function(node, arrays))
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise InputError(
                f"{self.path.name}: {node.op_type} {_name(node)!r}: {error}: the graph is "
                "inconsistent, export it again"
            ) from error
        return result

    def unsupported(self, node: NodeProto, reason: str) -> UnsupportedError:
        """Return the error that names the operator, the node and the reason."""
        return UnsupportedError(
            f"{self.path.name}: {node.op_type} (node {_name(node)!r}) {reason}: change the "
            "network, or export it without this step"
        )

    def tensor(self, node: NodeProto, value: Known) -> Value:
        """Return an input that must depend on the observation."""
        if not isinstance(value, Value):
            raise self.unsupported(node, "is given a constant where it takes a layer's output")
        if value.layout == LOG_SUM:
            raise self.unsupported(
                node,
                "is given the logarithm of a sum of exponentials, which is carried over only "
                "as part of a softmax",
            )
        return value

    def weights(
        self, node: NodeProto, value: Known, rank: int | None = None
    ) -> NDArray[np.float64]:
        """Return an input that must be constant numbers, in float64."""
        if isinstance(value, Value):
            raise self.unsupported(node, "takes its weights from a layer's output")
        if value.dtype == np.float64:
            raise self.unsupported(node, "has float64 weights, only float32 is carried over")
        if rank is not None and value.ndim != rank:
            raise self.unsupported(
                node, f"has weights of shape {value.shape}, {rank} axes are carried over"
            )
        return value.astype(np.float64)

    def image(self, node: NodeProto, value: Known) -> tuple[Value, tuple[int, int, int]]:
        """Return an input that must be an image in NCHW order, and its height, width and channels."""
        found = self.tensor(node, value)
        if found.layout == "flat":
            raise self.unsupported(
                node, f"is applied to a vector of {found.dims[0]}, it needs an image"
            )
        if found.layout != "nchw":
            raise WrongLayoutError(
                f"{self.path.name}: {node.op_type} (node {_name(node)!r}) is given channels "
                "last, ONNX convolves channels first"
            )
        channels, height, width = found.dims
        return found, (height, width, channels)

    def add(self, node: NodeProto, op: DraftOp, inputs: Sequence[Value], suffix: str = "") -> Value:
        """Append a step that keeps the layout of its first input and return its result."""
        name = self.builder.add(
            _name(node) + suffix, op, [value.node for value in inputs], node.output[0]
        )
        first, shape = inputs[0], self.builder.shapes[name]
        if first.layout == "flat":
            return Value(
                name,
                "flat",
                shape,
                first.order if shape == first.order.shape else np.arange(shape[0]),
            )
        return Value(
            name,
            first.layout,
            (shape[2], shape[0], shape[1]) if first.layout == "nchw" else shape,
            first.order,
        )

    def flatten(self, node: NodeProto, value: Value) -> Value:
        """Append a flattening, and remember in which order the source flattens."""
        if value.layout == "flat":
            return value
        height, width, channels = self.builder.shapes[value.node]
        order = np.arange(height * width * channels).reshape(height, width, channels)
        if value.layout == "nchw":
            order = order.transpose(2, 0, 1)
        name = self.builder.add(f"{_name(node)}.flatten", Flatten(), [value.node], node.output[0])
        return Value(name, "flat", (order.size,), order.ravel())

    def channels(
        self, node: NodeProto, value: Value, constant: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return a constant of an elementwise step as one number per channel of the draft's tensor."""
        if constant.size == 1:
            return np.full(self.builder.shapes[value.node][-1], constant.reshape(()))
        try:
            spread = np.broadcast_to(constant, (1, *value.dims))[0]
        except ValueError as error:
            raise self.unsupported(
                node, f"has a constant of shape {constant.shape} for a tensor of shape {value.dims}"
            ) from error
        if value.layout == "flat":
            draft = np.empty(len(value.order))
            draft[value.order] = spread
            return draft
        last = spread.transpose(1, 2, 0) if value.layout == "nchw" else spread
        if (last != last[0, 0]).any():
            raise self.unsupported(
                node,
                "has a constant that differs from pixel to pixel, one number per channel is "
                "carried over",
            )
        return np.array(last[0, 0])


def _given(value: Known) -> bool:
    """Whether an optional input is there."""
    return isinstance(value, Value) or value.size > 0


def _name(node: NodeProto) -> str:
    return (node.name or (node.output[0] if node.output else "") or node.op_type).strip("/")


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    found: AttributeProto | None = next(
        (attribute for attribute in node.attribute if attribute.name == name), None
    )
    value = default if found is None else onnx.helper.get_attribute_value(found)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _axes(node: NodeProto, inputs: Sequence[Known], rank: int) -> list[int] | None:
    """Return the axes, an attribute in older opsets and an input in newer ones, as non-negative
    numbers; None where not given.
    """
    given = (
        inputs[1]
        if len(inputs) > 1 and not isinstance(inputs[1], Value) and inputs[1].size
        else _attribute(node, "axes", None)
    )
    return None if given is None else sorted(int(axis) % rank for axis in np.ravel(given))


def _gemm(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, weights = walk.tensor(node, inputs[0]), walk.weights(node, inputs[1], 2)
    if _attribute(node, "transA", 0):
        raise walk.unsupported(node, "transposes its input")
    weights = weights if _attribute(node, "transB", 0) else weights.T
    bias = np.zeros(len(weights))
    if len(inputs) > 2 and _given(inputs[2]):
        offset = walk.weights(node, inputs[2])
        if offset.size not in (1, len(bias)) or offset.shape[-1:] not in ((), (1,), bias.shape):
            raise walk.unsupported(
                node,
                f"adds a matrix of shape {offset.shape}, one number per output ({len(bias)}) "
                "is carried over",
            )
        bias += float(_attribute(node, "beta", 1.0)) * offset.ravel()
    return _dense(walk, node, x, float(_attribute(node, "alpha", 1.0)) * weights, bias)


def _matmul(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    weights = walk.weights(node, inputs[1], 2)
    return _dense(walk, node, walk.tensor(node, inputs[0]), weights.T, np.zeros(weights.shape[1]))


def _dense(
    walk: _Walk, node: NodeProto, x: Value, weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> Value:
    if x.layout != "flat":
        raise walk.unsupported(
            node, f"is applied to shape {x.dims}, only vectors are carried over (flatten before it)"
        )
    if weights.shape[1] != len(x.order):
        raise InputError(
            f"{walk.path.name}: {node.op_type} (node {_name(node)!r}) takes "
            f"{weights.shape[1]} values, is given {len(x.order)}"
        )
    ordered = np.empty(weights.shape, np.float32)
    ordered[:, x.order] = weights
    result = walk.add(node, Dense(ordered, bias.astype(np.float32)), [x])
    return Value(result.node, "flat", result.dims, np.arange(len(bias)))


def _conv(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, (height, width, channels) = walk.image(node, inputs[0])
    weights = walk.weights(node, inputs[1], 4)
    bias = (
        walk.weights(node, inputs[2], 1)
        if len(inputs) > 2 and _given(inputs[2])
        else np.zeros(len(weights))
    )
    _, stride, padding = _window(walk, node, (height, width), weights.shape[2:])
    group = int(_attribute(node, "group", 1))
    op: DraftOp
    if group == 1:
        op = Conv2D(
            np.ascontiguousarray(weights.transpose(0, 2, 3, 1), np.float32),
            bias.astype(np.float32),
            stride,
            padding,
        )
    elif group == channels == len(weights) and weights.shape[1] == 1:
        op = DepthwiseConv2D(
            np.ascontiguousarray(weights[:, 0], np.float32),
            bias.astype(np.float32),
            stride,
            padding,
        )
    else:
        raise walk.unsupported(
            node,
            f"has {group} groups for {channels} channels, carried over are one group and one "
            "per channel",
        )
    return walk.add(node, op, [x])


def _window(
    walk: _Walk, node: NodeProto, lengths: tuple[int, int], kernel_shape: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int], Padding]:
    """Return kernel size, stride and explicit padding of a convolution or a pooling."""
    kernel = tuple(int(length) for length in _attribute(node, "kernel_shape", kernel_shape))
    strides = tuple(int(length) for length in _attribute(node, "strides", (1, 1)))
    dilations = tuple(_attribute(node, "dilations", (1, 1)))
    if (
        len(kernel) != 2
        or len(strides) != 2
        or min(*kernel, *strides) < 1
        or dilations != (1, 1)
        or kernel != tuple(kernel_shape)
    ):
        raise walk.unsupported(
            node,
            f"has kernel {kernel}, strides {strides}, dilations {dilations}: carried over are "
            "two axes, no dilation",
        )
    size, stride = (kernel[0], kernel[1]), (strides[0], strides[1])
    mode = _attribute(node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = tuple(int(count) for count in _attribute(node, "pads", (0, 0, 0, 0)))
        if len(pads) != 4 or min(pads) < 0:
            raise walk.unsupported(node, f"has pads {pads}, four counts >= 0 are carried over")
        return size, stride, ((pads[0], pads[2]), (pads[1], pads[3]))
    if mode == "VALID":
        return size, stride, ((0, 0), (0, 0))
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise walk.unsupported(node, f"has auto_pad {mode!r}")
    rows, cols = (same_padding(lengths[axis], size[axis], stride[axis]) for axis in (0, 1))
    return (
        (size, stride, (rows, cols))
        if mode == "SAME_UPPER"
        else (size, stride, (rows[::-1], cols[::-1]))
    )


def _average_pool(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, (height, width, channels) = walk.image(node, inputs[0])
    size, stride, padding = _window(
        walk, node, (height, width), _attribute(node, "kernel_shape", ())
    )
    if _attribute(node, "ceil_mode", 0) or (
        padding != ((0, 0), (0, 0)) and not _attribute(node, "count_include_pad", 0)
    ):
        raise walk.unsupported(
            node, "counts fewer values at the border than inside, which no convolution does"
        )
    return walk.add(node, average(*size, channels, stride, padding), [x])


def _max_pool(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, (height, width, _) = walk.image(node, inputs[0])
    size, stride, padding = _window(
        walk, node, (height, width), _attribute(node, "kernel_shape", ())
    )
    if (
        _attribute(node, "ceil_mode", 0)
        or _attribute(node, "storage_order", 0)
        or len(node.output) > 1
    ):
        raise walk.unsupported(
            node,
            "has ceil_mode, storage_order or a second output: only the plain maximum is "
            "carried over",
        )
    return walk.add(node, MaxPool2D(size, stride, padding), [x])


def _global_average_pool(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, (height, width, channels) = walk.image(node, inputs[0])
    return walk.add(node, average(height, width, channels, (1, 1)), [x])


def _reduce_mean(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    axes = _axes(node, inputs, len(x.dims) + 1)
    if x.layout == "flat" or axes != ([2, 3] if x.layout == "nchw" else [1, 2]):
        raise walk.unsupported(
            node,
            f"averages over axes {axes} of {x.dims}, only the mean over height and width is "
            "carried over",
        )
    height, width, channels = walk.builder.shapes[x.node]
    pooled = walk.add(node, average(height, width, channels, (1, 1)), [x])
    return pooled if _attribute(node, "keepdims", 1) else walk.flatten(node, pooled)


def _log_sum_exp(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if x.layout != "flat" or _axes(node, inputs, 2) != [1] or not _attribute(node, "keepdims", 1):
        raise walk.unsupported(node, "is carried over only as part of a softmax")
    return Value(x.node, LOG_SUM, (1,), x.order)


def _batch_normalization(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if _attribute(node, "training_mode", 0) or len(node.output) > 1:
        raise walk.unsupported(
            node, "is in training mode, export the model in evaluation mode (model.eval())"
        )
    gamma, beta, mean, var = (walk.weights(node, value, 1) for value in inputs[1:5])
    x = walk.tensor(node, inputs[0])
    if x.layout != "flat":
        x, _ = walk.image(node, x)
    scale = gamma / np.sqrt(var + float(_attribute(node, "epsilon", 1e-5)))
    return _affine(
        walk,
        node,
        x,
        scale.reshape(-1, *(1,) * (len(x.dims) - 1)),
        (beta - mean * scale).reshape(-1, *(1,) * (len(x.dims) - 1)),
    )


def _affine(
    walk: _Walk, node: NodeProto, x: Value, scale: NDArray[np.float64], offset: NDArray[np.float64]
) -> Value:
    count = walk.builder.shapes[x.node][-1]
    return walk.add(
        node, affine(walk.channels(node, x, scale), walk.channels(node, x, offset), count), [x]
    )


ONE, ZERO = np.ones(()), np.zeros(())


def _add(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    left, right = inputs
    if isinstance(left, Value) and isinstance(right, Value):
        if (
            left.dims != right.dims
            or left.layout != right.layout
            or not np.array_equal(left.order, right.order)
        ):
            raise walk.unsupported(
                node, f"adds {left.dims} and {right.dims}, which must be equal and in one order"
            )
        return walk.add(node, Add(), [left, right])
    x, constant = (left, right) if isinstance(left, Value) else (right, left)
    return _affine(walk, node, walk.tensor(node, x), ONE, walk.weights(node, constant))


def _sub(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    left, right = inputs
    if isinstance(left, Value) and isinstance(right, Value):
        if right.layout == LOG_SUM and right.node == left.node:
            return walk.add(node, Head("log_softmax"), [left])
        raise walk.unsupported(
            node, "of two layers' outputs cannot be carried over, with a constant it can"
        )
    if isinstance(left, Value):
        return _affine(walk, node, left, ONE, -walk.weights(node, right))
    return _affine(walk, node, walk.tensor(node, right), -ONE, walk.weights(node, left))


def _mul(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    left, right = inputs
    if isinstance(left, Value) and isinstance(right, Value):
        raise walk.unsupported(
            node, "of two layers' outputs cannot be carried over, with a constant it can"
        )
    x, constant = (left, right) if isinstance(left, Value) else (right, left)
    return _affine(walk, node, walk.tensor(node, x), walk.weights(node, constant), ZERO)


def _div(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if isinstance(inputs[1], Value):
        raise walk.unsupported(node, "divides by a layer's output")
    divisor = walk.weights(node, inputs[1])
    if not divisor.all():
        raise walk.unsupported(node, "divides by zero")
    return _affine(walk, node, walk.tensor(node, inputs[0]), 1 / divisor, ZERO)


def _neg(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    return _affine(walk, node, walk.tensor(node, inputs[0]), -ONE, ZERO)


def _clip(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    given = [*inputs[1:], NOTHING, NOTHING][:2]
    defaults = (_attribute(node, "min", -math.inf), _attribute(node, "max", math.inf))
    low, high = (
        float(walk.weights(node, v).ravel()[0]) if _given(v) else float(d)
        for v, d in zip(given, defaults, strict=True)
    )
    return _bounded(walk, node, x, low, high)


def _min_max(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    left, right = inputs
    x, constant = (left, right) if isinstance(left, Value) else (right, left)
    if isinstance(constant, Value) or constant.size != 1:
        raise walk.unsupported(node, "is carried over only with one constant number")
    bound = float(walk.weights(node, constant).ravel()[0])
    low, high = (bound, math.inf) if node.op_type == "Max" else (-math.inf, bound)
    return _bounded(walk, node, walk.tensor(node, x), low, high)


def _bounded(walk: _Walk, node: NodeProto, x: Value, low: float, high: float) -> Value:
    limit = float(np.finfo(np.float32).max)
    low, high = -math.inf if low <= -limit else low, math.inf if high >= limit else high
    if (low, high) == (-math.inf, math.inf):
        return x
    return walk.add(
        node, Activation(RELU[low, high]) if (low, high) in RELU else Clip(low, high), [x]
    )


def _activation(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if float(_attribute(node, "alpha", 1.0)) != 1:
        raise walk.unsupported(
            node, f"has alpha {_attribute(node, 'alpha', 1.0)}, only 1 is carried over"
        )
    name = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Elu": "elu"}[node.op_type]
    return walk.add(node, Activation(name), [walk.tensor(node, inputs[0])])  # type: ignore[arg-type] # one of the four


def _head(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    axis = int(_attribute(node, "axis", 0 if node.op_type == "ArgMax" else -1))
    if x.layout != "flat" or axis not in (-1, 1) or _attribute(node, "select_last_index", 0):
        raise walk.unsupported(
            node,
            f"works along axis {axis} of {x.dims}, only the outputs of a policy are carried "
            "over, the first of equals",
        )
    name = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "ArgMax": "argmax"}[node.op_type]
    return walk.add(node, Head(name), [x])  # type: ignore[arg-type] # one of the three


def _is_index(walk: _Walk, value: Value) -> bool:
    """Whether the value is an argmax, whose shape and type do not matter any more."""
    return (
        bool(walk.builder.nodes)
        and walk.builder.nodes[-1].name == value.node
        and walk.builder.nodes[-1].op == Head("argmax")
    )


def _flatten(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if int(_attribute(node, "axis", 1)) % (len(x.dims) + 1) != 1:
        raise walk.unsupported(node, "does not keep the batch axis")
    return walk.flatten(node, x)


def _reshape(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if _is_index(walk, x):
        return x
    target = [int(length) for length in walk.weights(node, inputs[1]).ravel()]
    source = [BATCH, *x.dims]
    if not _attribute(node, "allowzero", 0):
        target = [
            source[index] if length == 0 and index < len(source) else length
            for index, length in enumerate(target)
        ]
    if len(target) > 1 and target[0] in (BATCH, walk.batch, -1, 1):
        if target[1:] == list(x.dims):
            return x
        if target[1:] in ([math.prod(x.dims)], [-1]) and target != [-1, -1]:
            return walk.flatten(node, x)
    raise walk.unsupported(
        node, f"turns {['batch', *x.dims]} into {target}, only flattening is carried over"
    )


def _squeeze(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if _is_index(walk, x):
        return x
    spatial = [2, 3] if x.layout == "nchw" else [1, 2]
    if (
        x.layout == "flat"
        or _axes(node, inputs, 4) != spatial
        or walk.builder.shapes[x.node][:2] != (1, 1)
    ):
        raise walk.unsupported(
            node, f"of {x.dims} is carried over only for a height and width of 1"
        )
    return walk.flatten(node, x)


def _transpose(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    perm = tuple(_attribute(node, "perm", tuple(range(len(x.dims), -1, -1))))
    if perm == tuple(range(len(x.dims) + 1)):
        return x
    if x.layout != "flat" and perm in ((0, 2, 3, 1), (0, 3, 1, 2)):
        to_last = perm == (0, 2, 3, 1)
        dims = (x.dims[1], x.dims[2], x.dims[0]) if to_last else (x.dims[2], x.dims[0], x.dims[1])
        if (x.layout == "nchw") == to_last:
            return Value(x.node, "nhwc" if to_last else "nchw", dims, x.order)
        raise WrongLayoutError(
            f"{walk.path.name}: Transpose (node {_name(node)!r}) does not fit the order of "
            "the input's axes"
        )
    raise walk.unsupported(
        node, f"by {perm} is carried over only between channels first and channels last"
    )


def _concat(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    parts = [walk.tensor(node, value) for value in inputs]
    first = parts[0]
    axis = int(_attribute(node, "axis", 1)) % (len(first.dims) + 1)
    channel_axis = 3 if first.layout == "nhwc" else 1
    if any(part.layout != first.layout for part in parts) or axis != channel_axis:
        raise walk.unsupported(
            node, f"joins along axis {axis}, carried over are vectors and channels"
        )
    if len(parts) == 1:
        return first
    joined = walk.add(node, Concat(), parts)
    if first.layout != "flat":
        return joined
    starts = np.cumsum([0, *(len(part.order) for part in parts)])
    order = np.concatenate([part.order + start for part, start in zip(parts, starts, strict=False)])
    return Value(joined.node, "flat", joined.dims, order)


def _cast(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    kind = _attribute(node, "to", TensorProto.FLOAT)
    if kind != TensorProto.FLOAT and not _is_index(walk, x):
        raise walk.unsupported(
            node, f"to {TensorProto.DataType.Name(kind)} is not carried over, only float32 is"
        )
    return x


def _same(walk: _Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if len(inputs) > 2 and np.any(walk.weights(node, inputs[2])):
        raise walk.unsupported(
            node, "is in training mode, export the model in evaluation mode (model.eval())"
        )
    return walk.tensor(node, inputs[0])


OPERATORS: dict[str, Callable[[_Walk, NodeProto, Sequence[Known]], Value]] = {
    "Add": _add,
    "ArgMax": _head,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _div,
    "Dropout": _same,
    "Elu": _activation,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "Identity": _same,
    "LogSoftmax": _head,
    "MatMul": _matmul,
    "Max": _min_max,
    "MaxPool": _max_pool,
    "Min": _min_max,
    "Mul": _mul,
    "Neg": _neg,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMean": _reduce_mean,
    "Relu": _activation,
    "Reshape": _reshape,
    "Sigmoid": _activation,
    "Softmax": _head,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Tanh": _activation,
    "Transpose": _transpose,
    "Unsqueeze": _squeeze,
}


def _slice(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    starts, ends = (np.ravel(a).astype(np.int64) for a in arrays[1:3])
    if arrays[0].ndim != 1 or len(starts) != 1 or (len(arrays) > 4 and np.ravel(arrays[4])[0] < 1):
        raise ValueError("only a slice of a shape is computed")
    step = int(np.ravel(arrays[4])[0]) if len(arrays) > 4 else 1
    return arrays[0][int(starts[0]) : int(ends[0]) : step]


def _product(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if (arrays[0] == BATCH).any():
        raise ValueError("the batch length goes into a product")
    return np.asarray(np.prod(arrays[0], keepdims=bool(_attribute(node, "keepdims", 1))))


def _multiply(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if arrays[0].dtype.kind == "i" and any((array == BATCH).any() for array in arrays):
        raise ValueError("the batch length goes into a product")
    return np.asarray(arrays[0] * arrays[1])


def _cast_constant(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0].astype(
        onnx.helper.tensor_dtype_to_np_dtype(_attribute(node, "to", TensorProto.FLOAT))
    )


def _result_size(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> int:
    """Return how many values a node of constants makes, before it is computed."""
    if node.op_type == "Gather":
        return int(
            arrays[1].size
            * (arrays[0].size // max(arrays[0].shape[_attribute(node, "axis", 0)], 1))
        )
    if node.op_type in ("Add", "Div", "Max", "Min", "Mul", "Sub"):
        return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    return sum(array.size for array in arrays)


CONSTANTS: dict[str, Callable[[NodeProto, Sequence[NDArray[Any]]], Any]] = {
    "Add": lambda node, a: a[0] + a[1],
    "Cast": _cast_constant,
    "Concat": lambda node, a: np.concatenate(a, axis=_attribute(node, "axis", 0)),
    "Div": lambda node, a: a[0] // a[1] if a[0].dtype.kind in "iu" else a[0] / a[1],
    "Gather": lambda node, a: np.take(
        a[0], a[1].astype(np.int64), axis=_attribute(node, "axis", 0)
    ),
    "Identity": lambda node, a: a[0],
    "Max": lambda node, a: np.maximum(a[0], a[1]),
    "Min": lambda node, a: np.minimum(a[0], a[1]),
    "Mul": _multiply,
    "Neg": lambda node, a: -a[0],
    "Reciprocal": lambda node, a: 1 / a[0],
    "ReduceProd": _product,
    "Reshape": lambda node, a: a[0].reshape([int(length) for length in a[1]]),
    "Slice": _slice,
    "Sqrt": lambda node, a: np.sqrt(a[0]),
    "Squeeze": lambda node, a: a[0].squeeze(
        None if (axes := _axes(node, a, a[0].ndim)) is None else tuple(axes)
    ),
    "Sub": lambda node, a: a[0] - a[1],
    "Transpose": lambda node, a: a[0].transpose(_attribute(node, "perm", None)),
    "Unsqueeze": lambda node, a: np.expand_dims(a[0], tuple(_axes(node, a, a[0].ndim + 1) or (0,))),
}
