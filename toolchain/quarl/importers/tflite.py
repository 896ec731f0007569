"""int8 `.tflite` files of any origin become a `QuantPolicy`: the integers, scales and clamps exactly as LiteRT computes with them.

In: a file made by TFLiteConverter or any tool that writes full-integer models (int8 activations and weights, int32 biases).
Out: a `QuantPolicy` whose outputs equal LiteRT's on that file, integer for integer (`proof_tflite` shows it on every import).
What cannot be had exactly is refused by name: floats inside, other widths, unknown operators. Where LiteRT computes an operator in an
arithmetic of its own (average pooling, means, sums and other scales), the node computes the same (`quarl.litert_ops`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.archives import source_digest
from quarl.contract import Action, Observation
from quarl.emitters.shapes import window_count
from quarl.emitters.tflite_file import TfliteFile
from quarl.emitters.tflite_layers import OPS
from quarl.errors import DeviceError, InputError, QuarlError, UnsupportedError
from quarl.importers.draft import same_padding
from quarl.importers.options import ImportOptions, box_from_environment, make_contract
from quarl.importers.tflite_file import Operator, Tensor, TfliteGraph, read_graph
from quarl.links.host import WEIGHTED_OPERATORS, LitertRuntime
from quarl.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean, add_multipliers, mean_multiplier
from quarl.policy import INPUT, Add, Concat, Flatten, MaxPool2D, Padding
from quarl.quant_policy import (
    INT8_MAX,
    INT8_MIN,
    ObservationQuantizer,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantNode,
    QuantOp,
    QuantPolicy,
    QuantTable,
    QuantTensor,
    QuantWeighted,
    TableFunction,
)
from quarl.rescale import rescale_factor

WHOLE = 1e-6  # steps: an offset this close to a whole number of them is one
MAX_PADDING = 1 << 12
SCALES = (2.0**-40, 2.0**40)  # of activations; beyond them no float32 holds the rescale factors
NO_PADDING: Padding = ((0, 0), (0, 0))
FUNCTIONS: dict[str, TableFunction] = {
    "TANH": "tanh",
    "LOGISTIC": "sigmoid",
    "RELU": "relu",
    "RELU6": "relu6",
    "ELU": "elu",
    "QUANTIZE": "identity",
}
FUSED: dict[str, tuple[float, float]] = {"NONE": (-math.inf, math.inf), "RELU": (0, math.inf), "RELU6": (0, 6)}
VERSIONS = {"ELU": 1}  # the first version with int8; of the others it is 2
CLAMPED = QuantWeighted | Add | QuantAdd | MaxPool2D | QuantAveragePool2D | QuantMean  # whose nodes can clamp their results
SOURCE_ADVICE = "give quarl export the model this file was converted from"
ADVICE = {
    "TRANSPOSE": "convert a model whose images have their channels last",
    "SOFTMAX": "only as the last step of a policy that picks one of several actions does it change nothing",
    "QUANTIZE": f"no two runtimes change a scale between layers alike: {SOURCE_ADVICE}",
    "CUSTOM": "what it does is not in the file: use built-in operators",
}


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """The integers of a file, from its quantised input to the last integers it decides by."""

    nodes: tuple[QuantNode, ...]
    tensor: QuantTensor  # of the input
    shape: tuple[int, ...]  # of the input without the batch
    input_dtype: str  # what the file itself takes: INT8, UINT8 or FLOAT32
    count: int  # outputs
    output: int  # index of the tensor that holds the last node's integers
    head: str  # the last operator where it was left out: SOFTMAX, ARG_MAX or empty
    softmax_beta: float | None


def read_tflite(path: Path, options: ImportOptions) -> QuantPolicy:
    """Return the quantised policy in an int8 `.tflite`.

    Raises:
        InputError: damaged or inconsistent, or the action or observation is unknown.
        UnsupportedError: not a full-integer int8 model, or an operator without exact counterpart; names it.
        QuantizationError: a layer beyond the limits under which all runtimes agree.
        UntrustedFileError: sizes beyond the limits.
    """
    graph = read_graph(path)
    network = read_network(path, graph, options.action_space)
    contract = make_contract(path, options, _observation(path, network), _action(path, network, options))
    if graph.is_made_by_quarl and not contract.observation.is_image:
        raise InputError(
            f"{path.name}: was written by quarl, and its observation scales are in the bundle beside it, not in this file: "
            "use the bundle, or export its source again"
        )
    observation = _observation_quantizer(path, contract.observation, network.tensor)
    return QuantPolicy(observation, network.nodes, contract, None, source_digest(path), network.softmax_beta)


def read_network(path: Path, graph: TfliteGraph, action: Action | None) -> Network:
    """Return the integers of the graph; `action` tells which of several outputs is the policy."""
    if len(graph.inputs) != 1:
        raise UnsupportedError(f"{path.name}: has {len(graph.inputs)} inputs, quarl carries one observation: concatenate them")
    if len(graph.outputs) == 1:
        return _Walk(path, graph, graph.outputs[0]).network()
    found: list[Network] = []
    errors: list[QuarlError] = []
    for output in graph.outputs:
        try:
            found.append(_Walk(path, graph, output).network())
        except QuarlError as error:  # another output may be the policy
            errors.append(error)
    fitting = [network for network in found if action is not None and network.count == action.count]
    if len(fitting) == 1:
        return fitting[0]
    if not found:
        raise errors[0]
    raise InputError(
        f"{path.name}: {len(fitting)} of its {len(graph.outputs)} outputs fit the action space given with --env, exactly one must: "
        "convert the model with the policy's output alone"
    )


class _Walk:
    """Walks the operators that lead to one output, in order, and collects the nodes they mean.

    A tensor of the file is known by the name of the node whose integers it holds; several tensors may share one.
    """

    def __init__(self, path: Path, graph: TfliteGraph, output: int) -> None:
        self.path, self.graph, self.output, self.start = path, graph, output, graph.inputs[0]
        self.operators = _leading_to(graph, output)
        self.readers = Counter([output, *(i for operator in self.operators for i in operator.inputs)])
        self.nodes: dict[str, QuantNode] = {}
        self.tensors: dict[str, QuantTensor] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.homes: dict[str, int] = {}  # the tensor that holds a node's integers
        self.names: dict[int, str] = {}
        self.paddings: dict[int, Padding] = {}  # of tensors that a PAD made of the named one
        self.fills: dict[int, int] = {}  # what they are padded with
        self.softmax_beta: float | None = None
        self.heads: dict[int, str] = {}  # of tensors behind an operator that is left out

    def network(self) -> Network:
        """Return what the operators compute."""
        taken = self.graph.tensors[self.start]
        if len(taken.shape) not in (2, 4) or taken.shape[0] != 1 or min(taken.shape) < 1:
            raise UnsupportedError(
                f"{self.path.name}: its input has shape {taken.shape}, quarl carries [1, features] and [1, height, width, channels]: "
                "convert the model with such an input"
            )
        for operator in self.operators:
            self._refuse_other_kinds(operator)
        if taken.dtype == "INT8":
            self.begin(self.start, self.quantized(self.start, "its input"))
        for operator in self.operators:
            if operator.name not in OPERATORS:
                raise self.refused(operator)
            if len(operator.outputs) != 1 or not operator.inputs or operator.inputs[0] < 0:
                raise InputError(f"{self.place(operator)} reads nothing or makes several tensors: the file is damaged")
            OPERATORS[operator.name](self, operator)
        last = list(self.nodes)[-1] if self.nodes else ""
        if not last or self.names.get(self.output) != last or self.output in self.paddings:
            raise InputError(f"{self.path.name}: its output is not what its last layer computes: there is no policy in it")
        if len(self.shapes[last]) != 1:
            raise UnsupportedError(f"{self.path.name}: ends with shape {self.shapes[last]}, a policy ends with a vector: flatten it")
        count, head = self.shapes[last][0], self.heads.get(self.output, "")
        nodes, beta = tuple(self.nodes.values()), self.softmax_beta
        return Network(nodes, self.tensors[INPUT], taken.shape[1:], taken.dtype, count, self.homes[last], head, beta)

    def begin(self, index: int, tensor: QuantTensor) -> None:
        """Let a tensor hold the quantised observation."""
        self.names[index], self.tensors[INPUT], self.shapes[INPUT] = INPUT, tensor, self.graph.tensors[self.start].shape[1:]

    def add(self, operator: Operator, op: QuantOp, inputs: tuple[str, ...], tensor: QuantTensor, shape: tuple[int, ...]) -> None:
        """Append the node that an operator means."""
        name, index = f"{operator.name.lower()}_{operator.index}", operator.outputs[0]
        if self.graph.tensors[index].shape != (1, *shape):
            raise InputError(
                f"{self.place(operator)} says its result has shape {self.graph.tensors[index].shape}, it has {(1, *shape)}: "
                "the file is inconsistent, convert the model again"
            )
        self.nodes[name] = QuantNode(name, op, inputs, tensor)
        self.names[index], self.homes[name], self.tensors[name], self.shapes[name] = name, index, tensor, shape

    def same(self, operator: Operator) -> None:
        """Let an operator's result be what its first input is."""
        source, result = operator.inputs[0], operator.outputs[0]
        if source in self.paddings:
            raise self.refused(operator)
        self.names[result] = self.names[source]
        if source in self.heads:
            self.heads[result] = self.heads[source]

    def clamp(self, operator: Operator, low: int, high: int) -> bool:
        """Clamp the integers of the node that makes the first input; False where somebody else reads them or it cannot clamp."""
        source, result = operator.inputs[0], operator.outputs[0]
        node = self.nodes.get(self.names.get(source, ""))
        if node is None or self.readers[source] != 1 or self.homes[node.name] != source or not isinstance(node.op, CLAMPED):
            return False
        before = self.tensors[node.name]
        tensor = replace(before, qmin=max(low, before.qmin), qmax=min(high, before.qmax))
        if tensor.qmin >= tensor.qmax:
            return False
        self.nodes[node.name] = replace(node, output=tensor)
        self.names[result], self.homes[node.name], self.tensors[node.name] = node.name, result, tensor
        return True

    def source(self, operator: Operator, position: int = 0, *, is_padded: bool = False) -> tuple[str, QuantTensor]:
        """Return the node that an operator reads, and its tensor."""
        index = operator.inputs[position] if position < len(operator.inputs) else -1
        name = self.names.get(index, "")
        if index in self.heads:
            raise UnsupportedError(f"{self.place(operator)} reads what {self.heads[index]} gives: {ADVICE['SOFTMAX']}")
        if not name or self.graph.tensors[index].dtype != "INT8":
            found = "nothing" if index < 0 else f"a tensor of type {self.graph.tensors[index].dtype}"
            raise self.unsupported(operator, f"reads {found} where only int8 made by a layer is carried over")
        if index in self.paddings and not is_padded:
            raise self.unsupported(operator, "reads a padded tensor: a PAD is carried over before convolutions and poolings only")
        return name, self.tensors[name]

    def target(self, operator: Operator, fused: str = "NONE") -> QuantTensor:
        """Return the tensor that an operator makes, clamped as its fused activation does."""
        tensor = self.quantized(operator.outputs[0], f"the result of operator {operator.index} ({operator.name})")
        if fused not in FUSED:
            raise self.unsupported(operator, f"has the fused activation {fused}, carried over are {', '.join(FUSED)}")
        # XNNPACK adds the zero point before it rounds, which decides where a bound is half way between integers
        low, high = (np.rint(np.float32(bound) / tensor.scale + np.float32(tensor.zero_point)) for bound in FUSED[fused])
        return replace(tensor, qmin=int(max(low, INT8_MIN)), qmax=int(min(high, INT8_MAX)))

    def quantized(self, index: int, what: str) -> QuantTensor:
        """Return how a tensor's integers mean numbers."""
        tensor = self.graph.tensors[index]
        if tensor.dtype != "INT8" or len(tensor.scale) != 1:
            found = f"{tensor.dtype} with {len(tensor.scale)} scales"
            raise UnsupportedError(f"{self.path.name}: {what} is {found}, it must be INT8 with one: convert it to full-integer int8")
        scale, zero_point = tensor.scale[0], int(tensor.zero_point[0])
        if not SCALES[0] <= scale <= SCALES[1] or not INT8_MIN <= zero_point <= INT8_MAX:
            found = f"scale {scale} and zero point {zero_point}"
            raise InputError(f"{self.path.name}: {what} has {found}: the file is damaged, convert the model again")
        return QuantTensor(scale, zero_point)

    def constant(self, operator: Operator, position: int, dtype: str, rank: int) -> NDArray[Any]:
        """Return the values of a constant operand."""
        index = operator.inputs[position] if position < len(operator.inputs) else -1
        tensor = None if index < 0 else self.graph.tensors[index]
        values = None if tensor is None else tensor.values()
        if tensor is None or values is None or tensor.dtype != dtype or values.ndim != rank:
            kind = "no constant" if values is None else "a constant"
            found = "is missing" if tensor is None else f"is {kind} ({tensor.dtype} {tensor.shape})"
            raise self.unsupported(operator, f"has an operand {position} that {found}, it must be a constant {dtype} with {rank} axes")
        return values

    def parameters(self, operator: Operator, rank: int, axis: int) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.float32]]:
        """Return weights as stored, bias [out] and one scale per output channel [out]."""
        weights = self.constant(operator, 1, "INT8", rank)
        tensor, count = self.graph.tensors[operator.inputs[1]], weights.shape[axis]
        if len(tensor.scale) not in (1, count) or (len(tensor.scale) > 1 and tensor.axis != axis):
            scales = f"{len(tensor.scale)} scales along axis {tensor.axis}"
            raise self.unsupported(operator, f"has weights with {scales}: one, or {count} along axis {axis}, are carried over")
        wrong = np.flatnonzero(~((tensor.scale > 0) & (tensor.scale <= SCALES[1])))
        if wrong.size:
            found = f"a weight scale of {tensor.scale[wrong[0]]} in channel {wrong[0]}"
            raise InputError(f"{self.place(operator)} has {found}: the file is damaged, convert the model again")
        if tensor.zero_point.any():
            raise self.unsupported(operator, f"has weights with zero point {tensor.zero_point[tensor.zero_point != 0][0]}, it must be 0")
        bias = np.zeros(count, np.int32)
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            bias = self.constant(operator, 2, "INT32", 1)
        if bias.shape != (count,):
            raise InputError(f"{self.place(operator)} has {count} channels and {bias.size} biases: the file is inconsistent")
        return weights, bias, np.zeros(count, np.float32) + tensor.scale

    def refused(self, operator: Operator) -> UnsupportedError:
        """Return the error for an operator without exact counterpart."""
        return UnsupportedError(f"{self.place(operator)} cannot be carried over exactly: {ADVICE.get(operator.name, SOURCE_ADVICE)}")

    def unsupported(self, operator: Operator, reason: str) -> UnsupportedError:
        """Return the error that names the operator and the reason."""
        return UnsupportedError(f"{self.place(operator)} {reason}: {SOURCE_ADVICE}")

    def place(self, operator: Operator) -> str:
        """Return how messages name an operator: Netron shows the same number."""
        return f"{self.path.name}: operator {operator.index} ({operator.name})"

    def _refuse_other_kinds(self, operator: Operator) -> None:
        if operator.name not in WEIGHTED_OPERATORS or len(operator.inputs) < 2 or min(operator.inputs[:2]) < 0:
            return
        x, weights = (self.graph.tensors[i].dtype for i in operator.inputs[:2])
        if (x, weights) == ("INT8", "INT8"):
            return
        if (x, weights) == ("FLOAT32", "INT8"):
            kind = "computes in floats with int8 weights (dynamic range)"
        elif x == "FLOAT32":
            kind = "is a float layer: this is no int8 model"
        elif x == "INT16":
            kind = "has 16-bit activations"
        elif x == "UINT8":
            kind = "is quantised to uint8, as before TensorFlow 2"
        else:
            kind = f"computes with {x} and weights of {weights}"
        raise UnsupportedError(f"{self.place(operator)} {kind}: {SOURCE_ADVICE}, or convert it to full-integer int8")


