"""Which inputs of an ONNX graph an output needs, and what stands for each of them.

Only what the action needs is carried over: an input that no output value depends on is dropped,
action masks are fixed at "all allowed", several vectors are one after the other. Each choice is a
line for the user.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, ValueInfoProto

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Observation
from quarl.graph.picture import NamedPart
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.onnx.states import CarriedState, carried_states
from quarl.importers.onnx.values import BATCH
from quarl.importers.outputs import A_STATE, Output, is_policy_word, kind_by_words

FLOAT: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
}
MASK = re.compile(
    r"(^|_)(action_)?masks?($|_)|(avail(able)?|legal|valid|allowed)_?(actions?|moves?)$",
    re.IGNORECASE,
)
ACTION = re.compile(r"actions?|act|a", re.IGNORECASE)
LONGEST = 1 << 24
PICTURE_AXES = 4  # the batch among them


@dataclass(frozen=True, slots=True)
class InputPlan:
    """The inputs of one network: what is observed, what is fixed, what is not read."""

    observed: tuple[tuple[str, tuple[int, ...]], ...]  # name and shape, `BATCH` where open
    dtypes: dict[str, str]  # of those, by name
    fixed: dict[str, NDArray[Any]]  # by name, batch axis 1
    unread: tuple[str, ...]  # only their shapes are read, or nothing
    notes: tuple[str, ...]
    states: tuple[CarriedState, ...] = ()  # of recurrent cells

    @property
    def length(self) -> int:
        """Numbers of one observation."""
        return sum(numbers_in(shape) for _, shape in self.observed)

    @property
    def dtype(self) -> str:
        """The type of the observation; of several inputs float32, of which each has its own."""
        types = [self.dtypes[name] for name, _ in self.observed]
        return types[0] if len(types) == 1 or (types and not self.pictures) else "float32"

    @property
    def parts(self) -> tuple[NamedPart, ...]:
        """The inputs that the observation is made of, where they are several."""
        found = tuple(NamedPart(name, numbers_in(shape)) for name, shape in self.observed)
        return found if len(found) > 1 else ()

    @property
    def pictures(self) -> list[tuple[int, ...]]:
        """The shapes, without the batch, of the inputs that are pictures."""
        return [shape[1:] for _, shape in self.observed if len(shape) == PICTURE_AXES]


def numbers_in(shape: Sequence[int]) -> int:
    """Return how many numbers one observation has in a tensor of that shape."""
    return int(np.prod(shape[1:])) if len(shape) > 1 else int(shape[0])


def plan_inputs(
    source: OnnxFile, outputs: Sequence[str], observation: Observation | None
) -> InputPlan:
    """Return what the inputs are to these outputs.

    Raises:
        UnsupportedError: an input that cannot be part of an observation; named.
        InputError: several inputs, and a stated Dict of other parts.
    """
    graph = source.graph
    entries = [i for i in graph.input if i.name not in source.initializers]
    read = values_read(graph, outputs)
    observed: list[tuple[str, tuple[int, ...]]] = []
    fixed: dict[str, NDArray[Any]] = {}
    notes: list[str] = []
    dtypes: dict[str, str] = {}
    states = carried_states(source, outputs)
    carried = {state.input for state in states}
    notes += [f"state {s.input}: carried from step to step, from {s.output}" for s in states]
    unread = tuple(entry.name for entry in entries if entry.name not in read)
    needed = [entry for entry in entries if entry.name in read and entry.name not in carried]
    for entry in needed:
        shape = _shape(source, entry, observation if len(needed) == 1 else None)
        if len(needed) > 1 and MASK.search(entry.name) and len(shape) == 2:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
            fixed[entry.name] = np.ones((1, *shape[1:]), dtype)
            notes.append(f"input {entry.name}: fixed at 1, every action is allowed")
            continue
        dtypes[entry.name] = _dtype(source, entry)
        observed.append((entry.name, shape))
    if len(observed) > 1:
        observed = _in_order(source, observed, observation)
        parts = ", ".join(f"{name} {_sides(shape)}" for name, shape in observed)
        notes.append(f"observation: {parts}, one after the other")
    if unread:
        is_one = len(unread) == 1
        notes.append(
            f"input{'' if is_one else 's'} {', '.join(unread)}: dropped, the action does not "
            f"depend on {'it' if is_one else 'them'}"
        )
    return InputPlan(tuple(observed), dtypes, fixed, unread, tuple(notes), states)


def check_nothing_returns(source: OnnxFile, outputs: Sequence[str], plan: InputPlan) -> None:
    """Check that no input is the state of a recurrent policy, which another output gives anew, or
    the action that a critic judges.

    Raises:
        UnsupportedError: one is, outside an operator that is a cell.
        InputError: the network is a critic.
    """
    observed = plan.observed
    if len(observed) < 2:
        return
    counts = _output_counts(source)
    judged = next((name for name, _ in observed if ACTION.fullmatch(name)), None)
    if judged is not None and set(counts.values()) == {1}:
        raise InputError(
            f"{source.path.name}: takes an action, {judged}, and gives one number, as a critic "
            "does: export the actor. Where it is the action before, export it with another name, "
            "such as last_action, in input_names"
        )
    for output in source.graph.output:
        kind = kind_by_words(Output(output.name, (output.name,)))
        is_other = kind not in (None, A_STATE) or is_policy_word(output.name)
        if output.name in outputs or is_other:
            continue
        count = counts[output.name]
        is_open = not count and kind == A_STATE  # its length is not in the file
        read = values_read(source.graph, [output.name])
        for name, shape in observed:
            is_one = count == numbers_in(shape) or (is_open and name != observed[0][0])
            if name in read and name != output.name and is_one:
                raise UnsupportedError(
                    f"{source.path.name}: {name} [{count}] comes back as {output.name}: it is the "
                    "state of a recurrent policy, in single steps. Carried over are the operators "
                    "GRU, LSTM and RNN: export it with torch.nn.GRU or torch.nn.LSTM. Where it is "
                    f"no state, export the policy without the output {output.name}"
                )


def _output_counts(source: OnnxFile) -> dict[str, int]:
    """Return how many numbers each output has for one observation; 0 where nobody knows."""
    counts = {output.name: _declared(output) for output in source.graph.output}
    if 0 not in counts.values():
        return counts
    try:
        inferred = onnx.shape_inference.infer_shapes(source.model)
    except Exception:  # whatever it makes of a graph that it does not know
        return counts
    return {output.name: _declared(output) for output in inferred.graph.output}


def _declared(output: ValueInfoProto) -> int:
    dims = [dim.dim_value for dim in output.type.tensor_type.shape.dim]
    return int(np.prod(dims[1:])) if len(dims) > 1 else 0


def _sides(shape: Sequence[int]) -> str:
    """Return the lengths of an input, in words."""
    sides = shape[1:] if len(shape) == PICTURE_AXES else (numbers_in(shape),)
    return f"[{'x'.join(map(str, sides))}]"


def values_read(graph: GraphProto, outputs: Sequence[str]) -> set[str]:
    """Return the names whose values, not only their shapes, these outputs depend on."""
    needed = set(outputs)
    for node in reversed(graph.node):
        if needed.intersection(node.output) and node.op_type not in ("Shape", "Size"):
            needed.update(node.input)
    return needed


def _in_order(
    source: OnnxFile,
    observed: Sequence[tuple[str, tuple[int, ...]]],
    observation: Observation | None,
) -> list[tuple[str, tuple[int, ...]]]:
    """Return the inputs in the order in which a stated Dict lays its parts out: by their names.

    Raises:
        InputError: the Dict has other parts than the file has inputs.
    """
    held = {name: numbers_in(shape) for name, shape in observed}
    parts = _stated_parts(observation)
    if len(parts) < 2:
        _check_order(source, observed, observation)
        return list(observed)
    if held != parts:
        inputs, stated = (
            ", ".join(f"{name} [{count}]" for name, count in found.items())
            for found in (held, parts)
        )
        raise InputError(
            f"{source.path.name}: its inputs are {inputs}, the stated observation has {stated}: "
            "which is which is told by their names alone: export it with the keys of the Dict as "
            "input_names"
        )
    shapes = dict(observed)
    return [(name, shapes[name]) for name in parts]


def _check_order(
    source: OnnxFile,
    observed: Sequence[tuple[str, tuple[int, ...]]],
    observation: Observation | None,
) -> None:
    """Check that the order of the inputs is the file's own, or stated.

    Raises:
        InputError: one vector as long as all of them was stated, without its parts.
    """
    counts = [numbers_in(shape) for _, shape in observed]
    if observation is None or observation.shape != (sum(counts),):
        return  # another length is refused where both are compared
    if [part.count for part in observation.parts] == counts:
        return
    inputs = ", ".join(f"{name} {_sides(shape)}" for name, shape in observed)
    spaces = (
        f"image:{_sides(shape)[1:-1]}" if len(shape) == PICTURE_AXES else f"vector:{count}"
        for count, (_, shape) in zip(counts, observed, strict=True)
    )
    raise InputError(
        f"{source.path.name}: its inputs are {inputs}, and which values of the stated observation "
        "are which is not said. Where it has them in the file's order, say --observation "
        f"{'+'.join(spaces)}, or name an environment whose observation is a Dict"
    )


def _stated_parts(observation: Observation | None) -> dict[str, int]:
    """Return the keys of a stated Dict in their order, and the length of each; empty where its
    features have no such names.
    """
    if observation is None:
        return {}
    if all(part.name for part in observation.parts) and observation.parts:
        return {part.name: part.count for part in observation.parts}
    words = observation.names
    if not all(re.search(r"[\[=]", word) for word in words):
        return {}
    return Counter(re.split(r"[\[=.]", word, maxsplit=1)[0] for word in words)


def _dtype(source: OnnxFile, entry: ValueInfoProto) -> str:
    kind = entry.type.tensor_type.elem_type
    if kind not in FLOAT:
        is_known = kind in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(kind) if is_known else str(kind)
        raise UnsupportedError(
            f"{source.path.name}: the input {entry.name!r} has type {name}, carried over are "
            "float and uint8: export it with float32"
        )
    return FLOAT[kind]


def _shape(
    source: OnnxFile, entry: ValueInfoProto, observation: Observation | None
) -> tuple[int, ...]:
    """Return the shape; lengths that the file leaves open are those of the stated observation."""
    kind = entry.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else BATCH for d in kind.shape.dim]
    if dims and dims[0] == 0:
        dims[0] = BATCH  # some exporters write 0 for an open batch
    is_open = [length <= 0 for length in dims[1:]]
    if any(is_open) and observation is not None:
        shape = observation.shape
        if len(shape) == len(dims) - 1 or len(dims) == 2:
            dims[1:] = shape if len(shape) == len(dims) - 1 else [int(np.prod(shape))]
    is_fixed = all(0 < length < LONGEST for length in dims[1:])
    if len(dims) not in (1, 2, 3, 4) or not is_fixed or (len(dims) == 1 and dims[0] <= 0):
        shown = [
            "batch" if index == 0 else length if length > 0 else "?"
            for index, length in enumerate(dims)
        ]
        raise UnsupportedError(
            f"{source.path.name}: the input {entry.name!r} has shape {shown}, carried over are "
            "[batch, features], windows [batch, history, features] and images [batch, 3 fixed "
            "lengths]: export it with such an input, or say the open lengths: --observation "
            "vector:48"
        )
    return tuple(dims)
