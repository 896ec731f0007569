"""What LiteRT computes for a `.tflite`, to prove that it was read right: the integers of an int8
one must be equal, the floats of any other nearly so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import ToolMissingError
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers.onnx.inputs import InputPlan
from quarl.importers.options import ImportOptions
from quarl.importers.proofs.onnx import fed, outputs_by
from quarl.importers.tflite import read_network
from quarl.importers.tflite.file import TfliteGraph, read_graph
from quarl.importers.tflite.floats import float_file, rounds
from quarl.runtimes.apart import RuntimeApart
from quarl.runtimes.host import runtime_version


def outputs_of_tflite(
    path: Path, policy: QuantPolicy, integers: NDArray[np.int32], output: str | None = None
) -> tuple[NDArray[np.int32], str]:
    """Return the integers [n, count] that LiteRT's run of the original file ends with, and what
    computed them.

    A softmax or argmax that the import left out is left out here too; where the file takes floats
    or uint8, it is given those.

    Args:
        integers: int32 [n, *graph_shape] in the range of int8.
        output: the output that the user chose, where there are several.
    Raises:
        InputError: LiteRT refuses the file or does not survive it, or leaves a layer to kernels of
            another arithmetic.
    """
    graph = read_graph(path)
    options = ImportOptions(action_space=policy.contract.action, output=output)
    network = read_network(path, graph, options)
    match network.input_dtype:
        case "INT8":
            inputs: NDArray[np.generic] = integers.astype(np.int8)
        case "UINT8":
            inputs = (integers + 128).astype(np.uint8)
        case _:
            inputs = network.tensor.dequantize(integers)
    runtime = RuntimeApart("litert", graph.showing(network.output), path.name)
    rows = [
        runtime.infer(inputs[row : row + 1]) for row in range(len(inputs))
    ]  # one at a time: the file may have a fixed batch
    against = f"LiteRT {runtime_version('litert')}" + (
        f" (before its {network.head})" if network.head else ""
    )
    return np.concatenate(rows).astype(np.int32), against


def outputs_of_floats(
    path: Path, policy: Policy, obs: NDArray[Any], options: ImportOptions
) -> tuple[NDArray[np.floating[Any]], str]:
    """Return LiteRT's outputs [n, count] of a float file for observations [n, *shape].

    Raises:
        ToolMissingError: LiteRT rounds what the file computes, or cannot run it.
    """
    graph = read_graph(path)
    if (kind := rounds(graph)) is not None:
        what = "activations to 16 bits" if kind == "wide" else "activations to 8 bits on the way"
        raise ToolMissingError(
            f"LiteRT rounds this file's {what}, the policy has the floats that its weights mean"
        )

    def run(
        outputs: list[str], plan: InputPlan, values: NDArray[Any]
    ) -> list[NDArray[np.floating[Any]]]:
        return [_run_floats(graph, int(name[1:]), plan, values) for name in outputs]

    found = outputs_by(run, float_file(path, graph), policy, obs, options)
    return found, f"LiteRT {runtime_version('litert')}"


def _run_floats(
    graph: TfliteGraph, tensor: int, plan: InputPlan, values: NDArray[Any]
) -> NDArray[np.floating[Any]]:
    """Return one tensor [n, ...], computed one observation at a time."""
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]

    try:
        interpreter = Interpreter(model_content=graph.showing(tensor), num_threads=1)
        interpreter.allocate_tensors()
        places = {entry["name"]: entry["index"] for entry in interpreter.get_input_details()}
        rows = []
        for row in range(len(values)):
            for name, array in fed(plan, values[row : row + 1]).items():
                interpreter.set_tensor(places[name], array)
            interpreter.invoke()
            rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    except (ValueError, RuntimeError, KeyError) as error:
        raise ToolMissingError(f"LiteRT cannot run it ({error})") from error
    return np.concatenate([row.reshape(1, -1) for row in rows])