def _leading_to(graph: TfliteGraph, output: int) -> tuple[Operator, ...]:
    needed, found = {output}, []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            found.append(operator)
    return tuple(reversed(found))


def _fully_connected(walk: _Walk, operator: Operator) -> None:
    name, source = walk.source(operator)
    weights, bias, scale = walk.parameters(operator, 2, 0)
    if operator.settings.is_packed or walk.shapes[name] != weights.shape[1:]:
        found = "packed weights" if operator.settings.is_packed else f"{weights.shape[1]} weights per output"
        raise walk.unsupported(operator, f"reads shape {walk.shapes[name]} with {found}, it must be a vector of as many numbers")
    target = walk.target(operator, operator.settings.fused)
    op = QuantDense(weights, bias, rescale_factor(source.scale, scale, target.scale), scale)
    walk.add(operator, op, (name,), target, (len(bias),))


def _conv_2d(walk: _Walk, operator: Operator) -> None:
    name, source = walk.source(operator, is_padded=True)
    weights, bias, scale = walk.parameters(operator, 4, 0)
    padding, shape = _window(walk, operator, walk.shapes[name], weights.shape[1:3], weights.shape[3])
    target = walk.target(operator, operator.settings.fused)
    multiplier = rescale_factor(source.scale, scale, target.scale)
    op = QuantConv2D(weights, bias, multiplier, scale, operator.settings.stride, padding)
    walk.add(operator, op, (name,), target, (*shape, len(bias)))


