"""TensorFlow SavedModels read as data: the graph of a signature and the variables' numbers; no
function in it is ever run.

In: a folder written by `model.export` or `tf.saved_model.save` of TensorFlow 2. Out: a `Policy`.
TensorFlow itself (extra `tf`) only parses the files. The signature's graph, its inner functions
written out, is put into ONNX terms, and goes on as an ONNX model would: `importers/onnx.py`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from quarl.errors import InputError, ToolMissingError, UnsupportedError, UntrustedFileError
from quarl.files.archives import read_file, source_digest
from quarl.graph.policy import Policy
from quarl.importers.beside_tensorflow import prepare_for_tensorflow
from quarl.importers.draft import Draft, finish
from quarl.importers.onnx import MAX_CONSTANT_VALUES, MAX_NODES, OnnxFile, draft_of
from quarl.importers.options import ImportOptions

DEFAULT_SIGNATURE = "serving_default"
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
TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
Message: TypeAlias = Any  # a protobuf message of TensorFlow's, whose classes carry no types


def read_savedmodel(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in a SavedModel folder.

    Raises:
        ToolMissingError: TensorFlow is not installed.
        InputError: damaged or inconsistent, or the action or observation is unknown.
        UnsupportedError: an operator without exact counterpart; names it.
        UntrustedFileError: sizes beyond the limits, functions that call themselves.
    """
    return finish(path, read_draft(path, options), options)


