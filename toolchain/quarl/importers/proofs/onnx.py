"""What ONNX Runtime computes for a file, to prove an import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import ModelProto

from quarl.errors import ToolMissingError
from quarl.graph.policy import INPUT, Concat, Policy
from quarl.importers.action import split_action
from quarl.importers.draft import Affine, Linear, Nodes, node_named
from quarl.importers.observation import source_input
from quarl.importers.onnx import draft_of
from quarl.importers.onnx.file import OnnxFile, open_onnx
from quarl.importers.onnx.inputs import InputPlan, numbers_in, plan_inputs
from quarl.importers.options import ImportOptions


def outputs_of_onnx(
    path: Path, policy: Policy, obs: NDArray[Any], options: ImportOptions
) -> tuple[NDArray[np.floating[Any]], str]:
    """Return ONNX Runtime's outputs [n, count] for observations [n, *shape], as `policy.outputs`
    means them, and its version.

    A softmax or argmax that the import dropped is left out here too, and steps that the import
    added, such as joining two outputs, are done here too. Floats of other widths count as float32.

    Raises:
        ToolMissingError: this ONNX Runtime cannot load the file.
    """
    source = open_onnx(path)

    def run(
        outputs: list[str], plan: InputPlan, values: NDArray[Any]
    ) -> list[NDArray[np.floating[Any]]]:
        made = [state.output for state in plan.states]
        return [*run_onnx(source.inlined([*outputs, *made]), outputs, plan, values)]

    found = outputs_by(run, source, policy, obs, options)
    return found, f"ONNX Runtime {onnxruntime.__version__}"


Run: TypeAlias = Callable[[list[str], InputPlan, NDArray[Any]], "list[NDArray[np.floating[Any]]]"]
"""Returns some results of a file, each [n, ...], for what its network is fed."""


def outputs_by(
    run: Run, source: OnnxFile, policy: Policy, obs: NDArray[Any], options: ImportOptions
) -> NDArray[np.floating[Any]]:
    """Return the outputs [n, count] as `policy.outputs` means them, from what a runtime gives."""
    draft = draft_of(source, options)
    nodes = split_action(source.path, draft, options)[0]
    ends = _ends(nodes, nodes[-1].name)
    outputs = [node.source for name in ends if (node := node_named(nodes, name)) is not None]
    plan = plan_inputs(source, outputs, options.observation)
    values = source_input(draft, policy.contract, obs)
    found = run(outputs, plan, values)
    results = {
        INPUT: values.reshape(len(values), -1),
        **{name: part.reshape(len(part), -1) for name, part in zip(ends, found, strict=True)},
    }
    return _added(nodes, nodes[-1].name, results)


def _ends(nodes: Nodes, name: str) -> list[str]:
    """Return the steps of the file behind which only steps of the importer come."""
    node = node_named(nodes, name)
    if node is None or node.source:
        return [] if node is None else [name]
    return list(dict.fromkeys(end for part in node.inputs for end in _ends(nodes, part)))


def _added(nodes: Nodes, name: str, results: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the result of a step that the importer added, from those of the file."""
    if name in results:
        return results[name]
    node = node_named(nodes, name)
    assert node is not None
    parts = [_added(nodes, part, results).astype(np.float64) for part in node.inputs]
    match node.op:
        case Linear(weights=weights, bias=bias):
            return parts[0] @ weights.T + bias
        case Affine(scale=scale, offset=offset):
            return parts[0] * scale + offset
        case Concat():
            return np.concatenate(parts, axis=1)
    raise ToolMissingError(f"{name} is a step of quarl's own, which no runtime computes")


def run_onnx(
    model: ModelProto, outputs: list[str], plan: InputPlan, values: NDArray[Any]
) -> list[NDArray[np.float32]]:
    """Return each output [n, count] for what the network is fed, in batches of the size it
    takes.
    """
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
        if plan.states:
            return _run_in_turn(session, outputs, plan, values)
        shapes = [shape for _, shape in plan.observed if len(shape) > 1]
        batch = shapes[0][0] if shapes and shapes[0][0] > 0 else len(values) if shapes else 1
        filled = np.concatenate([values, np.repeat(values[-1:], -len(values) % batch, axis=0)])
        parts = [
            session.run(outputs, fed(plan, filled[start : start + batch]))
            for start in range(0, len(filled), batch)
        ]
    except Exception as error:  # whatever it raises, it has no class of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ToolMissingError(f"ONNX Runtime cannot run it ({reason})") from error
    return [
        np.concatenate([part[place].reshape(batch, -1) for part in parts])[: len(values)].astype(
            np.float32
        )
        for place in range(len(outputs))
    ]


def _run_in_turn(
    session: onnxruntime.InferenceSession,
    outputs: list[str],
    plan: InputPlan,
    values: NDArray[Any],
) -> list[NDArray[np.float32]]:
    """Return each output [n, count] of one episode: the state is carried from row to row."""
    state = {one.input: np.zeros(one.shape, np.float32) for one in plan.states}
    names = [*outputs, *(one.output for one in plan.states)]
    rows = []
    for place in range(len(values)):
        row = session.run(names, {**fed(plan, values[place : place + 1]), **state})
        for one, made in zip(plan.states, row[len(outputs) :], strict=True):
            state[one.input] = made.reshape(one.shape)
        rows.append(row)
    return [
        np.stack([row[place].reshape(-1) for row in rows]).astype(np.float32)
        for place in range(len(outputs))
    ]


def fed(plan: InputPlan, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return what each input is given for some observations [n, ...]."""
    values_of = {
        name: np.repeat(array, len(values), axis=0).astype(_float32(array.dtype))
        for name, array in plan.fixed.items()
    }
    if len(plan.observed) == 1 and values.ndim == 4:
        return values_of | {plan.observed[0][0]: values}
    start = 0
    for name, shape in plan.observed:
        part = values[:, start : start + numbers_in(shape)]
        start += numbers_in(shape)
        lengths = shape if len(shape) == 1 else (len(values), *shape[1:])
        dtype = _float32(np.dtype(plan.dtypes[name]))
        values_of[name] = np.ascontiguousarray(part.reshape(lengths).astype(dtype))
    return values_of


def _float32(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype.kind == "f" else dtype
