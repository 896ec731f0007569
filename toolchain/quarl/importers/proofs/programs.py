"""What torch computes for a TorchScript archive or a `torch.export` file, to prove an import.

Loading one hands its program to torch: only for trusted files. Where the import dropped the last
steps, such as a clip to the bounds, torch's outputs are compared with ONNX Runtime's on the graph
as it was read, and the results before those steps are ONNX Runtime's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, ToolMissingError
from quarl.graph.policy import Policy
from quarl.importers.detect import detect_format
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.onnx.inputs import InputPlan
from quarl.importers.options import ImportOptions
from quarl.importers.proofs.onnx import fed, outputs_by, run_onnx
from quarl.importers.torch.exported import exported_file
from quarl.importers.torch.script import script_file

AGREES = 1e-5  # relative to the largest output

Network = Callable[..., Any]


def outputs_of_program(
    path: Path, policy: Policy, obs: NDArray[Any], options: ImportOptions
) -> tuple[NDArray[np.floating[Any]], str]:
    """Return torch's outputs [n, count] for observations [n, *shape].

    Raises:
        ToolMissingError: torch is not installed, or computes something else than the graph as read.
    """
    try:
        import torch
    except ImportError as error:
        raise ToolMissingError("torch is not installed: pip install 'quarl[sb3]'") from error
    is_script = detect_format(path) == "torchscript"
    source = script_file(path, options) if is_script else exported_file(path)
    try:
        network: Network = (
            torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            if is_script
            else torch.export.load(str(path)).module()
        )
    except Exception as error:  # whatever it raises
        raise InputError(f"{path.name}: torch cannot load it ({error!r})") from error

    def run(
        outputs: list[str], plan: InputPlan, values: NDArray[Any]
    ) -> list[NDArray[np.floating[Any]]]:
        ends = [output.name for output in source.graph.output]
        found = run_onnx(source.inlined([*outputs, *ends]), [*outputs, *ends], plan, values)
        torchs = _run(network, source, plan, values)
        for ours, theirs in zip(found[len(outputs) :], torchs, strict=True):
            error = float(np.abs(ours - theirs).max())
            if not error <= AGREES * max(1.0, float(np.abs(theirs).max())):
                raise ToolMissingError(f"torch computes something else, by {error:.3g}")
        by_name = dict(zip(ends, torchs, strict=True))
        same = {node.output[0]: node.input[0] for node in source.graph.node if node.output}
        theirs_of = {same.get(end, end): by_name[end] for end in ends}
        return [theirs_of.get(name, ours) for name, ours in zip(outputs, found, strict=False)]

    found = outputs_by(run, source, policy, obs, options)
    return found, f"torch {torch.__version__}"


def _run(
    network: Network, source: OnnxFile, plan: InputPlan, values: NDArray[Any]
) -> list[NDArray[np.floating[Any]]]:
    """Return all outputs of the network, each [n, ...]: all at once, or, where it does not take
    that, one by one.
    """
    try:
        return _run_batch(network, source, plan, values)
    except Exception:  # whatever a program raises
        pass
    try:
        rows = [_run_batch(network, source, plan, row[None]) for row in values]
    except Exception as error:
        raise ToolMissingError(f"torch cannot run it ({error!r:.100})") from error
    return [np.concatenate(part) for part in zip(*rows, strict=True)]


def _run_batch(
    network: Network, source: OnnxFile, plan: InputPlan, values: NDArray[Any]
) -> list[NDArray[np.floating[Any]]]:
    import torch

    given = fed(plan, values)
    inputs = []
    for entry in source.graph.input:
        lengths = [dim.dim_value or len(values) for dim in entry.type.tensor_type.shape.dim]
        array = given.get(entry.name, np.zeros(lengths, np.float32))
        inputs.append(torch.from_numpy(np.ascontiguousarray(array)))
    with torch.no_grad():
        result = network(*inputs)
    parts = result if isinstance(result, tuple | list) else [result]
    return [part.numpy().reshape(len(values), -1) for part in parts]