def read_draft(path: Path, options: ImportOptions) -> Draft:
    """Return the signature's network before it is folded into a policy."""
    source = SavedGraph(path)
    framework = f"tensorflow {source.meta.meta_info_def.tensorflow_version}"
    try:
        graph = OnnxFile(
            path,
            source.translate(source.signature_name()),
            hashlib.sha256(source_digest(path).encode()),
            framework,
        )
        return draft_of(graph, options)
    except RecursionError as error:
        raise UntrustedFileError(
            f"{path.name}: its functions are nested too deeply: this is no policy"
        ) from error
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(
            f"{path.name}: the graph is damaged ({error!r}): export the model again"
        ) from error


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

    def __init__(self, path: Path) -> None:
        self.path = path
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
        if DEFAULT_SIGNATURE in names:
            return DEFAULT_SIGNATURE
        if len(names) != 1:
            raise UnsupportedError(
                f"{self.path.name}: has the signatures {', '.join(names) or '(none)'}, one "
                f"called {DEFAULT_SIGNATURE} is needed: "
                "export the policy alone, for example with model.export(DIR)"
            )
        return names[0]

    def translate(self, name: str) -> ModelProto:
        """Return the signature as an ONNX model with one input."""
        signature = self.meta.signature_def[name]
        function, bound = self._concrete_function(name)
        arguments = [argument.name for argument in function.signature.input_arg]
        inputs = arguments[: len(arguments) - len(bound)]
        if len(inputs) != 1 or len(signature.inputs) != 1:
            raise UnsupportedError(
                f"{self.path.name}: the signature {name} has {len(inputs)} inputs "
                f"({', '.join(inputs)}), quarl carries one observation: "
                "export the policy with the observation alone"
            )
        (given,) = signature.inputs.values()
        if given.dtype not in TYPES or given.tensor_shape.unknown_rank:
            raise UnsupportedError(
                f"{self.path.name}: the signature {name} does not say its input's shape or "
                "type: export it with both"
            )
        dims = [
            "n" if dim.size < 0 and index == 0 else max(dim.size, 0)
            for index, dim in enumerate(given.tensor_shape.dim)
        ]
        results = self.call(function, ["observation", *(self._bound(number) for number in bound)])
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
            [helper.make_tensor_value_info("observation", TYPES[given.dtype], dims)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
            [numpy_helper.from_array(value, key) for key, value in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])

    def call(self, function: Message, arguments: Sequence[str]) -> list[str]:
        """Write a function out for the given arguments and return its results."""
        name = function.signature.name
        if name in self.open_functions:
            raise UntrustedFileError(
                f"{self.path.name}: the function {name} calls itself: this is no policy"
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
                f"{self.path.name}: more than {MAX_NODES:,} operations: this is no policy"
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
            raise self.unsupported(node, "is told its axes or lengths by another layer")
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
        translate = OPERATORS.get(node.op)
        if translate is None and node.op not in RENAMED and node.op not in CALLS:
            known = ", ".join(sorted((*OPERATORS, *RENAMED)))
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
        return [
            self.emit(node, RENAMED[node.op], inputs)
            if translate is None
            else translate(self, node, inputs)
        ]

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
        return _const(self, node, ())

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


def _const(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
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


def _read_variable(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.variable(node, inputs[0])


def _matmul(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    if node.attr["transpose_a"].b:
        raise saved.unsupported(node, "transposes its input")
    weights = (
        saved.emit(node, "Transpose", [inputs[1]], perm=(1, 0))
        if node.attr["transpose_b"].b
        else inputs[1]
    )
    return saved.emit(node, "MatMul", [inputs[0], weights])


def _bias_add(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    _check_format(saved, node)
    return saved.emit(node, "Add", inputs)


def _conv2d(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    weights = saved.emit(node, "Transpose", [inputs[1]], perm=(3, 2, 0, 1))
    return _spatial(saved, node, "Conv", [inputs[0], weights], **_window(saved, node))


def _depthwise(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    shape = saved.number(node, inputs[1]).shape
    if len(shape) != 4 or shape[3] != 1:
        raise saved.unsupported(
            node, f"has weights of shape {shape}, one filter per channel is carried over"
        )
    weights = saved.emit(node, "Transpose", [inputs[1]], perm=(2, 3, 0, 1))
    return _spatial(
        saved, node, "Conv", [inputs[0], weights], group=shape[2], **_window(saved, node)
    )


def _average_pool(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    size = list(node.attr["ksize"].list.i)
    return _spatial(
        saved, node, "AveragePool", inputs, kernel_shape=size[1:3], **_window(saved, node)
    )


def _max_pool(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    size = list(node.attr["ksize"].list.i)
    return _spatial(saved, node, "MaxPool", inputs, kernel_shape=size[1:3], **_window(saved, node))


def _batch_norm(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    _check_format(saved, node)
    if node.attr["is_training"].b:
        raise saved.unsupported(
            node, "is in training mode, export the model for inference (model.export)"
        )
    return _spatial(
        saved, node, "BatchNormalization", inputs, epsilon=float(node.attr["epsilon"].f)
    )


def _spatial(
    saved: SavedGraph, node: Message, kind: str, inputs: Sequence[str], **attributes: Any
) -> str:
    """Emit an operator that ONNX knows in NCHW order alone, between two transposes."""
    first = saved.emit(node, "Transpose", [inputs[0]], perm=TO_FIRST)
    return saved.emit(
        node,
        "Transpose",
        [saved.emit(node, kind, [first, *inputs[1:]], **attributes)],
        perm=TO_LAST,
    )


def _check_format(saved: SavedGraph, node: Message) -> None:
    if node.attr["data_format"].s not in (b"", b"NHWC"):
        raise saved.unsupported(
            node, f"has the format {node.attr['data_format'].s.decode()}, only NHWC is carried over"
        )


def _window(saved: SavedGraph, node: Message) -> dict[str, Any]:
    """Return strides, dilations and padding as ONNX attributes."""
    _check_format(saved, node)
    strides = list(node.attr["strides"].list.i)
    attributes: dict[str, Any] = {
        "strides": strides[1:3],
        "dilations": list(node.attr["dilations"].list.i)[1:3] or [1, 1],
    }
    if node.op == "AvgPool":
        del attributes["dilations"]
    padding = node.attr["padding"].s
    if padding == b"EXPLICIT":
        pads = list(node.attr["explicit_paddings"].list.i)
        return attributes | {"pads": [pads[2], pads[4], pads[3], pads[5]]}
    return attributes | {
        "auto_pad": {b"SAME": "SAME_UPPER", b"VALID": "VALID"}.get(
            padding, padding.decode("utf-8", "replace")
        )
    }


def _relu6(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    bounds = [saved.constant(node, np.array(bound, np.float32)) for bound in (0, 6)]
    return saved.emit(node, "Clip", [inputs[0], *bounds])


def _rsqrt(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(node, "Reciprocal", [saved.emit(node, "Sqrt", inputs)])


def _cast(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    kind = node.attr["DstT"].type
    if kind not in TYPES:
        raise saved.unsupported(node, "casts to a type that is not carried over, only float32 is")
    return saved.emit(node, "Cast", inputs, to=TYPES[kind])


def _concat(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(node, "Concat", inputs[:-1], axis=int(saved.number(node, inputs[-1])))


def _mean(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    axes = saved.constant(node, np.ravel(saved.number(node, inputs[1])).astype(np.int64))
    return saved.emit(node, "ReduceMean", [inputs[0], axes], keepdims=int(node.attr["keep_dims"].b))


def _arg_max(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(
        node, "ArgMax", [inputs[0]], axis=int(saved.number(node, inputs[1])), keepdims=0
    )


def _transpose(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(
        node, "Transpose", [inputs[0]], perm=[int(axis) for axis in saved.number(node, inputs[1])]
    )


def _squeeze(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    axes = list(node.attr["squeeze_dims"].list.i)
    return saved.emit(
        node,
        "Squeeze",
        [inputs[0], saved.constant(node, np.array(axes, np.int64))] if axes else inputs,
    )


def _expand_dims(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    axes = saved.constant(node, np.ravel(saved.number(node, inputs[1])).astype(np.int64))
    return saved.emit(node, "Unsqueeze", [inputs[0], axes])


def _strided_slice(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    """One element or a run of a shape; anything else is refused."""
    begin, end, stride = (saved.number(node, tensor) for tensor in inputs[1:4])
    masks = {
        name: node.attr[name].i
        for name in ("begin_mask", "end_mask", "shrink_axis_mask", "ellipsis_mask", "new_axis_mask")
    }
    if begin.shape != (1,) or stride[0] != 1 or masks["ellipsis_mask"] or masks["new_axis_mask"]:
        raise saved.unsupported(node, "cuts pieces out of a tensor")
    if masks["shrink_axis_mask"]:
        return saved.emit(
            node, "Gather", [inputs[0], saved.constant(node, np.array(begin[0], np.int64))]
        )
    first = 0 if masks["begin_mask"] else int(begin[0])
    last = np.iinfo(np.int32).max if masks["end_mask"] else int(end[0])
    bounds = [saved.constant(node, np.array([bound], np.int64)) for bound in (first, last)]
    return saved.emit(node, "Slice", [inputs[0], *bounds])


def _pack(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    if node.attr["axis"].i:
        raise saved.unsupported(node, "stacks tensors")
    axes = saved.constant(node, np.array([0], np.int64))
    return saved.emit(
        node, "Concat", [saved.emit(node, "Unsqueeze", [tensor, axes]) for tensor in inputs], axis=0
    )


RENAMED = {
    "Add": "Add",
    "AddV2": "Add",
    "ClipByValue": "Clip",
    "Div": "Div",
    "Elu": "Elu",
    "Identity": "Identity",
    "LogSoftmax": "LogSoftmax",
    "Maximum": "Max",
    "Minimum": "Min",
    "Mul": "Mul",
    "Neg": "Neg",
    "RealDiv": "Div",
    "Relu": "Relu",
    "Reshape": "Reshape",
    "Shape": "Shape",
    "Sigmoid": "Sigmoid",
    "Softmax": "Softmax",
    "Sqrt": "Sqrt",
    "StopGradient": "Identity",
    "Sub": "Sub",
    "Tanh": "Tanh",
}

OPERATORS: dict[str, Callable[[SavedGraph, Message, Sequence[str]], str]] = {
    "ArgMax": _arg_max,
    "AvgPool": _average_pool,
    "BiasAdd": _bias_add,
    "Cast": _cast,
    "ConcatV2": _concat,
    "Const": _const,
    "Conv2D": _conv2d,
    "DepthwiseConv2dNative": _depthwise,
    "ExpandDims": _expand_dims,
    "FusedBatchNormV3": _batch_norm,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mean": _mean,
    "Pack": _pack,
    "ReadVariableOp": _read_variable,
    "Relu6": _relu6,
    "Rsqrt": _rsqrt,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Transpose": _transpose,
}
