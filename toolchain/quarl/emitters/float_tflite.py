"""The full-precision `.tflite` file of a policy: the float side of the profile.

In: a Policy. Out: the file's bytes; input float32 [1, *graph_shape] as `Policy.graph_input` gives
it (after the normaliser, or pixels divided by 255), output float32 [1, count]; the batch may be
resized. A ReLU is fused into the layer before it. With `half` the parameters are stored in float16
and unpacked when the file is loaded; all arithmetic stays float32.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]
from numpy.typing import NDArray

from quarl.emitters import tflite_layers as layers
from quarl.emitters.float_functions import add_function
from quarl.emitters.provenance import provenance
from quarl.emitters.tflite_file import TfliteFile
from quarl.emitters.tflite_layers import OPS, Value, Window
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
    Weighted,
    node_shapes,
)

HALF_VERSION = 3  # of DEQUANTIZE, which then takes float16
FUSED = {"relu": "RELU", "relu6": "RELU6"}


def emit_float_tflite(policy: Policy, *, half: bool = False) -> bytes:
    """Return the `.tflite` file of the policy; the same policy gives the same bytes.

    Args:
        half: store the parameters in float16, rounded half even.
    """
    shapes = node_shapes(policy)
    fused = fusable_activations(policy)
    file = TfliteFile()
    values = {
        INPUT: Value(file.activation(INPUT, shapes[INPUT], np.float32), shapes[INPUT], np.float32)
    }
    for state in policy.contract.state:
        held, shape = state.tensor_name, shapes[state.tensor_name]
        values[held] = Value(file.activation(held, shape, np.float32), shape, np.float32)
    for node in policy.nodes:
        if isinstance(node.op, Activation) and node.inputs[0] in fused:
            values[node.name] = values[node.inputs[0]]
            continue
        output = Value(
            file.activation(node.name, shapes[node.name], np.float32), shapes[node.name], np.float32
        )
        inputs = [values[name] for name in node.inputs]
        after = FUSED.get(fused.get(node.name, ""), "NONE")
        values[node.name] = _add(file, node, inputs, output, after, half)
    states = [
        (state.name, values[state.tensor_name].index, values[node].index)
        for state, node in zip(policy.contract.state, policy.next_state, strict=True)
    ]
    last = values[policy.nodes[-1].name].index
    return file.finish(values[INPUT].index, last, provenance(policy), states)


def fusable_activations(policy: Policy) -> dict[str, str]:
    """Return, by name of the layer before, the relu or relu6 that nobody else's input passes
    through.
    """
    readers: dict[str, list[Node]] = {}
    for node in policy.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    fused: dict[str, str] = {}
    for node in policy.nodes:
        after = readers.get(node.name, [])
        if isinstance(node.op, Weighted) and len(after) == 1:
            op = after[0].op
            if isinstance(op, Activation) and op.function in FUSED:
                fused[node.name] = op.function
    return fused


def _add(
    file: TfliteFile, node: Node, inputs: list[Value], output: Value, fused: str, half: bool
) -> Value:
    x, op = inputs[0], node.op
    match op:
        case Dense() | Conv2D() | DepthwiseConv2D():
            stored = (
                op.weights.transpose(1, 2, 0)[None]
                if isinstance(op, DepthwiseConv2D)
                else op.weights
            )
            weights = _parameter(file, f"{node.name}/weights", stored, half)
            bias = _parameter(file, f"{node.name}/bias", op.bias, half)
            if isinstance(op, Dense):
                return layers.dense(file, x, (weights, bias), output, fused)
            rows, cols = op.weights.shape[1:3]
            window = Window((rows, cols), op.stride, op.padding, isinstance(op, DepthwiseConv2D))
            return layers.convolution(file, x, (weights, bias), window, output, fused)
        case MaxPool2D():
            return layers.pool(
                file, OPS.MAX_POOL_2D, x, Window(op.kernel, op.stride, op.padding, True), output
            )
        case Activation():
            return add_function(file, op.function, x, output, node.name)
        case Flatten():
            return layers.reshape(file, x, output)
        case Columns(first=first):
            return layers.columns(file, x, first, output)
        case Concat():
            return layers.concat(file, inputs, output)
        case Add():
            return layers.binary(
                file, OPS.ADD, 1, (x.index, inputs[1].index), output, schema.AddOptionsT()
            )
        case Mul():
            return layers.binary(
                file, OPS.MUL, 1, (x.index, inputs[1].index), output, schema.MulOptionsT()
            )


def _parameter(file: TfliteFile, name: str, values: NDArray[np.float32], half: bool) -> int:
    if not half:
        return file.constant(name, values)
    stored = file.constant(f"{name}/half", values.astype(np.float16))
    unpacked = file.unpacked(name, values.shape)
    return file.operator(
        OPS.DEQUANTIZE, HALF_VERSION, [stored], unpacked, schema.DequantizeOptionsT()
    )
