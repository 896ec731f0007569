"""The walk over an ONNX graph: operators in order, what each one makes of its inputs, and what is
refused by name on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Layout
from quarl.graph.picture import Picture
from quarl.graph.policy import INPUT, Columns, Concat, Flatten
from quarl.importers.draft import (
    Affine,
    Draft,
    DraftBuilder,
    DraftOp,
    Head,
    SourcePicture,
    selection,
)
from quarl.importers.onnx.constants import CONSTANTS, result_size, split_constant
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.onnx.inputs import PICTURE_AXES, InputPlan, numbers_in
from quarl.importers.onnx.values import (
    BATCH,
    LOG_SUM,
    NOTHING,
    Known,
    Value,
    WrongLayoutError,
    attribute_of,
    name_of,
    vector,
)
from quarl.importers.outputs import NotAPolicyError

Results: TypeAlias = "Value | tuple[Value, ...]"  # of an operator; several of one that splits
Operators: TypeAlias = "Mapping[str, Callable[[Walk, NodeProto, Sequence[Known]], Results]]"
NO_NODE = ""  # of a value of which only the shape is known


class Walk:
    """Walks the graph in the file's order and appends what the nodes on the way to the outputs
    do.
    """

    def __init__(
        self, source: OnnxFile, layout: str, plan: InputPlan, operators: Operators
    ) -> None:
        self.source, self.path, self.plan = source, source.path, plan
        self.operators = operators
        self._computed = 0  # values of constants, and of steps that are written out
        self.known: dict[str, Known] = dict(plan.fixed)
        shapes = [shape for _, shape in plan.observed] or [(BATCH, 1)]
        self.batch = shapes[0][0] if len(shapes[0]) > 1 else BATCH
        is_image = len(shapes) == 1 and bool(plan.pictures)
        self.pictures: list[SourcePicture] = []
        self.layout: Layout = "vector" if not is_image else "chw" if layout == "nchw" else "hwc"
        if is_image:
            dims = shapes[0][1:]
            graph_shape = (dims[1], dims[2], dims[0]) if self.layout == "chw" else dims
            self.builder = DraftBuilder(self.path, graph_shape)
            self.known[plan.observed[0][0]] = Value(INPUT, layout, dims, NOTHING.astype(np.int64))
        else:
            self.builder = DraftBuilder(self.path, (max(plan.length, 1),))
            if plan.pictures:
                self._know_parts(layout)
            else:
                self._know_vectors()
        for name in plan.unread:
            self.known[name] = self._only_shape(name)
        for state in plan.states:
            numbers = np.arange(math.prod(state.shape)).reshape(state.shape)
            self.known[state.input] = Value(state.node, "flat", (), numbers, state.batch_axis)
            self.builder.shapes[state.node] = (numbers.size,)
        self._cells = 0

    def is_state(self, value: Value) -> bool:
        """Whether a tensor is a part of an input that takes a state."""
        return value.node in {state.node for state in self.plan.states}

    def next_cell(self) -> int:
        """Return the number of the next recurrent cell, from 1."""
        self._cells += 1
        return self._cells

    def _know_vectors(self) -> None:
        start = 0
        for name, shape in self.plan.observed:
            lengths = shape if len(shape) == 1 else (1, *shape[1:])
            value = vector(INPUT, lengths, -1 if len(shape) == 1 else 0)
            self.known[name] = Value(INPUT, "flat", (), value.order + start, value.batch)
            start += value.order.size

    def _know_parts(self, layout: str) -> None:
        """Make inputs known of which one is a picture: each is a step of its own."""
        first = 0
        for name, shape in self.plan.observed:
            if len(shape) == PICTURE_AXES:
                dims = shape[1:]
                sides = (dims[1], dims[2], dims[0]) if layout == "nchw" else dims
                node = self.builder.add(name, Columns(first, sides), [INPUT], "")
                self.known[name] = Value(node, layout, dims, NOTHING.astype(np.int64))
                order: Layout = "chw" if layout == "nchw" else "hwc"
                is_bytes = self.plan.dtypes[name] == "uint8"
                self.pictures.append(SourcePicture(Picture(first, *sides), order, is_bytes))
            else:
                count, is_bare = numbers_in(shape), len(shape) == 1
                node = self.builder.add(name, Columns(first, (count,)), [INPUT], "")
                lengths = shape if is_bare else (1, *shape[1:])
                self.known[name] = vector(node, lengths, -1 if is_bare else 0)
            first += numbers_in(shape)

    def _only_shape(self, name: str) -> Value:
        entry = next(i for i in self.source.graph.input if i.name == name)
        dims = [max(d.dim_value, 1) for d in entry.type.tensor_type.shape.dim]
        count = int(np.prod(dims[1:])) if dims else 1
        if count > self.source.computed_values:
            raise UntrustedFileError(f"{self.path.name}: the input {name!r} has {count:,} values")
        return Value(NO_NODE, "flat", (), np.zeros((1, *dims[1:]), np.int64))

    def draft(self, outputs: Sequence[str]) -> Draft:
        """Walk what leads to `outputs` and return the draft; several are joined in that order."""
        needed = set(outputs)
        for node in reversed(self.source.graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
        for node in self.source.graph.node:
            if needed.intersection(node.output):
                results = self._checked_step(node)
                several = results if isinstance(results, tuple) else (results,)
                self.known.update(zip(node.output, several, strict=False))
        last = [self._result(output) for output in outputs]
        node = last[0] if len(last) == 1 else self._joined(last)
        states = {state.node for state in self.plan.states}
        reader = next((n.name for n in self.builder.nodes if states.intersection(n.inputs)), None)
        if reader is not None:
            raise UnsupportedError(
                f"{self.path.name}: {reader} reads the recurrent state beside the cell, which is "
                "not carried over: read the cell's result instead"
            )
        if node == INPUT:
            raise NotAPolicyError("an input passed on")
        draft = self.builder.draft(
            node,
            self.layout,
            self.plan.dtype,
            self.source.framework,
            self.source.digest,
            self.plan.notes,
        )
        return replace(draft, pictures=tuple(self.pictures), parts=self.plan.parts)

    def _result(self, output: str) -> str:
        """Return the node that ends in an output, in the output's own order."""
        value = self.known.get(output)
        if not isinstance(value, Value) or value.node == NO_NODE:
            raise NotAPolicyError("a constant")
        if value.layout != "flat":
            return value.node
        ops = [n.op for n in self.builder.nodes if n.name == value.node]
        is_index = any(isinstance(op, Head) and op.function == "argmax" for op in ops)
        if value.order.ndim == 1 and value.batch == 0 and not is_index:
            raise NotAPolicyError("one number without an axis of its own, as a log-probability is")
        maker = next(node for node in self.source.graph.node if output in node.output)
        return self.settled(maker, value, output).node

    def _joined(self, parts: Sequence[str]) -> str:
        """Return one vector of several outputs; a softmax at the end of one changes no choice."""
        ends = [self.without_heads(part) for part in parts]
        return self.builder.add("outputs", Concat(), ends, "")

    def without_heads(self, name: str) -> str:
        """Return the step before the softmax or the index that a step is."""
        by_name = {node.name: node for node in self.builder.nodes}
        while name in by_name and isinstance(by_name[name].op, Head):
            name = by_name[name].inputs[0]
        return name

    def _checked_step(self, node: NodeProto) -> Known | tuple[Known, ...]:
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

    def _step(self, node: NodeProto) -> Known | tuple[Known, ...]:
        """Return what the node's outputs are."""
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
            shape = inputs[0].shape
            first, end = attribute_of(node, "start", 0), attribute_of(node, "end", len(shape))
            return np.array(shape[first:end], np.int64)
        if not any(isinstance(value, Value) for value in inputs):
            return self._evaluate(node, inputs)
        reader = self.operators.get(node.op_type)
        if reader is None:
            raise self.unsupported(
                node,
                "is not among the operators that can be carried over",
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

    def _constant_node(self, node: NodeProto) -> NDArray[np.generic]:
        for attribute in node.attribute:
            if attribute.name == "value":
                return self.source.array(attribute.t, name_of(node))
            if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
                dtype = np.float32 if "float" in attribute.name else np.int64
                return np.asarray(onnx.helper.get_attribute_value(attribute), dtype)
        raise self.unsupported(node, "holds no number")

    def _evaluate(self, node: NodeProto, inputs: Sequence[Known]) -> Known | tuple[Known, ...]:
        """Return the constant that a node of constants computes: shapes, and statistics folded by
        the exporter or not.
        """
        arrays = [value for value in inputs if not isinstance(value, Value)]
        function = CONSTANTS.get(node.op_type)
        if node.op_type == "Split":
            return split_constant(node, arrays)
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

    def check_size(self, node: NodeProto, outputs: int, inputs: int = 1) -> None:
        """Count the numbers of a step that is written out as a matrix; a small file may not ask for
        much memory.
        """
        left = self.source.computed_values - self._computed
        if outputs * inputs > left:
            raise UntrustedFileError(
                f"{self.path.name}: {node.op_type} {name_of(node)!r} is written out as "
                f"{outputs:,} x {inputs:,} numbers, a file of its size may still compute {left:,}"
            )
        self._computed += outputs * inputs

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
        if value.node == NO_NODE:
            raise self.unsupported(node, "reads an input that is no part of the observation")
        return value

    def weights(
        self, node: NodeProto, value: Known, rank: int | None = None
    ) -> NDArray[np.float64]:
        """Return an input that must be constant numbers, in float64."""
        if isinstance(value, Value):
            raise self.unsupported(node, "takes its weights from a layer's output")
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
                node, f"is applied to shape {list(found.order.shape)}, it needs an image"
            )
        if found.layout != "nchw":
            raise WrongLayoutError(
                f"{self.path.name}: {node.op_type} (node {name_of(node)!r}) is given channels "
                "last, ONNX convolves channels first"
            )
        channels, height, width = found.dims
        return found, (height, width, channels)

    def add(self, node: NodeProto, op: DraftOp, inputs: Sequence[Value], suffix: str = "") -> Value:
        """Append a step that keeps the layout of its first input, and the order of a vector where
        its length stays, and return its result.
        """
        name = self.builder.add(
            name_of(node) + suffix, op, [value.node for value in inputs], node.output[0]
        )
        first, shape = inputs[0], self.builder.shapes[name]
        if first.layout == "flat":
            if shape == self.builder.shapes[first.node]:
                return Value(name, "flat", (), first.order, first.batch)
            return vector(name, (1, *shape))
        dims = (shape[2], shape[0], shape[1]) if first.layout == "nchw" else shape
        return Value(name, first.layout, dims, first.order)

    def settled(self, node: NodeProto, value: Value, source: str, place: str = "") -> Value:
        """Return a vector whose draft shows exactly its places, in their order: slices and
        repetitions become a step of their own.
        """
        count = self.builder.shapes[value.node][0]
        places = value.order.ravel()
        if np.array_equal(places, np.arange(count)):
            return value
        self.check_size(node, len(places), count)
        name = f"{name_of(node)}{place}.order"
        step = self.builder.add(name, selection(places, count), [value.node], source)
        return vector(step, value.order.shape, value.batch)

    def whole(self, node: NodeProto, value: Value) -> Value:
        """Return a vector that shows every place of its draft once, in any order."""
        places = np.sort(value.order.ravel())
        if np.array_equal(places, np.arange(self.builder.shapes[value.node][0])):
            return value
        return self.settled(node, value, node.input[0])

    def flat(self, node: NodeProto, value: Value) -> Value:
        """Return an image as a vector in the same source order, its axes kept; a vector as it is.

        The step that flattens remembers in which order the source counts.
        """
        if value.layout == "flat":
            return value
        height, width, channels = self.builder.shapes[value.node]
        order = np.arange(height * width * channels).reshape(1, height, width, channels)
        if value.layout == "nchw":
            order = order.transpose(0, 3, 1, 2)
        name = self.builder.add(f"{name_of(node)}.flatten", Flatten(), [value.node], "")
        return Value(name, "flat", (), order)

    def by_channel(
        self, node: NodeProto, value: Value, constant: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return a constant of an elementwise step as one number per channel of the draft's tensor:
        of the last axis of an image, of each place of a vector.
        """
        if constant.size == 1:
            return np.full(self.builder.shapes[value.node][-1], constant.reshape(()))
        lengths = value.order.shape if value.layout == "flat" else (1, *value.dims)
        try:
            spread = np.broadcast_to(constant, lengths)
        except ValueError as error:
            raise self.unsupported(
                node, f"has a constant of shape {constant.shape} for a tensor of shape {lengths}"
            ) from error
        if value.layout == "flat":
            draft = np.empty(value.order.size)
            draft[value.order.ravel()] = spread.ravel()
            return draft
        last = spread[0].transpose(1, 2, 0) if value.layout == "nchw" else spread[0]
        if (last != last[0, 0]).any():
            raise self.unsupported(
                node,
                "has a constant that differs from pixel to pixel, one number per channel is "
                "carried over",
            )
        return np.array(last[0, 0])

    def scaled(
        self,
        node: NodeProto,
        value: Value,
        scale: NDArray[np.float64],
        offset: NDArray[np.float64],
    ) -> Value:
        """Append y = x * scale + offset, constants of any shape that spreads over x, or over which
        x spreads.
        """
        if value.layout == "flat":
            value = self.whole(node, self.spread(node, value, scale.shape, offset.shape))
        parts = (self.by_channel(node, value, scale), self.by_channel(node, value, offset))
        return self.add(node, Affine(*parts), [value])

    def spread(self, node: NodeProto, value: Value, *shapes: tuple[int, ...]) -> Value:
        """Return a vector repeated along the axes that constants of these shapes have more of."""
        try:
            shape = np.broadcast_shapes(value.order.shape, *shapes)
        except ValueError:
            return value  # whoever applies the constant says so
        if shape == value.order.shape:
            return value
        batch = value.batch + len(shape) - value.order.ndim if value.batch >= 0 else -1
        if batch >= 0 and shape[batch] != 1:
            return value
        self.check_size(node, math.prod(shape))
        return Value(value.node, "flat", (), np.broadcast_to(value.order, shape), batch)
