"""The quantised policy: integers, scales and zero points, from which every artifact is written.

In: what `quantize` decided. Out: the single source of truth for the NumPy reference, `.tflite`,
`.onnx` and C.
Arithmetic: toolchain/docs/decisions/0001-arithmetic.md. A tensor is narrow (int8) or wide (more
    than 8 bits, exact on every
target because each layer that reads or makes one keeps its accumulators below 2^24, where float32
holds integers exactly).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from quarl.errors import QuantizationError
from quarl.graph.contract import Contract, Observation
from quarl.graph.op_shapes import is_name
from quarl.graph.policy import INPUT, check_next_state, input_shapes
from quarl.graph.quant_checks import (
    ACCUMULATOR_BOUND,
    EXACT_FLOAT_BOUND,
    MULTIPLIER_BOUND,
    PRODUCT_BOUND,
    check_limits,
    check_op,
    check_tensor,
    quant_output_shape,
)
from quarl.graph.quant_ops import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantMul,
    QuantNode,
    QuantOp,
    QuantRescale,
    QuantTable,
    QuantWeighted,
    TableFunction,
    accumulator_bound,
    is_wide_layer,
    stored_bits,
    weight_bits,
)
from quarl.graph.quant_tensor import INT8_MAX, INT8_MIN, ObservationQuantizer, QuantTensor
from quarl.graph.state import QuantState

__all__ = [
    "ACCUMULATOR_BOUND",
    "EXACT_FLOAT_BOUND",
    "INT8_MAX",
    "INT8_MIN",
    "MULTIPLIER_BOUND",
    "PRODUCT_BOUND",
    "ObservationQuantizer",
    "QuantConv2D",
    "QuantDense",
    "QuantDepthwiseConv2D",
    "QuantMul",
    "QuantNode",
    "QuantOp",
    "QuantPolicy",
    "QuantRescale",
    "QuantTable",
    "QuantTensor",
    "QuantWeighted",
    "TableFunction",
    "accumulator_bound",
    "check_limits",
    "is_wide_layer",
    "stored_bits",
    "weight_bits",
]

ZERO_POINT_BOUND = 2**22  # of an observation feature: leaves its clamps exact in float32


@dataclass(frozen=True, slots=True)
class QuantPolicy:
    """A quantised policy: observation quantiser, integer nodes in topological order, contract.

    The names of inputs are earlier nodes or `quarl.graph.policy.INPUT`. Construction enforces every
    limit of the arithmetic.
    """

    observation: ObservationQuantizer
    nodes: tuple[QuantNode, ...]
    contract: Contract
    rung: int | None  # of the ladder; None where the integers are those of an int8 file
    source_sha256: str
    # of a softmax that the file ended in; no node, since it is outside the exact set
    softmax_beta: float | None = None
    state: tuple[QuantState, ...] = ()  # in the order of the contract's

    def __repr__(self) -> str:
        """Return its size: integers are not for the eye."""
        return f"QuantPolicy(rung={self.rung}, {len(self.nodes)} nodes, {self.parameter_bytes:,} B)"

    def __post_init__(self) -> None:
        _check_observation(self.observation, self.contract.observation)
        _check_nodes(self)
        if self.softmax_beta is not None and not (
            self.softmax_beta > 0 and np.isfinite(np.float32(self.softmax_beta))
        ):
            raise QuantizationError(
                f"the softmax has the factor {self.softmax_beta}, it must be a positive number"
            )

    def tensor(self, name: str) -> QuantTensor:
        """Return the tensor of a node, of a state or of `INPUT`.

        Raises:
            KeyError: no such tensor, or the wide head's real-valued result.
        """
        if name == INPUT:
            return self.observation.tensor
        for state in self.state:
            if state.tensor_name == name:
                return state.tensor
        for node in self.nodes:
            if node.name == name and node.output is not None:
                return node.output
        raise KeyError(name)

    @property
    def has_wide_head(self) -> bool:
        """Whether the last layer's accumulators decide, without an output step."""
        return self.nodes[-1].output is None

    @property
    def output_dtype(self) -> type[np.int8] | type[np.int16] | type[np.float32]:
        """Type that holds one step's results together: the outputs and the next states."""
        types = [self.head_dtype, *(state.dtype for state in self.state)]
        return max(types, key=lambda dtype: np.dtype(dtype).itemsize)

    @property
    def input_dtype(self) -> type[np.int8] | type[np.int16]:
        """Type that holds one step's integers together: the observation and the states."""
        is_wide = not self.observation.tensor.is_int8
        return np.int16 if is_wide or any(s.dtype is np.int16 for s in self.state) else np.int8

    @property
    def head_dtype(self) -> type[np.int8] | type[np.int16] | type[np.float32]:
        """Type of the artifacts' output: int8, int16 for a wide squashed action, float32 (already
        in real units) for a wide head.
        """
        last = self.nodes[-1].output
        if last is None:
            return np.float32
        return np.int8 if last.is_int8 else np.int16

    @property
    def parameter_bytes(self) -> int:
        """Bytes of weights (one, two or four to a byte), biases (int32), multipliers (float32) and
        tables as the C runtime stores them.
        """
        total = self.observation.inv_scale.nbytes + self.observation.zero_point.nbytes
        for node in self.nodes:
            if isinstance(node.op, QuantWeighted):
                total += (
                    node.op.weights.nbytes * stored_bits(node.op) // 8
                    + node.op.bias.nbytes
                    + node.op.multiplier.nbytes
                )
            elif isinstance(node.op, QuantTable):
                total += node.op.table.size * (
                    1 if node.output is not None and node.output.is_int8 else 2
                )
        return total