def _depthwise_conv_2d(walk: _Walk, operator: Operator) -> None:
    name, source = walk.source(operator, is_padded=True)
    weights, bias, scale = walk.parameters(operator, 4, 3)
    if operator.settings.depth_multiplier != 1 or weights.shape[0] != 1:
        raise walk.unsupported(operator, f"has the depth multiplier {operator.settings.depth_multiplier}, only 1 is carried over")
    padding, shape = _window(walk, operator, walk.shapes[name], weights.shape[1:3], weights.shape[3])
    target = walk.target(operator, operator.settings.fused)
    multiplier = rescale_factor(source.scale, scale, target.scale)
    kernels = np.ascontiguousarray(weights[0].transpose(2, 0, 1))
    op = QuantDepthwiseConv2D(kernels, bias, multiplier, scale, operator.settings.stride, padding)
    walk.add(operator, op, (name,), target, (*shape, len(bias)))


def _pool(walk: _Walk, operator: Operator) -> None:
    name, source = walk.source(operator, is_padded=True)
    shape, settings = walk.shapes[name], operator.settings
    padding, size = _window(walk, operator, shape, settings.kernel, shape[-1])
    target = walk.target(operator, settings.fused)
    if (source.scale, source.zero_point) != (target.scale, target.zero_point):
        raise walk.unsupported(operator, "changes the scale, which pooling does in no runtime")
    kind = MaxPool2D if operator.name == "MAX_POOL_2D" else QuantAveragePool2D
    walk.add(operator, kind(settings.kernel, settings.stride, padding), (name,), target, (*size, shape[2]))


