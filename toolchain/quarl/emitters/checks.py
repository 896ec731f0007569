"""Checks of both int8 emitters: what LiteRT and ONNX Runtime compute from a file's scales is what
the policy stores.
"""

from __future__ import annotations

import numpy as np

from quarl.errors import QuantizationError
from quarl.graph.quant_policy import QuantNode, QuantPolicy, QuantTensor, QuantWeighted
from quarl.graph.rescale import rescale_factor


def check_multiplier(node: QuantNode, op: QuantWeighted, source: QuantTensor) -> None:
    """Check that the scales in the file give the stored multiplier, since LiteRT and ONNX Runtime
    compute it from them.

    Raises:
        QuantizationError: they do not; names the layer and the channel.
    """
    assert node.output is not None
    computed = rescale_factor(source.scale, op.weight_scale, node.output.scale)
    wrong = np.flatnonzero(computed != op.multiplier)
    if wrong.size:
        channel = int(wrong[0])
        raise QuantizationError(
            f"{node.name}, channel {channel}: the stored multiplier is {op.multiplier[channel]!r}, "
            f"in_scale * weight_scale / out_scale gives {computed[channel]!r}: compute it "
            "with quarl.graph.rescale.rescale_factor"
        )


def check_equal_tensors(node: QuantNode, policy: QuantPolicy) -> None:
    """Check that a concat or an add joins tensors of one scale and zero point: only then is it
    exact everywhere.

    Raises:
        QuantizationError: they differ; names the node.
    """
    found = {
        (t.scale, t.zero_point)
        for t in (node.output, *map(policy.tensor, node.inputs))
        if t is not None
    }
    if len(found) > 1:
        raise QuantizationError(
            f"{node.name}: joins tensors of different scale or zero point {sorted(found)}: "
            "give them one"
        )
