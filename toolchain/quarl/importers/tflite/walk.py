"""The walk over a `.tflite` graph: operators in order, the nodes they mean, and what is refused by
name on the way.

In: a graph of checked values and what each operator means (`quarl.importers.tflite.operators`).
    Out: a `Network` of quantised nodes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.graph.policy import INPUT, Add, MaxPool2D, Padding
from quarl.graph.quant_policy import (
    INT8_MAX,
    INT8_MIN,
    QuantNode,
    QuantOp,
    QuantTensor,
    QuantWeighted,
)
from quarl.importers.tflite.file import Operator, TfliteGraph
from quarl.runtimes.host import WEIGHTED_OPERATORS

SCALES = (2.0**-40, 2.0**40)  # of activations; beyond them no float32 holds the rescale factors
NO_PADDING: Padding = ((0, 0), (0, 0))
FUSED: dict[str, tuple[float, float]] = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0, math.inf),
    "RELU6": (0, 6),
}
CLAMPED = (
    QuantWeighted | Add | QuantAdd | MaxPool2D | QuantAveragePool2D | QuantMean
)  # whose nodes can clamp their results
SOURCE_ADVICE = "give quarl the model this file was converted from"
ADVICE = {
    "TRANSPOSE": "convert a model whose images have their channels last",
    "SOFTMAX": "only as the last step of a policy that picks one of several actions does it "
    "change nothing",
    "QUANTIZE": "it is carried over for the observation, between int8 tensors, and to uint8 "
    f"at the end: {SOURCE_ADVICE}",
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


Meanings = Mapping[str, Callable[["Walk", Operator], None]]


class Walk:
    """Walks the operators that lead to one output, in order, and collects the nodes they mean.

    A tensor of the file is known by the name of the node whose integers it holds; several tensors
    may share one.
    """

    def __init__(self, path: Path, graph: TfliteGraph, output: int, meanings: Meanings) -> None:
        self.path, self.graph, self.output, self.start, self.meanings = (
            path,
            graph,
            output,
            graph.inputs[0],
            meanings,
        )
        self.operators = _leading_to(graph, output)
        self.readers = Counter(
            [output, *(i for operator in self.operators for i in operator.inputs)]
        )
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
                f"{self.path.name}: its input has shape {taken.shape}, quarl carries [1, "
                "features] and [1, height, width, channels]: "
                "convert the model with such an input"
            )
        for operator in self.operators:
            self._refuse_other_kinds(operator)
        if taken.dtype == "INT8":
            self.begin(self.start, self.quantized(self.start, "its input"))
        for operator in self.operators:
            if operator.name not in self.meanings:
                raise self.refused(operator)
            if len(operator.outputs) != 1 or not operator.inputs or operator.inputs[0] < 0:
                raise InputError(
                    f"{self.place(operator)} reads nothing or makes several tensors: the file "
                    "is damaged"
                )
            self.meanings[operator.name](self, operator)
        last = list(self.nodes)[-1] if self.nodes else ""
        if not last or self.names.get(self.output) != last or self.output in self.paddings:
            raise InputError(
                f"{self.path.name}: its output is not what its last layer computes: there is "
                "no policy in it"
            )
        if len(self.shapes[last]) != 1:
            raise UnsupportedError(
                f"{self.path.name}: ends with shape {self.shapes[last]}, a policy ends with a "
                "vector: flatten it"
            )
        count, head = self.shapes[last][0], self.heads.get(self.output, "")
        nodes, beta = tuple(self.nodes.values()), self.softmax_beta
        return Network(
            nodes,
            self.tensors[INPUT],
            taken.shape[1:],
            taken.dtype,
            count,
            self.homes[last],
            head,
            beta,
        )

    def begin(self, index: int, tensor: QuantTensor) -> None:
        """Let a tensor hold the quantised observation."""
        self.names[index], self.tensors[INPUT], self.shapes[INPUT] = (
            INPUT,
            tensor,
            self.graph.tensors[self.start].shape[1:],
        )

    def add(
        self,
        operator: Operator,
        op: QuantOp,
        inputs: tuple[str, ...],
        tensor: QuantTensor,
        shape: tuple[int, ...],
    ) -> None:
        """Append the node that an operator means."""
        name, index = f"{operator.name.lower()}_{operator.index}", operator.outputs[0]
        if self.graph.tensors[index].shape != (1, *shape):
            raise InputError(
                f"{self.place(operator)} says its result has shape "
                f"{self.graph.tensors[index].shape}, it has {(1, *shape)}: "
                "the file is inconsistent, convert the model again"
            )
        self.nodes[name] = QuantNode(name, op, inputs, tensor)
        self.names[index], self.homes[name], self.tensors[name], self.shapes[name] = (
            name,
            index,
            tensor,
            shape,
        )

    def same(self, operator: Operator) -> None:
        """Let an operator's result be what its first input is."""
        source, result = operator.inputs[0], operator.outputs[0]
        if source in self.paddings:
            raise self.refused(operator)
        self.names[result] = self.names[source]
        if source in self.heads:
            self.heads[result] = self.heads[source]

    def clamp(self, operator: Operator, low: int, high: int) -> bool:
        """Clamp the integers of the node that makes the first input; False where somebody else
        reads them or it cannot clamp.
        """
        source, result = operator.inputs[0], operator.outputs[0]
        node = self.nodes.get(self.names.get(source, ""))
        if (
            node is None
            or self.readers[source] != 1
            or self.homes[node.name] != source
            or not isinstance(node.op, CLAMPED)
        ):
            return False
        before = self.tensors[node.name]
        tensor = replace(before, qmin=max(low, before.qmin), qmax=min(high, before.qmax))
        if tensor.qmin >= tensor.qmax:
            return False
        self.nodes[node.name] = replace(node, output=tensor)
        self.names[result], self.homes[node.name], self.tensors[node.name] = (
            node.name,
            result,
            tensor,
        )
        return True

    def source(
        self, operator: Operator, position: int = 0, *, is_padded: bool = False
    ) -> tuple[str, QuantTensor]:
        """Return the node that an operator reads, and its tensor."""
        index = operator.inputs[position] if position < len(operator.inputs) else -1
        name = self.names.get(index, "")
        if index in self.heads:
            raise UnsupportedError(
                f"{self.place(operator)} reads what {self.heads[index]} gives: {ADVICE['SOFTMAX']}"
            )
        if not name or self.graph.tensors[index].dtype != "INT8":
            found = (
                "nothing" if index < 0 else f"a tensor of type {self.graph.tensors[index].dtype}"
            )
            raise self.unsupported(
                operator, f"reads {found} where only int8 made by a layer is carried over"
            )
        if index in self.paddings and not is_padded:
            raise self.unsupported(
                operator,
                "reads a padded tensor: a PAD is carried over before convolutions and "
                "poolings only",
            )
        return name, self.tensors[name]

    def target(self, operator: Operator, fused: str = "NONE") -> QuantTensor:
        """Return the tensor that an operator makes, clamped as its fused activation does."""
        tensor = self.quantized(
            operator.outputs[0], f"the result of operator {operator.index} ({operator.name})"
        )
        if fused not in FUSED:
            raise self.unsupported(
                operator, f"has the fused activation {fused}, carried over are {', '.join(FUSED)}"
            )
        # XNNPACK adds the zero point before it rounds, which decides where a bound is half way
        # between integers
        low, high = (
            np.rint(np.float32(bound) / tensor.scale + np.float32(tensor.zero_point))
            for bound in FUSED[fused]
        )
        return replace(tensor, qmin=int(max(low, INT8_MIN)), qmax=int(min(high, INT8_MAX)))

    def quantized(self, index: int, what: str) -> QuantTensor:
        """Return how a tensor's integers mean numbers."""
        tensor = self.graph.tensors[index]
        if tensor.dtype != "INT8" or len(tensor.scale) != 1:
            found = f"{tensor.dtype} with {len(tensor.scale)} scales"
            raise UnsupportedError(
                f"{self.path.name}: {what} is {found}, it must be INT8 with one: convert it "
                "to full-integer int8"
            )
        scale, zero_point = tensor.scale[0], int(tensor.zero_point[0])
        if not SCALES[0] <= scale <= SCALES[1] or not INT8_MIN <= zero_point <= INT8_MAX:
            found = f"scale {scale} and zero point {zero_point}"
            raise InputError(
                f"{self.path.name}: {what} has {found}: the file is damaged, convert the "
                "model again"
            )
        return QuantTensor(scale, zero_point)

    def constant(self, operator: Operator, position: int, dtype: str, rank: int) -> NDArray[Any]:
        """Return the values of a constant operand."""
        index = operator.inputs[position] if position < len(operator.inputs) else -1
        tensor = None if index < 0 else self.graph.tensors[index]
        values = None if tensor is None else tensor.values()
        if tensor is None or values is None or tensor.dtype != dtype or values.ndim != rank:
            kind = "no constant" if values is None else "a constant"
            found = "is missing" if tensor is None else f"is {kind} ({tensor.dtype} {tensor.shape})"
            raise self.unsupported(
                operator,
                f"has an operand {position} that {found}, it must be a constant {dtype} with "
                f"{rank} axes",
            )
        return values

    def parameters(
        self, operator: Operator, rank: int, axis: int
    ) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.float32]]:
        """Return weights as stored, bias [out] and one scale per output channel [out]."""
        weights = self.constant(operator, 1, "INT8", rank)
        tensor, count = self.graph.tensors[operator.inputs[1]], weights.shape[axis]
        if len(tensor.scale) not in (1, count) or (len(tensor.scale) > 1 and tensor.axis != axis):
            scales = f"{len(tensor.scale)} scales along axis {tensor.axis}"
            raise self.unsupported(
                operator,
                f"has weights with {scales}: one, or {count} along axis {axis}, are carried over",
            )
        wrong = np.flatnonzero(~((tensor.scale > 0) & (tensor.scale <= SCALES[1])))
        if wrong.size:
            found = f"a weight scale of {tensor.scale[wrong[0]]} in channel {wrong[0]}"
            raise InputError(
                f"{self.place(operator)} has {found}: the file is damaged, convert the model again"
            )
        if tensor.zero_point.any():
            raise self.unsupported(
                operator,
                f"has weights with zero point {tensor.zero_point[tensor.zero_point != 0][0]}, "
                "it must be 0",
            )
        bias = np.zeros(count, np.int32)
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            bias = self.constant(operator, 2, "INT32", 1)
        if bias.shape != (count,):
            raise InputError(
                f"{self.place(operator)} has {count} channels and {bias.size} biases: the "
                "file is inconsistent"
            )
        return weights, bias, np.zeros(count, np.float32) + tensor.scale

    def refused(self, operator: Operator) -> UnsupportedError:
        """Return the error for an operator without exact counterpart."""
        return UnsupportedError(
            f"{self.place(operator)} cannot be carried over exactly: "
            f"{ADVICE.get(operator.name, SOURCE_ADVICE)}"
        )

    def unsupported(self, operator: Operator, reason: str) -> UnsupportedError:
        """Return the error that names the operator and the reason."""
        return UnsupportedError(f"{self.place(operator)} {reason}: {SOURCE_ADVICE}")

    def place(self, operator: Operator) -> str:
        """Return how messages name an operator: Netron shows the same number."""
        return f"{self.path.name}: operator {operator.index} ({operator.name})"

    def _refuse_other_kinds(self, operator: Operator) -> None:
        if (
            operator.name not in WEIGHTED_OPERATORS
            or len(operator.inputs) < 2
            or min(operator.inputs[:2]) < 0
        ):
            return
        x, weights = (self.graph.tensors[i].dtype for i in operator.inputs[:2])
        if (x, weights) == ("INT8", "INT8"):
            return
        if (x, weights) == ("FLOAT32", "INT8"):
            kind = "computes in floats with int8 weights (dynamic range)"
        elif x == "FLOAT32":
            kind = "is a float layer: this is not an int8 model"
        elif x == "INT16":
            kind = "has 16-bit activations"
        elif x == "UINT8":
            kind = "is quantised to uint8, as before TensorFlow 2"
        else:
            kind = f"computes with {x} and weights of {weights}"
        raise UnsupportedError(
            f"{self.place(operator)} {kind}: {SOURCE_ADVICE}, or convert it to full-integer int8"
        )


def _leading_to(graph: TfliteGraph, output: int) -> tuple[Operator, ...]:
    needed, found = {output}, []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            found.append(operator)
    return tuple(reversed(found))
