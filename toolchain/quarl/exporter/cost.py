"""What a candidate costs on its target, known before it plays.

In: a policy in integers and the board it is for. Out: a `Cost`: instructions of one decision and
bytes, counted in the board's emulator, or by a model where no board is named or its tools are
missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from numpy.typing import NDArray

from quarl.boards.linux import AnyBoard
from quarl.errors import ToolMissingError
from quarl.firmware.names import DEFAULT_PREFIX
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
    weight_bits,
)
from quarl.graph.shapes import quant_shapes
from quarl.profiles.platforms import platform_of, target_of
from quarl.profiles.workload import Workload

# Instructions of a Cortex-M4 by what is done, fitted to firmwares that were counted in the
# emulator (four networks, all candidates, at most 4 % off: toolchain/docs/quantizer.md). Only
# ratios of candidates are made of them.
PER_DECISION = 1560.0
PER_PRODUCT, PER_SIGNED_PRODUCT, PER_UNSIGNED_PRODUCT = 1.19, 1.10, 1.20  # int8 and wide inputs
PER_PACKED = {8: 1.0, 4: 1.12, 2: 0.7}  # times a product, by the bits that store a weight
PER_FEATURE, PER_WIDE_FEATURE = 6.0, 4.1  # of the observation quantiser
PER_WIDE_OUTPUT = 2.4  # beside what products of the same layer take
PER_ENTRY, PER_WIDE_ENTRY = 5.9, 9.2
SMALL_BYTES = 1 << 16  # fewer are no price: the smallest board has four times as many
ASKED = 2  # observations that the emulator answers

Structure = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one decision takes."""

    instructions: int
    flash_bytes: int  # of the whole image; by the model: of weights, biases and tables alone
    kind: Literal["emulated", "estimated"]
    figures: Mapping[str, float] = field(default_factory=dict)  # that a budget may limit

    def ratio(self, other: Cost) -> float:
        """Return how many times as much it takes as another, in instructions or in bytes above
        SMALL_BYTES, whichever is more.
        """
        flash = max(self.flash_bytes, SMALL_BYTES) / max(other.flash_bytes, SMALL_BYTES)
        return max(self.instructions / other.instructions, flash)


class CostModel:
    """Costs on one target; equal structures are counted once."""

    def __init__(self, board: AnyBoard | None, obs: NDArray[Any]) -> None:
        self._board, self._obs = board, obs[:ASKED]
        self._known: dict[Structure, Cost] = {}

    def of(self, policy: QuantPolicy) -> Cost:
        """Return the cost of a policy.

        Raises:
            BudgetError: its firmware does not fit the board at all.
        """
        key = structure_of(policy)
        if key not in self._known:
            self._known[key] = self._counted(policy) or modelled(policy)
        return self._known[key]

    def _counted(self, policy: QuantPolicy) -> Cost | None:
        board = self._board
        if board is None or platform_of(board).memory is None:
            return None  # on a computer the model's ratios do
        platform = platform_of(board)
        try:
            target = target_of(board)
            tree = platform.write(policy, self._obs, DEFAULT_PREFIX)
            profile = platform.measure(Workload(policy, None, self._obs, {}, tree), target)
        except ToolMissingError:
            self._board = None
            return None
        figures = {figure.name: figure.value for figure in profile.figures}
        instructions = int(figures["firmware_instructions"])
        return Cost(instructions, int(figures["firmware_flash_bytes"]), "emulated", figures)


def modelled(policy: QuantPolicy) -> Cost:
    """Return the cost by the model."""
    shapes = quant_shapes(policy)
    observation = policy.observation
    each = PER_FEATURE if observation.tensor.is_int8 else PER_WIDE_FEATURE
    features = 0 if observation.is_pixels else len(observation.inv_scale)
    work = PER_DECISION + each * features
    work += sum(_work(node, shapes[node.name], policy) for node in policy.nodes)
    return Cost(max(1, round(work)), policy.parameter_bytes, "estimated")


def structure_of(policy: QuantPolicy) -> Structure:
    """Return what decides the code of a policy's firmware: operations, shapes and widths."""
    nodes = tuple(
        (
            type(node.op).__name__,
            node.op.weights.shape if isinstance(node.op, QuantWeighted) else None,
            weight_bits(node.op) if isinstance(node.op, QuantWeighted) else None,
            node.inputs,
            _span(node.output),
        )
        for node in policy.nodes
    )
    return (_span(policy.observation.tensor), *nodes)


def _span(tensor: QuantTensor | None) -> tuple[int, int] | None:
    return None if tensor is None else (tensor.qmin, tensor.qmax)


def _work(node: QuantNode, shape: tuple[int, ...], policy: QuantPolicy) -> float:
    count = prod(shape)
    is_wide = node.output is not None and not node.output.is_int8
    match node.op:
        case QuantDense() | QuantConv2D() | QuantDepthwiseConv2D():
            products = count * prod(node.op.weights.shape[1:])
            tensor = policy.tensor(node.inputs[0])
            wide = PER_UNSIGNED_PRODUCT if tensor.qmin == 0 else PER_SIGNED_PRODUCT
            each = PER_PRODUCT if tensor.is_int8 else wide
            bits = stored_bits(node.op)
            each *= PER_PACKED[bits if tensor.is_int8 else max(bits, 4)]
            return products * each + (count * PER_WIDE_OUTPUT if is_wide else 0)
        case QuantTable():
            return count * (PER_WIDE_ENTRY if is_wide else PER_ENTRY)
    return float(count)
