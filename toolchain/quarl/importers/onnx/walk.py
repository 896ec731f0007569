"""The walk over an ONNX graph: operators in order, what each one makes of its inputs, and what is
refused by name on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Layout
from quarl.graph.policy import INPUT, Flatten
from quarl.importers.draft import Draft, DraftBuilder, DraftOp
from quarl.importers.onnx.constants import CONSTANTS, result_size
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.onnx.values import (
    BATCH,
    LOG_SUM,
    NOTHING,
    Known,
    Value,
    WrongLayoutError,
    attribute_of,
    name_of,
)

FLOAT = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64", TensorProto.UINT8: "uint8"}
Operators: TypeAlias = "Mapping[str, Callable[[Walk, NodeProto, Sequence[Known]], Value]]"


class Walk:
    """Walks the graph in the file's order and appends what the nodes on the way to one output
    do.
    """

    def __init__(self, source: OnnxFile, layout: str, operators: Operators) -> None:
        self.source = source
        self.operators = operators
        self.path = source.path
        self._computed = 0  # values of constants
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
        inputs = [i for i in self.source.graph.input if i.name not in self.source.initializers]
        if len(inputs) != 1:
            names = ", ".join(i.name for i in inputs) or "none"
            raise UnsupportedError(
                f"{self.path.name}: the graph has {len(inputs)} inputs ({names}), quarl "
                "carries one observation: export it with one input"
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
                f"{self.path.name}: {node.op_type} (node {name_of(node)!r}) has inputs or "
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
                dims[attribute_of(node, "start", 0) : attribute_of(node, "end", len(dims))],
                np.int64,
            )
        if not any(isinstance(value, Value) for value in inputs):
            return self._evaluate(node, inputs)
        reader = self.operators.get(node.op_type)
        if reader is None:
            raise self.unsupported(
                node,
                "is not among the operators that can be carried over "
                f"({', '.join(sorted(self.operators))})",
            )
        return reader(self, node, inputs)

    def _value(self, node: NodeProto, name: str) -> Known:
        if not name:
            return NOTHING
        if name not in self.known:
            constant = self.source.constant(name)
            if constant is None:
                raise InputError(
                    f"{self.path.name}: {node.op_type} {name_of(node)!r} reads {name!r}, which "
                    "nothing computes before: export again"
                )
            self.known[name] = constant
        return self.known[name]

    def _constant_node(self, node: NodeProto) -> NDArray[Any]:
        for attribute in node.attribute:
            if attribute.name == "value":
                return self.source.array(attribute.t, name_of(node))
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
            left = self.source.computed_values - self._computed
            if result_size(node, arrays) > left:
                raise UntrustedFileError(
                    f"{self.path.name}: {node.op_type} {name_of(node)!r} makes more than "
                    f"the {left:,} values of constants that a file of its size may still compute"
                )
            result = np.asarray(function(node, arrays))
            self._computed += result.size
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise InputError(
                f"{self.path.name}: {node.op_type} {name_of(node)!r}: {error}: the graph is "
                "inconsistent, export it again"
            ) from error
        return result

    def unsupported(self, node: NodeProto, reason: str) -> UnsupportedError:
        """Return the error that names the operator, the node and the reason."""
        return UnsupportedError(
            f"{self.path.name}: {node.op_type} (node {name_of(node)!r}) {reason}: change the "
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
        """Return an input that must be an image in NCHW order, and its height, width and
        channels.
        """
        found = self.tensor(node, value)
        if found.layout == "flat":
            raise self.unsupported(
                node, f"is applied to a vector of {found.dims[0]}, it needs an image"
            )
        if found.layout != "nchw":
            raise WrongLayoutError(
                f"{self.path.name}: {node.op_type} (node {name_of(node)!r}) is given channels "
                "last, ONNX convolves channels first"
            )
        channels, height, width = found.dims
        return found, (height, width, channels)

    def add(self, node: NodeProto, op: DraftOp, inputs: Sequence[Value], suffix: str = "") -> Value:
        """Append a step that keeps the layout of its first input and return its result."""
        name = self.builder.add(
            name_of(node) + suffix, op, [value.node for value in inputs], node.output[0]
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
        name = self.builder.add(f"{name_of(node)}.flatten", Flatten(), [value.node], node.output[0])
        return Value(name, "flat", (order.size,), order.ravel())

    def channels(
        self, node: NodeProto, value: Value, constant: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return a constant of an elementwise step as one number per channel of the draft's
        tensor.
        """
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