def _mean(walk: _Walk, operator: Operator) -> None:
    name, source = walk.source(operator)
    shape, keeps_axes = walk.shapes[name], operator.settings.keeps_axes
    axes = walk.constant(operator, 1, "INT32", 1)
    if len(shape) != 3 or sorted(axis % 4 for axis in axes.tolist()) != [1, 2]:
        raise walk.unsupported(
            operator, f"averages shape {shape} over axes {axes.tolist()}, carried over are the rows and columns of images"
        )
    target = walk.target(operator)
    op = QuantMean(mean_multiplier(source, target, shape[0] * shape[1]), keeps_axes)
    walk.add(operator, op, (name,), target, (1, 1, shape[2]) if keeps_axes else (shape[2],))


def _window(
    walk: _Walk, operator: Operator, shape: tuple[int, ...], kernel: tuple[int, ...], channels: int
) -> tuple[Padding, tuple[int, int]]:
    """Return the explicit padding and the rows and columns of a convolution's or pooling's result."""
    settings = operator.settings
    if len(shape) != 3 or shape[2] != channels:
        raise walk.unsupported(operator, f"reads shape {shape} with kernels of {channels} channels, groups are not carried over")
    if settings.dilation != (1, 1) or settings.padding not in ("SAME", "VALID") or min(*settings.stride, *kernel) < 1:
        found = f"dilation {settings.dilation}, stride {settings.stride}, padding {settings.padding} and kernel {tuple(kernel)}"
        raise walk.unsupported(operator, f"has {found}, carried over is dilation 1 with SAME or VALID")
    before = walk.paddings.get(operator.inputs[0], NO_PADDING)
    wanted = INT8_MIN if operator.name == "MAX_POOL_2D" else walk.tensors[walk.names[operator.inputs[0]]].zero_point
    if walk.fills.get(operator.inputs[0], wanted) != wanted or (operator.name == "AVERAGE_POOL_2D" and before != NO_PADDING):
        raise walk.unsupported(operator, "reads a tensor that is padded with another value than its own padding has")
    padding = []
    for axis in (0, 1):
        own = (0, 0)
        if settings.padding == "SAME":
            own = same_padding(shape[axis] + sum(before[axis]), kernel[axis], settings.stride[axis])
        padding.append((before[axis][0] + own[0], before[axis][1] + own[1]))
    explicit = (padding[0], padding[1])
    rows, cols = (window_count(shape[axis], kernel[axis], settings.stride[axis], explicit, axis) for axis in (0, 1))
    return explicit, (rows, cols)


