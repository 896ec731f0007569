"""What ONNX Runtime computes for a file, to prove an import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from quarl.graph.policy import Policy
from quarl.importers.action import split_action
from quarl.importers.observation import source_input
from quarl.importers.onnx import draft_of
from quarl.importers.onnx.file import open_onnx
from quarl.importers.options import ImportOptions


def outputs_of_onnx(
    path: Path, policy: Policy, obs: NDArray[Any]
) -> tuple[NDArray[np.float32], str]:
    """Return ONNX Runtime's outputs float32 [n, count] for observations [n, *shape], as
    `policy.outputs` means them, and its version.

    A softmax or argmax that the import dropped is left out here too.
    """
    options = ImportOptions(
        action_space=policy.contract.action, observation=policy.contract.observation
    )
    source = open_onnx(path)
    draft = draft_of(source, options)
    output = split_action(path, draft, options)[0][-1].source
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = source.inlined([output]).SerializeToString()
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    values, entry = source_input(draft, policy.contract, obs), session.get_inputs()[0]
    batch = entry.shape[0] if isinstance(entry.shape[0], int) else len(values)
    filled = np.concatenate([values, np.repeat(values[-1:], -len(values) % batch, axis=0)])
    parts = [
        session.run([output], {entry.name: filled[start : start + batch]})[0]
        for start in range(0, len(filled), batch)
    ]
    return np.asarray(
        np.concatenate(parts)[: len(values)], np.float32
    ), f"ONNX Runtime {onnxruntime.__version__}"