def _check_observation(quantizer: ObservationQuantizer, observation: Observation) -> None:
    shape, is_image = observation.graph_shape, observation.is_image
    check_tensor("the observation", quantizer.tensor)
    wanted = (0,) if is_image else shape
    if quantizer.inv_scale.dtype != np.float32 or quantizer.zero_point.dtype != np.int32:
        raise QuantizationError(
            f"the observation's scales are {quantizer.inv_scale.dtype}, zero points "
            f"{quantizer.zero_point.dtype}"
        )
    if quantizer.inv_scale.shape != wanted or quantizer.zero_point.shape != wanted:
        found = f"{quantizer.inv_scale.shape} scales and {quantizer.zero_point.shape} zero points"
        raise QuantizationError(
            f"the observation has shape {shape}, but {found}: they must be {wanted}"
        )
    tensor, zero_point = quantizer.tensor, observation.pixel_zero + INT8_MIN
    if is_image and (tensor.zero_point, tensor.qmin, tensor.qmax) != (
        zero_point,
        INT8_MIN,
        INT8_MAX,
    ):
        raise QuantizationError(
            f"pixels are int8 with zero point {zero_point}, the observation's tensor is {tensor}"
        )
    wrong = np.flatnonzero(~(np.isfinite(quantizer.inv_scale) & (quantizer.inv_scale > 0)))
    if wrong.size:
        raise QuantizationError(
            f"observation feature {wrong[0]}: 1 / scale is {quantizer.inv_scale[wrong[0]]}, "
            "not a positive number"
        )
    far = np.flatnonzero(np.abs(quantizer.zero_point.astype(np.int64)) >= ZERO_POINT_BOUND)
    if far.size:
        found = f"observation feature {far[0]}: the zero point is {quantizer.zero_point[far[0]]:,}"
        raise QuantizationError(
            f"{found}, the arithmetic allows less than {ZERO_POINT_BOUND:,} either way: "
            "subtract the feature's offset"
        )


def _check_nodes(policy: QuantPolicy) -> None:
    """Check names, shapes, types, limits and shared scales of the whole graph, as
    `quarl.graph.policy.check_graph` does for floats.
    """
    if not policy.nodes:
        raise QuantizationError("the policy has no layers")
    shapes = input_shapes(policy.contract)
    for state in policy.state:
        check_tensor(state.tensor_name, state.tensor)
    if [state.name for state in policy.state] != [s.name for s in policy.contract.state]:
        raise QuantizationError(
            f"the policy has the states {[state.name for state in policy.state]}, the contract "
            f"{[state.name for state in policy.contract.state]}"
        )
    for node in policy.nodes:
        if not is_name(node.name):
            raise QuantizationError(f"a layer's name is {node.name!r}, it must be text")
        unknown = [name for name in node.inputs if name not in shapes]
        if unknown or node.name in shapes:
            raise QuantizationError(
                f"{node.name}: input {unknown} is missing or comes later"
                if unknown
                else f"two layers are {node.name!r}"
            )
        if node.output is not None:
            check_tensor(node.name, node.output)
        elif node is not policy.nodes[-1] or not isinstance(node.op, QuantWeighted):
            raise QuantizationError(
                f"{node.name}: only a last layer with weights may leave its accumulators unrounded"
            )
        shapes[node.name] = quant_output_shape(node, [shapes[name] for name in node.inputs])
        sources = [policy.tensor(name) for name in node.inputs]
        check_op(node, sources, prod(shapes[node.inputs[0]][:2]))
    if shapes[policy.nodes[-1].name] != (policy.contract.action.count,):
        raise QuantizationError(
            f"the network ends with shape {shapes[policy.nodes[-1].name]}, the action needs "
            f"{policy.contract.action.count}"
        )
    nexts = tuple(state.next for state in policy.state)
    check_next_state(policy.contract, nexts, policy.nodes[-1].name, shapes)
    for state in policy.state:
        made, held = policy.tensor(state.next), state.tensor
        if (made.scale, made.zero_point) != (held.scale, held.zero_point) or not (
            held.qmin <= made.qmin <= made.qmax <= held.qmax
        ):
            raise QuantizationError(
                f"the state {state.name} is held as {held}, its next value is made as {made}: they "
                "must mean the same numbers"
            )