def _pad(walk: _Walk, operator: Operator) -> None:
    name, tensor = walk.source(operator, is_padded=True)
    amounts = walk.constant(operator, 1, "INT32", 2)
    if amounts.shape != (4, 2) or amounts[[0, 3]].any() or amounts.min() < 0 or amounts.max() > MAX_PADDING:
        raise walk.unsupported(operator, f"pads by {amounts.tolist()}, carried over are rows and columns of images")
    if walk.quantized(operator.outputs[0], "a padded tensor") != QuantTensor(tensor.scale, tensor.zero_point):
        raise walk.refused(operator)
    (top, bottom), (left, right) = walk.paddings.get(operator.inputs[0], NO_PADDING)
    rows, cols = ((int(low), int(high)) for low, high in amounts[1:3])
    walk.names[operator.outputs[0]] = name
    fill = tensor.zero_point
    if operator.name == "PADV2":
        value = operator.inputs[2] if len(operator.inputs) > 2 else -1
        constant = None if value < 0 else walk.graph.tensors[value].values()
        if constant is None or constant.dtype != np.int8 or constant.size != 1:
            raise walk.refused(operator)
        fill = int(constant.reshape(()))
    if walk.fills.get(operator.inputs[0], fill) != fill:
        raise walk.refused(operator)
    walk.fills[operator.outputs[0]] = fill
    walk.paddings[operator.outputs[0]] = ((top + rows[0], bottom + rows[1]), (left + cols[0], right + cols[1]))


