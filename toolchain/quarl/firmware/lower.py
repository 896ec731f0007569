"""Lower: a quantised policy becomes kernel calls, tables and a memory plan.

The C side is described in firmware_harness/include/ql_kernels.h; field names here are the ones
there.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from quarl.boards.core import Kernels
from quarl.firmware import dsp, mve, neon, weighted
from quarl.firmware.c_types import LETTERS, ctype_of
from quarl.firmware.lowering import Fields, Lowering, Step
from quarl.firmware.memory_planner import ALIGNMENT, elementwise_distance
from quarl.firmware.program import Array, Call, Operand, Program
from quarl.firmware.record import records_of
from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.graph.policy import INPUT, Add, Columns, Concat, Flatten, MaxPool2D
from quarl.graph.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantMul,
    QuantNode,
    QuantPolicy,
    QuantRescale,
    QuantTable,
    QuantTensor,
    QuantWeighted,
)
from quarl.graph.shapes import quant_shapes


def lower(policy: QuantPolicy, kernels: Kernels) -> Program:
    """Return the program of a policy for a family of kernels.

    Raises:
        UnsupportedError: a tensor wider than int16.
        QuantizationError: a sum that does not fit int32 once the zero point is folded.
    """
    lowering, records = Lowering(policy, kernels, quant_shapes(policy)), records_of(policy)
    if records is not None:
        lowering.add_records(records)
    for number, node in enumerate(policy.nodes):
        _add_node(lowering, Step(number, node))
    last = policy.nodes[-1].name
    return Program(
        policy,
        kernels,
        tuple(lowering.calls),
        lowering.memory(),
        lowering.operand(INPUT),
        Operand(lowering.places[last], ctype_of(policy.head_dtype), lowering.offsets.get(last, 0)),
        lowering.shapes,
        prod(lowering.shapes[INPUT]) if records is None else records.input.bytes,
        prod(lowering.shapes[last]) if records is None else records.output.bytes,
        records=records,
    )


def _add_node(lowering: Lowering, step: Step) -> None:
    """Append the calls of one node."""
    node = step.node
    if isinstance(node.op, Flatten):
        lowering.places[node.name] = lowering.places[step.source]
        return
    if isinstance(node.op, Columns) and _is_view(lowering, step, node.op):
        return
    lowering.places.setdefault(node.name, node.name)
    match node.op:
        case QuantDense() | QuantConv2D() | QuantDepthwiseConv2D():
            _weighted(lowering, step, node.op)
        case QuantTable():
            _table(lowering, step, node.op)
        case QuantMul() | QuantRescale():
            _product(lowering, step, node.op)
        case MaxPool2D() | QuantAveragePool2D():
            _pool(lowering, step, node.op)
        case QuantMean():
            _mean(lowering, step, node.op)
        case QuantAdd():
            _scaled_add(lowering, step, node.op)
        case Add():
            _add(lowering, step)
        case Concat():
            _concat(lowering, step)
        case Columns():
            _copy_columns(lowering, step, node.op)


def _weighted(lowering: Lowering, step: Step, op: QuantWeighted) -> None:
    """Append the call of a layer with weights: of the first family that takes it."""
    if not any(family.add_layer(lowering, step, op) for family in (dsp, mve, neon)):
        weighted.add_layer(lowering, step, op)


def _table(lowering: Lowering, step: Step, op: QuantTable) -> None:
    in_type, out_type = lowering.ctype(step.source), lowering.ctype(step.name)
    in_bytes, out_bytes = lowering.element_bytes(step.source), lowering.element_bytes(step.name)
    count = prod(lowering.shapes[step.name])
    fields: Fields = (
        ("table", Array(f"{step.prefix}_table", out_type, op.table)),
        ("count", count),
        ("qmin", lowering.policy.tensor(step.source).qmin),
        ("in_bytes", in_bytes),
        ("out_bytes", out_bytes),
    )
    lowering.allow_overlap(step, elementwise_distance(count, in_bytes, out_bytes))
    kernel = f"ql_table_{LETTERS[in_type]}" if in_type == out_type else "ql_table_wide"
    lowering.call(step, kernel, step.descriptor("ql_table_layer", fields))


def _product(lowering: Lowering, step: Step, op: QuantMul | QuantRescale) -> None:
    """Append a product; of a rescaled tensor, the second input is left out."""
    sources = [lowering.policy.tensor(name) for name in step.node.inputs]
    zero_points = [*(source.zero_point for source in sources), 0][:2]
    sizes = [*map(lowering.element_bytes, step.node.inputs), 0][:2]
    count, out_bytes = prod(lowering.shapes[step.name]), lowering.element_bytes(step.name)
    fields: Fields = (
        ("multiplier", np.float32(op.multiplier)),
        ("a_zero_point", zero_points[0]),
        ("b_zero_point", zero_points[1]),
        ("zero_point", _output(step.node).zero_point),
        *_bounds(step.node),
        ("count", count),
        ("a_bytes", sizes[0]),
        ("b_bytes", sizes[1]),
        ("out_bytes", out_bytes),
    )
    smallest = min(size for size in sizes if size)
    lowering.allow_overlap(step, elementwise_distance(count, smallest, out_bytes))
    kernel = "ql_mul" if isinstance(op, QuantMul) else "ql_requantize"
    lowering.call(step, kernel, step.descriptor("ql_mul_layer", fields))


def _add(lowering: Lowering, step: Step) -> None:
    fields: Fields = (("zero_point", _output(step.node).zero_point), *_bounds(step.node))
    lowering.allow_overlap(step)
    count = prod(lowering.shapes[step.name])
    kernel = f"ql_add_{LETTERS[lowering.ctype(step.name)]}"
    lowering.call(step, kernel, step.descriptor("ql_add_layer", fields), [count])


def _pool(lowering: Lowering, step: Step, op: MaxPool2D | QuantAveragePool2D) -> None:
    kind = "max" if isinstance(op, MaxPool2D) else "average"
    kernel = f"ql_{kind}_pool_{LETTERS[lowering.ctype(step.name)]}"
    fields: Fields = (("window", lowering.window(step, op)), *_bounds(step.node))
    lowering.allow_window_overlap(step, op, 1, reads_before_writes=False)
    lowering.call(step, kernel, step.descriptor("ql_pool_layer", fields))


def _mean(lowering: Lowering, step: Step, op: QuantMean) -> None:
    height, width, channels = lowering.shapes[step.source]
    fields: Fields = (
        ("multiplier", np.float32(op.multiplier)),
        ("in_zero_point", lowering.policy.tensor(step.source).zero_point),
        ("zero_point", _output(step.node).zero_point),
        *_bounds(step.node),
        ("pixels", height * width),
        ("channels", channels),
    )
    lowering.allow_overlap(step)
    lowering.call(step, "ql_mean_s8", step.descriptor("ql_mean_layer", fields))


def _scaled_add(lowering: Lowering, step: Step, op: QuantAdd) -> None:
    a, b = (lowering.policy.tensor(name) for name in step.node.inputs)
    fields: Fields = (
        ("a_zero_point", a.zero_point),
        ("a_factor", op.left),
        ("b_zero_point", b.zero_point),
        ("b_factor", op.right),
        ("shift", op.shift),
        ("zero_point", _output(step.node).zero_point),
        *_bounds(step.node),
    )
    lowering.allow_overlap(step)
    count = prod(lowering.shapes[step.name])
    lowering.call(step, "ql_add_scaled_s8", step.descriptor("ql_scaled_add_layer", fields), [count])


def _concat(lowering: Lowering, step: Step) -> None:
    shape = lowering.shapes[step.name]
    element = lowering.element_bytes(step.name)
    at = 0
    for source in step.node.inputs:
        width = lowering.shapes[source][-1] * element
        sizes = (prod(shape[:-1]), width, shape[-1] * element, at)
        operands = (lowering.operand(source), lowering.operand(step.name))
        lowering.calls.append(Call(step.name, "ql_concat", operands, sizes=sizes))
        at += width


def _is_view(lowering: Lowering, step: Step, op: Columns) -> bool:
    """Let the columns lie where they are, if a kernel may read words from there."""
    offset = lowering.offsets.get(step.source, 0) + op.first * lowering.element_bytes(step.name)
    if offset % ALIGNMENT or step.node is lowering.policy.nodes[-1]:
        return False
    lowering.places[step.name] = lowering.places[step.source]
    lowering.offsets[step.name] = offset
    return True


def _copy_columns(lowering: Lowering, step: Step, op: Columns) -> None:
    """Copy the columns to a place of their own, as a concat of one part does."""
    element = lowering.element_bytes(step.name)
    width = prod(op.shape) * element
    source = lowering.operand(step.source)
    source = replace(source, offset=source.offset + op.first * element)
    operands = (source, lowering.operand(step.name))
    lowering.calls.append(Call(step.name, "ql_concat", operands, sizes=(1, width, width, 0)))


def _output(node: QuantNode) -> QuantTensor:
    assert node.output is not None
    return node.output


def _bounds(node: QuantNode) -> Fields:
    tensor = _output(node)
    return (("qmin", tensor.qmin), ("qmax", tensor.qmax))
