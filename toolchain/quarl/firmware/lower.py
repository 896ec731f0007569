"""Lower: a quantised policy becomes kernel calls, tables and a memory plan.

The C side is described in firmware_harness/include/ql_kernels.h; field names here are the ones
there.
"""

from __future__ import annotations

from math import prod

import numpy as np

from quarl.boards.core import Kernels
from quarl.errors import UnsupportedError
from quarl.firmware import neon
from quarl.firmware.lowering import Lowering
from quarl.firmware.memory_planner import Overlap, elementwise_distance
from quarl.firmware.packing import (
    MVE_LANES,
    MVE_ROWS,
    ROWS,
    STEP,
    dsp_weights,
    folded_bias,
    mve_weights,
    pad_rows,
    padded_length,
    portable_weights,
)
from quarl.firmware.program import (
    SIZES,
    Array,
    Call,
    CType,
    Operand,
    Program,
    ctype_of,
    float_text,
)
from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.graph.policy import INPUT, Add, Concat, Flatten, MaxPool2D
from quarl.graph.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantNode,
    QuantPolicy,
    QuantTable,
    QuantTensor,
    QuantWeighted,
    stored_bits,
)
from quarl.graph.shapes import quant_shapes

WORD = 4  # bytes; LDM faults on less
LETTERS: dict[CType, str] = {"int8_t": "s8", "int16_t": "s16", "float": "f32"}


def lower(policy: QuantPolicy, kernels: Kernels) -> Program:
    """Return the program of a policy for a family of kernels.

    Raises:
        UnsupportedError: a tensor wider than int16, or a sum of wide tensors.
        QuantizationError: a sum that does not fit int32 once the zero point is folded.
    """
    lowering = Lowering(policy, kernels, quant_shapes(policy))
    for step, node in enumerate(policy.nodes):
        _add_node(lowering, step, node)
    last = policy.nodes[-1].name
    memory = lowering.memory()
    return Program(
        policy,
        kernels,
        tuple(lowering.calls),
        memory,
        lowering.operand(INPUT),
        Operand(lowering.places[last], ctype_of(policy.output_dtype)),
        prod(lowering.shapes[INPUT]),
        prod(lowering.shapes[last]),
    )


def _add_node(lowering: Lowering, step: int, node: QuantNode) -> None:
    """Append the calls of one node."""
    if isinstance(node.op, Flatten):
        lowering.places[node.name] = lowering.places[node.inputs[0]]
        return
    lowering.places[node.name] = node.name
    prefix = f"layer{step}"
    if isinstance(node.op, QuantWeighted) and neon.takes(lowering, node, node.op):
        neon.add_layer(lowering, step, node, node.op, prefix)
        return
    match node.op:
        case QuantDense():
            _dense(lowering, step, node, node.op, prefix)
        case QuantConv2D():
            _conv2d(lowering, step, node, node.op, prefix)
        case QuantDepthwiseConv2D():
            _depthwise(lowering, step, node, node.op, prefix)
        case QuantTable():
            _table(lowering, step, node, node.op, prefix)
        case MaxPool2D() | QuantAveragePool2D():
            _pool(lowering, node, node.op, prefix)
        case QuantMean():
            _mean(lowering, node, node.op, prefix)
        case QuantAdd():
            _scaled_add(lowering, node, node.op, prefix)
        case Add():
            _add(lowering, step, node, prefix)
        case Concat():
            _concat(lowering, node)


def _dense(lowering: Lowering, step: int, node: QuantNode, op: QuantDense, prefix: str) -> None:
    source = node.inputs[0]
    fields, arrays = _dense_fields(lowering, node, op, prefix)
    operands = [lowering.operand(source)]
    if lowering.kernels == "dsp":
        operands.append(
            lowering.add_scratch(step, padded_length(op.weights.shape[1], STEP) * 2, "int16_t")
        )
    operands.append(lowering.operand(node.name))
    name = "ql_dense_dsp" if lowering.kernels == "dsp" else "ql_dense"
    lowering.call(node, name, operands, f"{name}_layer", prefix, fields, arrays)


def _conv2d(lowering: Lowering, step: int, node: QuantNode, op: QuantConv2D, prefix: str) -> None:
    fields, arrays = _dense_fields(lowering, node, op, prefix)
    in_type = lowering.ctype(node.inputs[0])
    length = prod(op.weights.shape[1:])
    if lowering.kernels == "dsp":
        scratch, group = lowering.add_scratch(step, padded_length(length, STEP) * 4, "int16_t"), 2
    else:
        scratch, group = lowering.add_scratch(step, length * SIZES[in_type], in_type), 1
    name = "ql_conv2d_dsp" if lowering.kernels == "dsp" else "ql_conv2d"
    dense_text = "{" + ", ".join(f".{key} = {value}" for key, value in fields) + "}"
    window = lowering.window_text(node, op)
    conv_fields = (
        ("dense", dense_text),
        ("window", window),
        ("out_bytes", str(SIZES[lowering.ctype(node.name)])),
    )
    lowering.window_overlap(node, op, group, reads_before_writes=True)
    operands = [lowering.operand(node.inputs[0]), scratch, lowering.operand(node.name)]
    lowering.call(node, name, operands, f"{name}_layer", prefix, conv_fields, arrays)


