"""What an ONNX file says of its actions beside the graph.

Isaac Lab, whole_body_tracking and mjlab write the names of the joints into the file's metadata: as
many targets without bounds. Unity ML-Agents marks its files by the output `version_number`; its
continuous actions are clipped to [-1, 1] in the graph.
"""

from __future__ import annotations

from dataclasses import replace

from quarl.graph.contract import Action
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.options import ImportOptions

JOINTS = "joint_names"
ML_AGENTS = "version_number"
CONTINUOUS = ("deterministic_continuous_actions", "continuous_actions")
MOST_NAMES = 1 << 12
INFINITE = float("inf")


def with_statements(source: OnnxFile, options: ImportOptions) -> ImportOptions:
    """Return the options with what the file states; an option or an environment wins."""
    found = _of_joints(source) or _of_ml_agents(source)
    if found is None:
        return options
    action, by = found
    given = options.action_space
    if given is None:
        return replace(options, action_space=action, action_by=by)
    if action.names and not given.names and (given.kind, given.count) == ("box", action.count):
        named = replace(given, names=action.names)
        return replace(options, action_space=named, action_by=f"{options.action_by} and {by}")
    return options


def _of_joints(source: OnnxFile) -> tuple[Action, str] | None:
    texts = {entry.key: entry.value for entry in source.model.metadata_props}
    names = tuple(name.strip() for name in texts.get(JOINTS, "").strip("[]").split(","))
    names = tuple(name.strip("'\" ") for name in names)
    if not all(names) or len(names) > MOST_NAMES:
        return None
    count = len(names)
    action = Action("box", count, (-INFINITE,) * count, (INFINITE,) * count, names=names)
    return action, f"the metadata {JOINTS}"


def _of_ml_agents(source: OnnxFile) -> tuple[Action, str] | None:
    outputs = {output.name: output for output in source.graph.output}
    name = next((name for name in CONTINUOUS if name in outputs), None)
    if ML_AGENTS not in outputs or name is None or any("discrete" in other for other in outputs):
        return None
    dims = outputs[name].type.tensor_type.shape.dim
    count = dims[-1].dim_value if len(dims) == 2 else 0
    if not 0 < count <= MOST_NAMES:
        return None
    return Action("box", count, (-1.0,) * count, (1.0,) * count), f"ML-Agents' output {name}"
