"""The work of each layer beside what its core can do at best: the two axes and the two roofs of a
roofline.

In: a quantised policy, a core. Out: multiply-accumulates and bytes per layer, and the core's limits
with their source.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from quarl.boards.cortex_m import CpuName
from quarl.graph.quant_policy import QuantPolicy, QuantWeighted, stored_bits
from quarl.graph.shapes import quant_shapes


@dataclass(frozen=True, slots=True)
class LayerWork:
    """What one layer has to compute and to touch at least once in one inference."""

    layer: str
    multiply_accumulates: (
        int  # padding counted, as a dense loop executes them; 0 for a layer without weights
    )
    # weights, biases, factors, input and output; a layer whose values need more than 8 bits counts
    # 2 bytes for each
    bytes: int

    @property
    def intensity(self) -> float:
        """Multiply-accumulates for each byte touched."""
        return self.multiply_accumulates / self.bytes


@dataclass(frozen=True, slots=True)
class CoreLimit:
    """What a core does at best in one cycle."""

    mac_per_cycle: float
    bytes_per_cycle: float
    mac_source: str
    bytes_source: str


CORE_LIMITS: dict[CpuName, CoreLimit] = {
    "cortex-m0": CoreLimit(
        0.5, 2.0, "MULS and ADDS, one cycle each", "a load of 4 bytes takes two cycles"
    ),
    "cortex-m0plus": CoreLimit(
        0.5, 2.0, "MULS and ADDS, one cycle each", "a load of 4 bytes takes two cycles"
    ),
    "cortex-m3": CoreLimit(
        0.5, 4.0, "MLA takes two cycles", "loads in a row take one cycle for 4 bytes"
    ),
    "cortex-m4": CoreLimit(
        2.0,
        4.0,
        "SMLAD: two products of 16 bits in one cycle",
        "loads in a row take one cycle for 4 bytes",
    ),
    "cortex-m33": CoreLimit(
        2.0, 4.0, "SMLAD: two products of 16 bits in one cycle", "one load of 4 bytes a cycle"
    ),
    "cortex-m7": CoreLimit(
        2.0, 8.0, "SMLAD: two products of 16 bits, one a cycle", "two loads of 4 bytes a cycle"
    ),
    "cortex-m55": CoreLimit(
        8.0, 8.0, "Helium: eight products of 8 bits in one cycle", "8 bytes a cycle"
    ),
}
"""From the cores' technical reference manuals: M0 DDI 0432, M0+ DDI 0484, M3 100165, M4 100166, M7
DDI 0489, M33 100230, M55 101051.
"""


def layer_work(policy: QuantPolicy) -> tuple[LayerWork, ...]:
    """Return the work of every layer, in the order of the graph."""
    shapes = quant_shapes(policy)
    found = []
    for node in policy.nodes:
        read = sum(
            prod(shapes[name]) * (1 if policy.tensor(name).is_int8 else 2) for name in node.inputs
        )
        width = (
            4 if node.output is None else 1 if node.output.is_int8 else 2
        )  # a wide head gives float32
        touched, macs = read + prod(shapes[node.name]) * width, 0
        if isinstance(node.op, QuantWeighted):
            macs = prod(shapes[node.name]) * prod(node.op.weights.shape[1:])
            touched += (
                node.op.weights.nbytes * stored_bits(node.op) // 8
                + node.op.bias.nbytes
                + node.op.multiplier.nbytes
            )
        found.append(LayerWork(node.name, macs, touched))
    return tuple(found)
