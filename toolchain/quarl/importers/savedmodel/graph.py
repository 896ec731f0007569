"""A parsed SavedModel, and the ONNX graph that grows while one of its signatures is written out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from quarl.errors import InputError, ToolMissingError, UnsupportedError, UntrustedFileError
from quarl.files.open import read_file
from quarl.importers.beside_tensorflow import prepare_for_tensorflow
from quarl.importers.onnx.file import MAX_CONSTANT_VALUES, MAX_NODES

DEFAULT_SIGNATURE = "serving_default"
AGENTS_SIGNATURE = "action"  # of TF-Agents' PolicySaver
INITIALIZER = "__saved_model_init_op"
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
OPSET = 20
TYPES = {
    1: TensorProto.FLOAT,
    2: TensorProto.DOUBLE,
    3: TensorProto.INT32,
    4: TensorProto.UINT8,
    9: TensorProto.INT64,
    10: TensorProto.BOOL,
}
Message: TypeAlias = Any  # a protobuf message of TensorFlow's, whose classes carry no types

Results: TypeAlias = "str | Sequence[str]"  # of an operator; several of one that splits
Operators: TypeAlias = "Mapping[str, Callable[[SavedGraph, Message, Sequence[str]], Results]]"


@dataclass(slots=True)
class _Frame:
    """One function while it is written out: its nodes, its arguments and the results so far, as
    names of ONNX tensors.
    """

    function: Message
    nodes: Mapping[str, Message]
    arguments: Mapping[str, str]
    results: dict[str, list[str]] = field(default_factory=dict)


class SavedGraph:
    """A parsed SavedModel, and the ONNX graph that grows while one of its signatures is written
    out.
    """

    def __init__(self, path: Path, operators: Operators) -> None:
        self.path = path
        self.operators = operators
        prepare_for_tensorflow()
        try:
            import tensorflow as tf  # type: ignore[import-untyped]
            from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
            from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # type: ignore[import-untyped]
            from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph  # type: ignore[import-untyped]
        except ImportError as error:
            raise ToolMissingError(
                f"{path.name}: a SavedModel needs TensorFlow to be parsed: pip install "
                "'quarl[tf]', or save the model as .keras"
            ) from error
        self.tf = tf
        saved, stored = SavedModel(), TrackableObjectGraph()
        try:
            saved.ParseFromString(read_file(path / "saved_model.pb"))
            self.meta = saved.meta_graphs[0]
            self.reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
            stored.ParseFromString(self.reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        except (DecodeError, IndexError, ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0] if str(error) else "nothing in it"
            raise InputError(
                f"{path.name}: not a complete SavedModel of TensorFlow 2 ({reason}): copy the "
                "whole folder again"
            ) from error
        self.shapes: Mapping[str, Sequence[int]] = self.reader.get_variable_to_shape_map()
        self.keys = self._checkpoint_keys(stored)
        self.functions = {
            function.signature.name: function for function in self.meta.graph_def.library.function
        }
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.open_functions: list[str] = []
        self.counter = 0

    def signature_name(self) -> str:
        """Return the signature that is the policy: the default one, or the only one."""
        names = sorted(str(name) for name in self.meta.signature_def if name != INITIALIZER)
        for name in (DEFAULT_SIGNATURE, AGENTS_SIGNATURE):
            if name in names:
                return name
        if len(names) != 1:
            raise UnsupportedError(
                f"{self.path.name}: has the signatures {', '.join(names) or '(none)'}, one "
                f"called {DEFAULT_SIGNATURE} is needed: "
                "export the policy alone, for example with model.export(DIR)"
            )
        return names[0]

    def translate(self, name: str) -> ModelProto:
        """Return the signature as an ONNX model; what the policy does not need of its inputs is
        dropped there.
        """
        signature = self.meta.signature_def[name]
        function, bound = self._concrete_function(name)
        arguments = [argument.name for argument in function.signature.input_arg]
        inputs = arguments[: len(arguments) - len(bound)]
        if len(inputs) != len(signature.inputs):
            raise UnsupportedError(
                f"{self.path.name}: the signature {name} has {len(signature.inputs)} inputs, its "
                f"function {len(inputs)}: export the policy again"
            )
        given = dict(sorted(signature.inputs.items()))  # as the function's arguments are
        names = ["observation"] if len(given) == 1 else list(given)
        values = [
            self._input(name, key, info) for key, info in zip(names, given.values(), strict=True)
        ]
        results = self.call(function, [*names, *(self._bound(number) for number in bound)])
        outputs: list[str] = []
        for output, info in sorted(signature.outputs.items()):
            index = int(info.name.rpartition(":")[2])
            if index >= len(results):
                raise InputError(
                    f"{self.path.name}: the output {output} is missing: the folder is "
                    "inconsistent, export it again"
                )
            self.nodes.append(
                helper.make_node("Identity", [results[index]], [f"output {output}"], name=output)
            )
            outputs.append(f"output {output}")
        graph = helper.make_graph(
            self.nodes,
            "policy",
            values,
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
            [numpy_helper.from_array(value, key) for key, value in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])

    def _input(self, signature: str, name: str, info: Message) -> ValueInfoProto:
        if info.tensor_shape.unknown_rank:
            raise UnsupportedError(
                f"{self.path.name}: the signature {signature} does not say the shape of its input "
                f"{name}: export it with its shape"
            )
        dims = [
            "n" if dim.size < 0 and index == 0 else max(dim.size, 0)
            for index, dim in enumerate(info.tensor_shape.dim)
        ]
        # other types are only those of inputs that no action depends on
        kind = TYPES.get(info.dtype, TensorProto.INT32)
        return helper.make_tensor_value_info(name, kind, dims)

    def call(self, function: Message, arguments: Sequence[str]) -> list[str]:
        """Write a function out for the given arguments and return its results."""
        name = function.signature.name
        if name in self.open_functions:
            raise UntrustedFileError(
                f"{self.path.name}: the function {name} calls itself: this is not a policy"
            )
        names = [argument.name for argument in function.signature.input_arg]
        if len(names) != len(arguments):
            raise InputError(
                f"{self.path.name}: the function {name} takes {len(names)} arguments, is "
                f"given {len(arguments)}"
            )
        self.open_functions.append(name)
        frame = _Frame(
            function,
            {node.name: node for node in function.node_def},
            dict(zip(names, arguments, strict=True)),
        )
        results = [
            self.tensor(frame, function.ret[output.name])
            for output in function.signature.output_arg
        ]
        self.open_functions.pop()
        return results

    def tensor(self, frame: _Frame, reference: str) -> str:
        """Return the ONNX tensor that a reference inside a function means ("argument" or
        "node:output:index").
        """
        name, _, rest = reference.partition(":")
        if name in frame.arguments:
            return frame.arguments[name]
        if name not in frame.results:
            node = frame.nodes.get(name)
            if node is None:
                raise InputError(
                    f"{self.path.name}: {frame.function.signature.name} reads {name!r}, which "
                    "is not there: export it again"
                )
            frame.results[name] = self._node(frame, node)
        output, _, index = rest.partition(":")
        position = int(index or 0)
        if position >= len(frame.results[name]) or (
            frame.nodes[name].op == "FusedBatchNormV3" and output not in ("", "y")
        ):
            raise self.unsupported(frame.nodes[name], f"is used through its output {rest!r}")
        return frame.results[name][position]

    def emit(self, node: Message, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append an ONNX node named after the TensorFlow node and return its result."""
        if len(self.nodes) >= MAX_NODES:
            raise UnsupportedError(
                f"{self.path.name}: more than {MAX_NODES:,} operations: this is not a policy"
            )
        self.counter += 1
        result = f"{node.name}#{self.counter}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [result], name=node.name, **attributes)
        )
        return result

    def constant(self, node: Message, value: NDArray[Any]) -> str:
        """Store a constant and return its name."""
        self.counter += 1
        name = f"{node.name}#{self.counter}"
        self.constants[name] = value
        return name

    def number(self, node: Message, tensor: str) -> NDArray[Any]:
        """Return the constant behind a tensor, where the node's meaning depends on it."""
        if tensor not in self.constants:
            raise self.unsupported(node, "takes its axes or lengths from another layer")
        return self.constants[tensor]

    def variable(self, node: Message, tensor: str) -> str:
        """Return the variable that a handle stands for, read from the checkpoint on first use."""
        if tensor in self.constants:
            return tensor
        kind, _, number = tensor.partition(" ")
        key = self.keys.get(int(number)) if kind == "variable" and number.isdecimal() else None
        if key is None or key not in self.shapes:
            raise self.unsupported(node, "reads a variable that is not in the checkpoint")
        count = math.prod(self.shapes[key])
        if count > MAX_CONSTANT_VALUES:
            raise UntrustedFileError(
                f"{self.path.name}: {key} claims {count:,} values, at most "
                f"{MAX_CONSTANT_VALUES:,} are read"
            )
        try:
            self.constants[tensor] = np.asarray(self.reader.get_tensor(key))
        except (self.tf.errors.OpError, ValueError) as error:
            raise InputError(
                f"{self.path.name}: {key} cannot be read ({error}): copy the whole folder again"
            ) from error
        return tensor

    def unsupported(self, node: Message, reason: str) -> UnsupportedError:
        """Return the error that names the operator, the node and the reason."""
        return UnsupportedError(
            f"{self.path.name}: {node.op} (node {node.name!r}) {reason}: change the network, "
            "or export it without this step"
        )

    def _node(self, frame: _Frame, node: Message) -> list[str]:
        translate = self.operators.get(node.op)
        if translate is None and node.op not in CALLS:
            known = ", ".join(sorted(self.operators))
            raise self.unsupported(
                node, f"is not among the operators that can be carried over ({known})"
            )
        inputs = [
            self.tensor(frame, reference)
            for reference in node.input
            if not reference.startswith("^")
        ]
        if node.op in CALLS:
            name = node.attr["f"].func.name
            if name not in self.functions:
                raise InputError(
                    f"{self.path.name}: {node.name} calls {name}, which is not there: export "
                    "it again"
                )
            return self.call(self.functions[name], inputs)
        assert translate is not None
        result = translate(self, node, inputs)
        return [result] if isinstance(result, str) else list(result)

    def _concrete_function(self, signature: str) -> tuple[Message, list[int]]:
        """Return the function behind a signature and the numbers of the variables bound to its last
        arguments.
        """
        objects = self.meta.object_graph_def
        try:
            root = {child.local_name: child.node_id for child in objects.nodes[0].children}
            signatures = {
                child.local_name: child.node_id
                for child in objects.nodes[root["signatures"]].children
            }
            name = str(
                objects.nodes[signatures[signature]].bare_concrete_function.concrete_function_name
            )
            return self.functions[name], list(objects.concrete_functions[name].bound_inputs)
        except (KeyError, IndexError) as error:
            raise UnsupportedError(
                f"{self.path.name}: has no functions of TensorFlow 2 (it may come from "
                "TensorFlow 1): export it again"
            ) from error

    def _bound(self, number: int) -> str:
        """Return the tensor for an object bound to a function: the handle of a variable, or a
        constant of the outer graph.
        """
        bound = self.meta.object_graph_def.nodes[number]
        if bound.WhichOneof("kind") != "constant":
            return f"variable {number}"
        name = bound.constant.operation
        node = next(
            (node for node in self.meta.graph_def.node if node.name == name and node.op == "Const"),
            None,
        )
        if node is None:
            raise InputError(
                f"{self.path.name}: the constant {name!r} is missing: the folder is "
                "inconsistent, export it again"
            )
        return constant_of(self, node, ())

    def _checkpoint_keys(self, stored: Message) -> dict[int, str]:
        """Return the checkpoint's key for each object that holds a variable, found by the same path
        from the root in both graphs.
        """
        objects, keys, seen = self.meta.object_graph_def.nodes, {}, set()
        queue = [(0, 0)] if len(objects) and len(stored.nodes) else []
        while queue:
            number, stored_number = queue.pop()
            if number in seen or not (
                0 <= number < len(objects) and 0 <= stored_number < len(stored.nodes)
            ):
                continue
            seen.add(number)
            for attribute in stored.nodes[stored_number].attributes:
                if attribute.name == "VARIABLE_VALUE":
                    keys[number] = attribute.checkpoint_key
            children = {
                child.local_name: child.node_id for child in stored.nodes[stored_number].children
            }
            queue += [
                (child.node_id, children[child.local_name])
                for child in objects[number].children
                if child.local_name in children
            ]
        return keys


def constant_of(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    """Return the ONNX constant of a `Const` node."""
    proto = node.attr["value"].tensor
    lengths = [dim.size for dim in proto.tensor_shape.dim]
    if (
        proto.tensor_shape.unknown_rank
        or any(length < 0 for length in lengths)
        or math.prod(lengths) > MAX_CONSTANT_VALUES
    ):
        raise UntrustedFileError(
            f"{saved.path.name}: {node.name} claims a constant of shape {lengths}, at most "
            f"{MAX_CONSTANT_VALUES:,} are read"
        )
    if proto.dtype not in TYPES:
        raise saved.unsupported(node, "holds no plain numbers")
    try:
        return saved.constant(node, saved.tf.make_ndarray(proto))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{saved.path.name}: {node.name} is damaged ({error}): copy the whole folder again"
        ) from error