def _reshape(walk: _Walk, operator: Operator) -> None:
    name, tensor = walk.source(operator)
    shape, wanted = walk.shapes[name], walk.graph.tensors[operator.outputs[0]].shape
    given = walk.graph.tensors[operator.inputs[1]].values() if len(operator.inputs) > 1 and operator.inputs[1] >= 0 else None
    agrees = given is None or (given.shape == (len(wanted),) and all(g in (-1, w) for g, w in zip(given.tolist(), wanted, strict=True)))
    flat = (math.prod(shape),)
    if not agrees or wanted not in ((1, *shape), (1, *flat)):
        raise walk.unsupported(operator, f"turns shape {shape} into {wanted[1:]}, only flattening is carried over")
    if walk.quantized(operator.outputs[0], "a reshaped tensor") != QuantTensor(tensor.scale, tensor.zero_point):
        raise walk.refused(operator)
    if wanted == (1, *shape):
        walk.same(operator)
    else:
        walk.add(operator, Flatten(), (name,), tensor, flat)


def _activation(walk: _Walk, operator: Operator) -> None:
    name, source = walk.source(operator)
    target = walk.target(operator)
    table = _litert_table(walk, operator, QuantTensor(source.scale, source.zero_point), target)
    low, high = int(table.min()), int(table.max())
    if (source.scale, source.zero_point) == (target.scale, target.zero_point):
        is_clamp = np.array_equal(table, np.clip(np.arange(INT8_MIN, INT8_MAX + 1), low, high))
        if is_clamp and walk.clamp(operator, low, high):
            return
    reached = table[source.qmin - INT8_MIN : source.qmax - INT8_MIN + 1]
    walk.add(operator, QuantTable(FUNCTIONS[operator.name], reached), (name,), target, walk.shapes[name])


def _litert_table(walk: _Walk, operator: Operator, source: QuantTensor, target: QuantTensor) -> NDArray[np.int16]:
    """Return what LiteRT's own operator gives for each of the 256 inputs."""
    file = TfliteFile()
    x, y = file.activation("x", (1,), np.int8, source), file.activation("y", (1,), np.int8, target)
    file.operator(getattr(OPS, operator.name), VERSIONS.get(operator.name, 2), [x], y)
    integers = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int8)
    try:
        return LitertRuntime(file.finish(x, y, {})).run(integers[:, None])[:, 0].astype(np.int16)
    except DeviceError as error:
        scales = f"from scale {source.scale} to scale {target.scale}, zero point {target.zero_point}"
        raise walk.unsupported(operator, f"is not computed {scales} by LiteRT itself") from error


def _bound(walk: _Walk, operator: Operator) -> None:
    _, tensor = walk.source(operator)
    limit = operator.inputs[1] if len(operator.inputs) == 2 else -1
    values = walk.graph.tensors[limit].values() if limit >= 0 else None
    if values is None or values.size != 1 or walk.target(operator) != QuantTensor(tensor.scale, tensor.zero_point):
        raise walk.refused(operator)
    if walk.quantized(limit, "a bound") != QuantTensor(tensor.scale, tensor.zero_point):
        raise walk.refused(operator)
    bound = int(values.reshape(()))
    low, high = (bound, INT8_MAX) if operator.name == "MAXIMUM" else (INT8_MIN, bound)
    if not walk.clamp(operator, low, high):
        raise walk.refused(operator)


