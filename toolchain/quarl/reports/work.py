"""The work of each layer: what a roofline sets beside what the core can do at best.

In: a quantised policy. Out: multiply-accumulates and bytes of every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

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