def _depthwise(
    lowering: Lowering, step: int, node: QuantNode, op: QuantDepthwiseConv2D, prefix: str
) -> None:
    arrays, range_text, store = _range(lowering, node, op, prefix)
    fields = (
        ("weights", f"{prefix}_weights"),
        ("bias", f"{prefix}_bias"),
        ("range", range_text),
        ("store", store),
        ("window", lowering.window_text(node, op)),
        ("out_bytes", str(SIZES[lowering.ctype(node.name)])),
    )
    weights = Array(f"{prefix}_weights", "int8_t", portable_weights(op))
    lowering.window_overlap(node, op, 1, reads_before_writes=False)
    operands = [lowering.operand(node.inputs[0]), lowering.operand(node.name)]
    lowering.call(
        node, "ql_depthwise", operands, "ql_depthwise_layer", prefix, fields, (weights, *arrays)
    )


def _table(lowering: Lowering, step: int, node: QuantNode, op: QuantTable, prefix: str) -> None:
    source = node.inputs[0]
    in_type, out_type = lowering.ctype(source), lowering.ctype(node.name)
    count = prod(lowering.shapes[node.name])
    fields = (
        ("table", f"{prefix}_table"),
        ("count", str(count)),
        ("qmin", str(lowering.policy.tensor(source).qmin)),
        ("in_bytes", str(SIZES[in_type])),
        ("out_bytes", str(SIZES[out_type])),
    )
    distance = elementwise_distance(count, SIZES[in_type], SIZES[out_type])
    lowering.overlaps.append(Overlap(lowering.places[source], node.name, distance))
    kernel = "ql_table_s8" if in_type == out_type == "int8_t" else "ql_table_wide"
    arrays = (Array(f"{prefix}_table", out_type, op.table),)
    lowering.call(
        node,
        kernel,
        [lowering.operand(source), lowering.operand(node.name)],
        "ql_table_layer",
        prefix,
        fields,
        arrays,
    )


def _add(lowering: Lowering, step: int, node: QuantNode, prefix: str) -> None:
    names = [*node.inputs, node.name]
    wide = [name for name in names if lowering.ctype(name) != "int8_t"]
    if wide:
        raise UnsupportedError(
            f"{node.name}: adds {wide[0]}, which is wider than int8; the C runtime adds int8: "
            "use a lower rung"
        )
    assert node.output is not None
    tensor = node.output
    fields = (
        ("multiplier", "NULL"),
        ("zero_point", str(tensor.zero_point)),
        ("qmin", str(tensor.qmin)),
        ("qmax", str(tensor.qmax)),
    )
    for source in dict.fromkeys(node.inputs):
        lowering.overlaps.append(Overlap(lowering.places[source], node.name, 0))
    operands = [lowering.operand(name) for name in names]
    lowering.call(
        node,
        "ql_add_s8",
        operands,
        "ql_range",
        prefix,
        fields,
        (),
        leading=(str(prod(lowering.shapes[node.name])),),
    )


def _pool(
    lowering: Lowering, node: QuantNode, op: MaxPool2D | QuantAveragePool2D, prefix: str
) -> None:
    assert node.output is not None
    kernel = f"ql_{'max' if isinstance(op, MaxPool2D) else 'average'}_pool_{LETTERS[lowering.ctype(node.name)]}"
    window = lowering.window_text(node, op)
    fields = (("window", window), ("qmin", str(node.output.qmin)), ("qmax", str(node.output.qmax)))
    lowering.window_overlap(node, op, 1, reads_before_writes=False)
    lowering.call(
        node,
        kernel,
        [lowering.operand(node.inputs[0]), lowering.operand(node.name)],
        "ql_pool_layer",
        prefix,
        fields,
        (),
    )


def _mean(lowering: Lowering, node: QuantNode, op: QuantMean, prefix: str) -> None:
    assert node.output is not None
    source, target = node.inputs[0], node.output
    height, width, channels = lowering.shapes[source]
    fields = (
        ("multiplier", float_text(np.float32(op.multiplier))),
        ("in_zero_point", str(lowering.policy.tensor(source).zero_point)),
        ("zero_point", str(target.zero_point)),
        ("qmin", str(target.qmin)),
        ("qmax", str(target.qmax)),
        ("pixels", str(height * width)),
        ("channels", str(channels)),
    )
    lowering.overlaps.append(Overlap(lowering.places[source], node.name, 0))
    lowering.call(
        node,
        "ql_mean_s8",
        [lowering.operand(source), lowering.operand(node.name)],
        "ql_mean_layer",
        prefix,
        fields,
        (),
    )