def _add(walk: _Walk, operator: Operator) -> None:
    first, second = walk.source(operator, 0), walk.source(operator, 1)
    target = walk.target(operator, operator.settings.fused)
    shapes = [walk.shapes[name] for name, _ in (first, second)]
    if len(operator.inputs) != 2 or shapes[0] != shapes[1]:
        raise walk.unsupported(operator, f"adds shapes {shapes}, carried over are two equal ones")
    scales = [(t.scale, t.zero_point) for t in (first[1], second[1], target)]
    op = Add() if len(set(scales)) == 1 else add_multipliers(first[1], second[1], target)
    if op is None:
        found = ", ".join(str(scale) for scale, _ in scales)
        raise walk.unsupported(operator, f"adds tensors of scales {found}, which are too far apart for one arithmetic")
    walk.add(operator, op, (first[0], second[0]), target, shapes[0])


def _concatenation(walk: _Walk, operator: Operator) -> None:
    sources = [walk.source(operator, i) for i in range(len(operator.inputs))]
    target = walk.target(operator, operator.settings.fused)
    shapes = [walk.shapes[name] for name, _ in sources]
    if any((t.scale, t.zero_point) != (target.scale, target.zero_point) for _, t in sources):
        raise walk.unsupported(operator, "joins tensors of different scale or zero point, which is exact only where all are equal")
    is_last = operator.settings.axis in (-1, len(shapes[0]))
    if not is_last or operator.settings.fused != "NONE" or any(shape[:-1] != shapes[0][:-1] for shape in shapes):
        raise walk.unsupported(operator, f"joins shapes {shapes} along axis {operator.settings.axis}, only the last one is carried over")
    joined = replace(target, qmin=min(t.qmin for _, t in sources), qmax=max(t.qmax for _, t in sources))
    walk.add(operator, Concat(), tuple(name for name, _ in sources), joined, (*shapes[0][:-1], sum(shape[-1] for shape in shapes)))


def _quantize(walk: _Walk, operator: Operator) -> None:
    source, result = operator.inputs[0], operator.outputs[0]
    x, y = walk.graph.tensors[source], walk.graph.tensors[result]
    if source == walk.start and (x.dtype == "FLOAT32" or _is_shifted(x, y)):
        tensor = walk.quantized(result, "the quantised input")
        if walk.tensors.get(INPUT, tensor) != tensor or y.shape != x.shape:
            raise walk.unsupported(operator, "quantises the observation a second time in another way")
        walk.begin(result, tensor)
    elif source in walk.names and (_is_equal(x, y) or (_is_shifted(y, x) and result == walk.output)):
        walk.same(operator)
    elif source in walk.names and (x.dtype, y.dtype) == ("INT8", "INT8"):
        _activation(walk, operator)
    else:
        raise walk.refused(operator)


def _is_shifted(unsigned: Tensor, signed: Tensor) -> bool:
    """Whether one tensor is the other's numbers as uint8: the same bytes with the highest bit turned."""
    shifted = np.array_equal(unsigned.zero_point, signed.zero_point + 128)
    return (unsigned.dtype, signed.dtype) == ("UINT8", "INT8") and shifted and np.array_equal(unsigned.scale, signed.scale)


def _is_equal(a: Tensor, b: Tensor) -> bool:
    """Whether two int8 tensors mean the same by the same integers."""
    return a.dtype == b.dtype == "INT8" and np.array_equal(a.scale, b.scale) and np.array_equal(a.zero_point, b.zero_point)


def _dequantize(walk: _Walk, operator: Operator) -> None:
    """At the end it only says what the integers mean; whatever else reads its floats is refused there."""
    if operator.inputs[0] not in walk.names:
        raise walk.unsupported(operator, "unpacks a constant for a layer that computes in floats")
    walk.same(operator)


def _softmax(walk: _Walk, operator: Operator) -> None:
    if operator.inputs[0] not in walk.names or not operator.settings.beta > 0 or len(walk.graph.tensors[operator.inputs[0]].shape) != 2:
        raise walk.refused(operator)
    walk.same(operator)
    walk.heads[operator.outputs[0]] = operator.name
    walk.softmax_beta = operator.settings.beta


def _arg_max(walk: _Walk, operator: Operator) -> None:
    axis = walk.graph.tensors[operator.inputs[1]].values() if len(operator.inputs) == 2 and operator.inputs[1] >= 0 else None
    is_last = axis is not None and axis.size == 1 and int(axis.reshape(())) in (-1, 1)
    if operator.inputs[0] not in walk.names or not is_last or operator.outputs[0] != walk.output:
        raise walk.refused(operator)
    walk.same(operator)
    walk.heads[operator.outputs[0]] = operator.name


