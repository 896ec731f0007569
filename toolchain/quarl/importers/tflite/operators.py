"""What each operator of an int8 `.tflite` means: one function per kind, which adds nodes to the
walk or refuses by name."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quarl.emitters.tflite_file import TfliteFile
from quarl.emitters.tflite_layers import OPS
from quarl.errors import DeviceError
from quarl.graph.litert_ops import add_multipliers
from quarl.graph.policy import INPUT, Add, Concat, Flatten
from quarl.graph.quant_policy import INT8_MAX, INT8_MIN, QuantTable, QuantTensor, TableFunction
from quarl.importers.tflite.file import Operator, Tensor
from quarl.importers.tflite.layers import LAYERS
from quarl.importers.tflite.walk import Meanings, Walk
from quarl.runtimes.host import LitertRuntime

VERSIONS = {"ELU": 1}  # the first version with int8; of the others it is 2
FUNCTIONS: dict[str, TableFunction] = {
    "TANH": "tanh",
    "LOGISTIC": "sigmoid",
    "RELU": "relu",
    "RELU6": "relu6",
    "ELU": "elu",
    "QUANTIZE": "identity",
}


def _reshape(walk: Walk, operator: Operator) -> None:
    name, tensor = walk.source(operator)
    shape, wanted = walk.shapes[name], walk.graph.tensors[operator.outputs[0]].shape
    given = (
        walk.graph.tensors[operator.inputs[1]].values()
        if len(operator.inputs) > 1 and operator.inputs[1] >= 0
        else None
    )
    agrees = given is None or (
        given.shape == (len(wanted),)
        and all(g in (-1, w) for g, w in zip(given.tolist(), wanted, strict=True))
    )
    flat = (math.prod(shape),)
    if not agrees or wanted not in ((1, *shape), (1, *flat)):
        raise walk.unsupported(
            operator, f"turns shape {shape} into {wanted[1:]}, only flattening is carried over"
        )
    if walk.quantized(operator.outputs[0], "a reshaped tensor") != QuantTensor(
        tensor.scale, tensor.zero_point
    ):
        raise walk.refused(operator)
    if wanted == (1, *shape):
        walk.same(operator)
    else:
        walk.add(operator, Flatten(), (name,), tensor, flat)


def _activation(walk: Walk, operator: Operator) -> None:
    name, source = walk.source(operator)
    target = walk.target(operator)
    table = _litert_table(walk, operator, QuantTensor(source.scale, source.zero_point), target)
    low, high = int(table.min()), int(table.max())
    if (source.scale, source.zero_point) == (target.scale, target.zero_point):
        is_clamp = np.array_equal(table, np.clip(np.arange(INT8_MIN, INT8_MAX + 1), low, high))
        if is_clamp and walk.clamp(operator, low, high):
            return
    reached = table[source.qmin - INT8_MIN : source.qmax - INT8_MIN + 1]
    walk.add(
        operator, QuantTable(FUNCTIONS[operator.name], reached), (name,), target, walk.shapes[name]
    )


def _litert_table(
    walk: Walk, operator: Operator, source: QuantTensor, target: QuantTensor
) -> NDArray[np.int16]:
    """Return what LiteRT's own operator gives for each of the 256 inputs."""
    file = TfliteFile()
    x, y = file.activation("x", (1,), np.int8, source), file.activation("y", (1,), np.int8, target)
    file.operator(getattr(OPS, operator.name), VERSIONS.get(operator.name, 2), [x], y)
    integers = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int8)
    try:
        return LitertRuntime(file.finish(x, y, {})).run(integers[:, None])[:, 0].astype(np.int16)
    except DeviceError as error:
        scales = (
            f"from scale {source.scale} to scale {target.scale}, zero point {target.zero_point}"
        )
        raise walk.unsupported(operator, f"is not computed {scales} by LiteRT itself") from error


def _bound(walk: Walk, operator: Operator) -> None:
    _, tensor = walk.source(operator)
    limit = operator.inputs[1] if len(operator.inputs) == 2 else -1
    values = walk.graph.tensors[limit].values() if limit >= 0 else None
    if (
        values is None
        or values.size != 1
        or walk.target(operator) != QuantTensor(tensor.scale, tensor.zero_point)
    ):
        raise walk.refused(operator)
    if walk.quantized(limit, "a bound") != QuantTensor(tensor.scale, tensor.zero_point):
        raise walk.refused(operator)
    bound = int(values.reshape(()))
    low, high = (bound, INT8_MAX) if operator.name == "MAXIMUM" else (INT8_MIN, bound)
    if not walk.clamp(operator, low, high):
        raise walk.refused(operator)


def _add(walk: Walk, operator: Operator) -> None:
    first, second = walk.source(operator, 0), walk.source(operator, 1)
    target = walk.target(operator, operator.settings.fused)
    shapes = [walk.shapes[name] for name, _ in (first, second)]
    if len(operator.inputs) != 2 or shapes[0] != shapes[1]:
        raise walk.unsupported(operator, f"adds shapes {shapes}, carried over are two equal ones")
    scales = [(t.scale, t.zero_point) for t in (first[1], second[1], target)]
    op = Add() if len(set(scales)) == 1 else add_multipliers(first[1], second[1], target)
    if op is None:
        found = ", ".join(str(scale) for scale, _ in scales)
        raise walk.unsupported(
            operator, f"adds tensors of scales {found}, which are too far apart for one arithmetic"
        )
    walk.add(operator, op, (first[0], second[0]), target, shapes[0])