def _scaled_add(lowering: Lowering, node: QuantNode, op: QuantAdd, prefix: str) -> None:
    assert node.output is not None
    a, b = (lowering.policy.tensor(name) for name in node.inputs)
    target = node.output
    fields = (
        ("a_zero_point", str(a.zero_point)),
        ("a_factor", str(op.left)),
        ("b_zero_point", str(b.zero_point)),
        ("b_factor", str(op.right)),
        ("shift", str(op.shift)),
        ("zero_point", str(target.zero_point)),
        ("qmin", str(target.qmin)),
        ("qmax", str(target.qmax)),
    )
    for source in dict.fromkeys(node.inputs):
        lowering.overlaps.append(Overlap(lowering.places[source], node.name, 0))
    operands = [lowering.operand(name) for name in (*node.inputs, node.name)]
    count = str(prod(lowering.shapes[node.name]))
    lowering.call(
        node, "ql_add_scaled_s8", operands, "ql_scaled_add", prefix, fields, (), leading=(count,)
    )


def _concat(lowering: Lowering, node: QuantNode) -> None:
    shape = lowering.shapes[node.name]
    element = SIZES[lowering.ctype(node.name)]
    at = 0
    for source in node.inputs:
        width = lowering.shapes[source][-1] * element
        sizes = (str(prod(shape[:-1])), str(width), str(shape[-1] * element))
        operands = (lowering.operand(source), lowering.operand(node.name))
        lowering.calls.append(
            Call(
                node.name, "ql_concat", operands, leading=(*sizes, str(at)), is_const=(True, False)
            )
        )
        at += width


def _dense_fields(
    lowering: Lowering, node: QuantNode, op: QuantDense | QuantConv2D, prefix: str
) -> tuple[tuple[tuple[str, str], ...], tuple[Array, ...]]:
    arrays, range_text, store = _range(lowering, node, op, prefix)
    letters = LETTERS[lowering.ctype(node.inputs[0])]
    length = prod(op.weights.shape[1:])
    is_int4 = stored_bits(op) == 4
    narrow = "_w4" if is_int4 else ""
    fields = [
        ("weights", f"{prefix}_weights"),
        ("bias", f"{prefix}_bias"),
        ("range", range_text),
        ("store", store),
    ]
    if lowering.kernels == "dsp":
        lanes = "_lanes" if isinstance(op, QuantConv2D) else ""
        fields += [("spread", f"ql_spread_{letters}"), ("mac", f"ql_mac{lanes}{narrow}_dsp")]
        fields += [("in_len", str(length)), ("padded_len", str(padded_length(length, STEP)))]
        weights = Array(f"{prefix}_weights", "int8_t", dsp_weights(op), WORD)
    elif lowering.kernels == "mve" and not (
        is_int4 and letters == "s16"
    ):  # rare, and left to the portable kernel
        fields += [("mac", f"ql_mac_{letters}{narrow}_mve"), ("in_len", str(length))]
        weights = Array(f"{prefix}_weights", "int8_t", mve_weights(op), MVE_LANES)
    else:
        fields += [("mac", f"ql_mac_{letters}{narrow}"), ("in_len", str(length))]
        weights = Array(f"{prefix}_weights", "int8_t", portable_weights(op))
    fields.append(("out_len", str(len(op.weights))))
    return tuple(fields), (weights, *arrays)


def _range(
    lowering: Lowering, node: QuantNode, op: QuantWeighted, prefix: str
) -> tuple[tuple[Array, ...], str, str]:
    """Return bias and multiplier arrays, the ql_range initialiser and the store function."""
    bias = folded_bias(node.name, op, lowering.policy.tensor(node.inputs[0]))
    if not isinstance(op, QuantDepthwiseConv2D) and (
        lowering.kernels != "portable" or stored_bits(op) == 4
    ):
        bias = pad_rows(bias, MVE_ROWS if lowering.kernels == "mve" else ROWS)
    arrays = (
        Array(f"{prefix}_bias", "int32_t", bias),
        Array(f"{prefix}_multiplier", "float", op.multiplier.astype(np.float32)),
    )
    tensor = node.output or QuantTensor(np.float32(1), 0)
    text = f"{{{prefix}_multiplier, {tensor.zero_point}, {tensor.qmin}, {tensor.qmax}}}"
    store = f"ql_store_{LETTERS[lowering.ctype(node.name)]}"
    return (
        arrays,
        text,
        f"{store}_mve" if lowering.kernels == "mve" and store == "ql_store_s8" else store,
    )
