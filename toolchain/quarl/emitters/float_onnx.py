"""The full-precision `.onnx` file of a policy: the float side of the profile, and `source.onnx` of
a bundle.

In: a Policy. Out: the file's bytes; input "observation" float32 [batch, *graph_shape] as
`Policy.graph_input` gives it (after the normaliser, or pixels divided by 255; images as [height,
width, channels]), output "output" float32 [batch, count]. With `half` the parameters are stored in
float16 and cast when the file is loaded; all arithmetic stays float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quarl.emitters.onnx_file import OUTPUT, OnnxFile, onnx_pads, onnx_type
from quarl.emitters.provenance import provenance
from quarl.graph.functions import BINARY, UNARY, Call, Expression, expanded, parse
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Columns,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Mul,
    Node,
    Policy,
    node_shapes,
)

FUNCTIONS = {
    **{name: name.capitalize() for name in UNARY},
    **{name: name.capitalize() for name in BINARY},
}


def emit_float_onnx(policy: Policy, *, half: bool = False) -> bytes:
    """Return the `.onnx` file of the policy; the same policy gives the same bytes.

    Args:
        half: store the parameters in float16, rounded half even.
    """
    shapes = node_shapes(policy)
    file = OnnxFile()
    values = {INPUT: INPUT, **{s.tensor_name: f"state_{s.name}" for s in policy.contract.state}}
    if len(shapes[INPUT]) == 3:
        values[INPUT] = file.node("Transpose", [INPUT], "channels_first", perm=[0, 3, 1, 2])
    for node in policy.nodes:
        is_image = len(shapes[node.inputs[0]]) == 3
        inputs = [values[name] for name in node.inputs]
        values[node.name] = _add(file, node, inputs, is_image, half)
    float32 = np.dtype(np.float32)
    last = policy.nodes[-1].name
    states = [
        (
            (f"state_{state.name}", float32, (state.length,)),
            values[node],
            (f"next_{state.name}", float32, (state.length,)),
        )
        for state, node in zip(policy.contract.state, policy.next_state, strict=True)
    ]
    return file.finish(
        (INPUT, float32, shapes[INPUT]),
        values[last],
        (OUTPUT, float32, shapes[last]),
        provenance(policy),
        states,
    )


def _add(file: OnnxFile, node: Node, inputs: list[str], is_image: bool, half: bool) -> str:
    op = node.op
    match op:
        case Dense():
            parameters = [
                _parameter(file, f"{node.name}/weights", op.weights, half),
                _parameter(file, f"{node.name}/bias", op.bias, half),
            ]
            return file.node("Gemm", [inputs[0], *parameters], node.name, transB=1)
        case Conv2D() | DepthwiseConv2D():
            is_depthwise = isinstance(op, DepthwiseConv2D)
            stored = op.weights[:, None] if is_depthwise else op.weights.transpose(0, 3, 1, 2)
            parameters = [
                _parameter(file, f"{node.name}/weights", stored, half),
                _parameter(file, f"{node.name}/bias", op.bias, half),
            ]
            return file.node(
                "Conv",
                [inputs[0], *parameters],
                node.name,
                kernel_shape=list(op.weights.shape[1:3]),
                strides=list(op.stride),
                pads=onnx_pads(op.padding),
                group=len(op.weights) if is_depthwise else 1,
            )
        case MaxPool2D():
            return file.node(
                "MaxPool",
                inputs,
                node.name,
                kernel_shape=list(op.kernel),
                strides=list(op.stride),
                pads=onnx_pads(op.padding),
            )
        case Activation(function=function):
            return _add_function(file, expanded(parse(function)), inputs[0], node.name)
        case Flatten():
            return file.flattened(inputs[0], node.name, is_image)
        case Columns(first=first, shape=shape):
            return file.columns(inputs[0], node.name, first, shape)
        case Concat():
            return file.node(
                "Concat", inputs, node.name, axis=1
            )  # channels, whether the value is a vector or an image
        case Add():
            return file.node("Add", inputs, node.name)
        case Mul():
            return file.node("Mul", inputs, node.name)


def _parameter(file: OnnxFile, name: str, values: NDArray[np.float32], half: bool) -> str:
    if not half:
        return file.constant(name, values)
    stored = file.constant(f"{name}/half", values.astype(np.float16))
    return file.node("Cast", [stored], name, to=onnx_type(np.float32))


def _add_function(file: OnnxFile, expression: Expression, x: str, name: str) -> str:
    """Append the operators of an elementwise function and return its result."""
    if isinstance(expression, str):
        return x
    if not isinstance(expression, Call):
        return file.constant(f"{name}/number", np.array(expression, np.float32))
    parts = [
        _add_function(file, part, x, f"{name}/{place}")
        for place, part in enumerate(expression.arguments)
    ]
    match expression.name:
        case "relu6":
            bounds = [file.constant("bound", np.array(bound, np.float32)) for bound in (0, 6)]
            return file.node("Clip", [*parts, *bounds], name)
        case "expm1":
            one = file.constant("one", np.array(1, np.float32))
            return file.node("Sub", [file.node("Exp", parts, f"{name}/exp"), one], name)
        case kind:
            return file.node(FUNCTIONS[kind], parts, name)