def _shape(walk: _Walk, operator: Operator) -> None:
    """Converters compute the batch of a RESHAPE; the result's shape is known without."""
    if walk.graph.tensors[operator.outputs[0]].dtype != "INT32":
        raise walk.refused(operator)


OPERATORS: dict[str, Callable[[_Walk, Operator], None]] = {
    "ADD": _add,
    "ARG_MAX": _arg_max,
    "AVERAGE_POOL_2D": _pool,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEQUANTIZE": _dequantize,
    "ELU": _activation,
    "FULLY_CONNECTED": _fully_connected,
    "LOGISTIC": _activation,
    "MAXIMUM": _bound,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "MINIMUM": _bound,
    "PACK": _shape,
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _quantize,
    "RELU": _activation,
    "RELU6": _activation,
    "RESHAPE": _reshape,
    "SHAPE": _shape,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _shape,
    "TANH": _activation,
}


def _observation(path: Path, network: Network) -> Observation:
    if len(network.shape) == 1:
        return Observation(network.shape, "float32", "vector")
    scale, zero_point = network.tensor.scale, network.tensor.zero_point
    pixels = np.arange(256, dtype=np.float32)
    meant = (pixels / np.float32(255), pixels)  # what the network was trained on: 0 to 1, or 0 to 255
    if not any(np.array_equal(np.rint(values * (np.float32(1) / scale)) + zero_point, pixels - 128) for values in meant):
        raise UnsupportedError(
            f"{path.name}: its image has scale {scale} and zero point {zero_point}, so its integers are not the pixels: "
            "convert it with pixels divided by 255, and with black and white among the representative images"
        )
    return Observation(network.shape, "uint8", "hwc")


def _action(path: Path, network: Network, options: ImportOptions) -> Action:
    """Return the action: a softmax or argmax at the end means a choice, a tanh values that are spread over the bounds."""
    given, last = options.action_space, network.nodes[-1].op
    function = last.function if isinstance(last, QuantTable) else None
    if given is None:
        if not network.head and function in ("tanh", "sigmoid"):
            raise InputError(
                f"{path.name}: ends in {function}, so its {network.count} outputs look like a continuous action, "
                "and the file does not say its bounds: add --env ID, the environment it was trained on"
            )
        return Action("discrete", network.count)
    if given.kind == "box" and not network.head:
        return box_from_environment(path.name, network.count, "unscale" if function == "tanh" else "clip", options)
    if given.kind == "box" or given.count != network.count:
        ending = f" and ends in {network.head}" if network.head else ""
        raise InputError(
            f"{path.name}: has {network.count} outputs{ending}, the action space given with --env is {given.kind} with "
            f"{given.count} values: give the environment it was trained on"
        )
    return given


def _observation_quantizer(path: Path, observation: Observation, tensor: QuantTensor) -> ObservationQuantizer:
    """Return what makes the file's input integers; a normaliser is folded where its offsets are whole steps, which leaves no rest."""
    if observation.is_image:
        return ObservationQuantizer(np.zeros(0, np.float32), np.zeros(0, np.int32), tensor)
    count, normalizer = observation.shape[0], observation.normalizer
    if normalizer is None:
        inv_scale = np.full(count, np.float32(1) / tensor.scale, np.float32)  # the reciprocal, as LiteRT's QUANTIZE takes it
        return ObservationQuantizer(inv_scale, np.full(count, tensor.zero_point, np.int32), tensor)
    step = normalizer.std * np.float64(tensor.scale)
    offset = np.array(normalizer.mean) / step
    rest = np.abs(offset - np.rint(offset))
    if rest.max() > WHOLE:
        worst = int(rest.argmax())
        raise UnsupportedError(
            f"{path.name}: the normaliser's mean of feature {worst} is {offset[worst]:.6g} steps of the input's integers, only whole steps "
            f"can be folded exactly: normalise inside the network before converting, or {SOURCE_ADVICE}"
        )
    reach = float(np.rint(np.float64(normalizer.clip_obs) / np.float64(tensor.scale)))
    low, high = max(tensor.qmin, int(tensor.zero_point - min(reach, 512))), min(tensor.qmax, int(tensor.zero_point + min(reach, 512)))
    zero_point = (np.int64(tensor.zero_point) - np.rint(offset).astype(np.int64)).astype(np.int32)
    return ObservationQuantizer((1 / step).astype(np.float32), zero_point, replace(tensor, qmin=low, qmax=high))
