"""What LiteRT computes for an int8 `.tflite`, to prove that its integers were read right: they must
be equal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarl.errors import DeviceError
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers.tflite import read_network
from quarl.importers.tflite.file import read_graph
from quarl.runtimes.host import LitertRuntime, runtime_version


def outputs_of_tflite(
    path: Path, policy: QuantPolicy, integers: NDArray[np.int32]
) -> tuple[NDArray[np.int32], str]:
    """Return the integers [n, count] that LiteRT's run of the original file ends with, and what
    computed them.

    A softmax or argmax that the import left out is left out here too; where the file takes floats
    or uint8, it is given those.

    Args:
        integers: int32 [n, *graph_shape] in the range of int8.
    Raises:
        DeviceError: LiteRT refuses the file, or leaves a layer to kernels of another arithmetic.
    """
    graph = read_graph(path)
    network = read_network(path, graph, policy.contract.action)
    match network.input_dtype:
        case "INT8":
            inputs: NDArray[np.generic] = integers.astype(np.int8)
        case "UINT8":
            inputs = (integers + 128).astype(np.uint8)
        case _:
            inputs = network.tensor.dequantize(integers)
    try:
        runtime = LitertRuntime(graph.showing(network.output))
    except ValueError as error:  # names in the file that are not text
        raise DeviceError(f"LiteRT cannot load {path.name}: {error}") from error
    rows = [
        runtime.infer(inputs[row : row + 1]) for row in range(len(inputs))
    ]  # one at a time: the file may have a fixed batch
    against = f"LiteRT {runtime_version('litert')}" + (
        f" (before its {network.head})" if network.head else ""
    )
    return np.concatenate(rows).astype(np.int32), against