def _concatenation(walk: Walk, operator: Operator) -> None:
    sources = [walk.source(operator, i) for i in range(len(operator.inputs))]
    target = walk.target(operator, operator.settings.fused)
    shapes = [walk.shapes[name] for name, _ in sources]
    if any((t.scale, t.zero_point) != (target.scale, target.zero_point) for _, t in sources):
        raise walk.unsupported(
            operator,
            "joins tensors of different scale or zero point, which is exact only where all "
            "are equal",
        )
    is_last = operator.settings.axis in (-1, len(shapes[0]))
    if (
        not is_last
        or operator.settings.fused != "NONE"
        or any(shape[:-1] != shapes[0][:-1] for shape in shapes)
    ):
        raise walk.unsupported(
            operator,
            f"joins shapes {shapes} along axis {operator.settings.axis}, only the last one is "
            "carried over",
        )
    joined = replace(
        target, qmin=min(t.qmin for _, t in sources), qmax=max(t.qmax for _, t in sources)
    )
    walk.add(
        operator,
        Concat(),
        tuple(name for name, _ in sources),
        joined,
        (*shapes[0][:-1], sum(shape[-1] for shape in shapes)),
    )


def _quantize(walk: Walk, operator: Operator) -> None:
    source, result = operator.inputs[0], operator.outputs[0]
    x, y = walk.graph.tensors[source], walk.graph.tensors[result]
    if source == walk.start and (x.dtype == "FLOAT32" or _is_shifted(x, y)):
        tensor = walk.quantized(result, "the quantised input")
        if walk.tensors.get(INPUT, tensor) != tensor or y.shape != x.shape:
            raise walk.unsupported(
                operator, "quantises the observation a second time in another way"
            )
        walk.begin(result, tensor)
    elif source in walk.names and (
        _is_equal(x, y) or (_is_shifted(y, x) and result == walk.output)
    ):
        walk.same(operator)
    elif source in walk.names and (x.dtype, y.dtype) == ("INT8", "INT8"):
        _activation(walk, operator)
    else:
        raise walk.refused(operator)


def _is_shifted(unsigned: Tensor, signed: Tensor) -> bool:
    """Whether one tensor is the other's numbers as uint8: the same bytes with the highest bit
    turned.
    """
    shifted = np.array_equal(unsigned.zero_point, signed.zero_point + 128)
    return (
        (unsigned.dtype, signed.dtype) == ("UINT8", "INT8")
        and shifted
        and np.array_equal(unsigned.scale, signed.scale)
    )


def _is_equal(a: Tensor, b: Tensor) -> bool:
    """Whether two int8 tensors mean the same by the same integers."""
    return (
        a.dtype == b.dtype == "INT8"
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
    )


def _dequantize(walk: Walk, operator: Operator) -> None:
    """At the end it only says what the integers mean; whatever else reads its floats is refused
    there.
    """
    if operator.inputs[0] not in walk.names:
        raise walk.unsupported(operator, "unpacks a constant for a layer that computes in floats")
    walk.same(operator)


def _softmax(walk: Walk, operator: Operator) -> None:
    if (
        operator.inputs[0] not in walk.names
        or not operator.settings.beta > 0
        or len(walk.graph.tensors[operator.inputs[0]].shape) != 2
    ):
        raise walk.refused(operator)
    walk.same(operator)
    walk.heads[operator.outputs[0]] = operator.name
    walk.softmax_beta = operator.settings.beta


def _arg_max(walk: Walk, operator: Operator) -> None:
    axis = (
        walk.graph.tensors[operator.inputs[1]].values()
        if len(operator.inputs) == 2 and operator.inputs[1] >= 0
        else None
    )
    is_last = axis is not None and axis.size == 1 and int(axis.reshape(())) in (-1, 1)
    if operator.inputs[0] not in walk.names or not is_last or operator.outputs[0] != walk.output:
        raise walk.refused(operator)
    walk.same(operator)
    walk.heads[operator.outputs[0]] = operator.name


def _shape(walk: Walk, operator: Operator) -> None:
    """Converters compute the batch of a RESHAPE; the result's shape is known without."""
    if walk.graph.tensors[operator.outputs[0]].dtype != "INT32":
        raise walk.refused(operator)


OPERATORS: Meanings = {
    **LAYERS,
    "ADD": _add,
    "ARG_MAX": _arg_max,
    "CONCATENATION": _concatenation,
    "DEQUANTIZE": _dequantize,
    "ELU": _activation,
    "LOGISTIC": _activation,
    "MAXIMUM": _bound,
    "MINIMUM": _bound,
    "PACK": _shape,
    "QUANTIZE": _quantize,
    "RELU": _activation,
    "RELU6": _activation,
    "RESHAPE": _reshape,
    "SHAPE": _shape,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _shape,
    "TANH": _activation,
}
