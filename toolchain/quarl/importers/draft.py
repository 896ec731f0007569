"""The draft: a network as a file tells it, before it is tidied into the few operations of a
`Policy`.

In: layers in NHWC, in topological order, as the Keras, SavedModel and ONNX importers read them.
Out: a `Policy`, where per-channel arithmetic (normalisation, batch normalisation, pixel scaling)
has been folded exactly into the contract or a neighbouring layer, and a softmax or argmax at the
end has become the contract's action.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, QuarlError, UnsupportedError
from quarl.graph.contract import Action, Contract, Layout, Normalizer, Observation
from quarl.graph.policy import (
    INPUT,
    Activation,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Function,
    Node,
    Op,
    Policy,
    Weighted,
    output_shape,
)
from quarl.importers.options import ImportOptions, make_contract

MAX_LAYERS = 500
NO_CLIP = float(np.finfo(np.float32).max)  # a normaliser that does not clip
# a network whose first step multiplies by less than this divides raw pixels itself (1/255, 1/128)
RAW_PIXEL_SCALE = 0.1
SAME = 1e-6  # two float32 constants that mean the same number, relative
RELU: dict[tuple[float, float], Function] = {(0, math.inf): "relu", (0, 6): "relu6"}
FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = x * scale + offset along the last axis. scale, offset float64 [channels]."""

    scale: FloatArray
    offset: FloatArray


@dataclass(frozen=True, slots=True)
class Clip:
    """y = min(max(x, low), high), where it is no ReLU; a bound may be infinite."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Head:
    """A last step that keeps the order of the outputs: softmax, its logarithm, or the index of the
    largest.
    """

    function: Literal["softmax", "log_softmax", "argmax"]


DraftOp: TypeAlias = Op | Affine | Clip | Head


@dataclass(frozen=True, slots=True)
class DraftNode:
    """One step; `inputs` are names of earlier steps or `INPUT`; `source` is what the file calls its
    result.
    """

    name: str
    op: DraftOp
    inputs: tuple[str, ...]
    source: str


Nodes: TypeAlias = tuple[DraftNode, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A network with one input and one output (the last node).

    `input_shape` is in graph order ([features] or [height, width, channels]); `layout` and
    `input_dtype` are those of the source.
    """

    nodes: Nodes
    input_shape: tuple[int, ...]
    layout: Layout
    input_dtype: str
    framework: str
    source_sha256: str

    @property
    def takes_raw_pixels(self) -> bool:
        """Whether the source itself divides the pixels, so that it is given 0..255."""
        affine = _leading_affine(_compose(self.nodes))
        scales_down = affine is not None and float(np.abs(affine.scale).max()) < RAW_PIXEL_SCALE
        return self.layout != "vector" and (self.input_dtype == "uint8" or scales_down)

    @property
    def normalizes(self) -> bool:
        """Whether the source itself normalises the vector it is given."""
        return (
            self.layout == "vector"
            and _split_normalizer(_compose(self.nodes), self.input_shape[0])[1] is not None
        )

    def source_input(self, contract: Contract, obs: NDArray[Any]) -> NDArray[Any]:
        """Return what the source network is fed, in its layout and dtype, for observations [n,
        *shape] in environment units.
        """
        observation = contract.observation
        values = observation.to_graph(obs)
        if observation.is_image:
            scaled = (
                values if self.takes_raw_pixels else values.astype(np.float32) / np.float32(255)
            )
            values = scaled.transpose(0, 3, 1, 2) if self.layout == "chw" else scaled
        elif observation.normalizer is not None and not self.normalizes:
            values = observation.normalizer.apply(values)
        return np.ascontiguousarray(values.astype(self.input_dtype))


class DraftBuilder:
    """Collects the nodes of one draft, with their shapes, while an importer walks its file."""

    def __init__(self, path: Path, input_shape: tuple[int, ...]) -> None:
        self.path = path
        self.nodes: list[DraftNode] = []
        self.shapes: dict[str, tuple[int, ...]] = {INPUT: input_shape}

    def add(self, name: str, op: DraftOp, inputs: Sequence[str], source: str) -> str:
        """Append one node and return the name it got: `name` made printable and unique.

        Raises:
            InputError: the inputs do not fit the operation.
            UnsupportedError: more than `MAX_LAYERS` nodes.
        """
        if len(self.nodes) >= MAX_LAYERS:
            raise UnsupportedError(
                f"{self.path.name}: more than {MAX_LAYERS} layers: this is no policy for a "
                "small board"
            )
        printable = re.sub(r"[^A-Za-z0-9_.:/-]", "_", name)[:80] or "layer"
        unique, number = printable, 1
        while unique in self.shapes:
            unique, number = f"{printable}_{number}", number + 1
        self.shapes[unique] = self._shape(unique, op, tuple(inputs))
        self.nodes.append(DraftNode(unique, op, tuple(inputs), source))
        return unique

    def draft(
        self, output: str, layout: Layout, input_dtype: str, framework: str, source_sha256: str
    ) -> Draft:
        """Return the draft that ends in `output`, without what does not lead there."""
        if output == INPUT:
            raise InputError(
                f"{self.path.name}: the output is the input itself: there is no policy in it"
            )
        return Draft(
            _ancestors(tuple(self.nodes), output),
            self.shapes[INPUT],
            layout,
            input_dtype,
            framework,
            source_sha256,
        )

    def _shape(self, name: str, op: DraftOp, inputs: tuple[str, ...]) -> tuple[int, ...]:
        shapes = [self.shapes[i] for i in inputs]
        if isinstance(op, Head | Clip):
            return shapes[0]
        if isinstance(op, Affine):
            if op.scale.shape != shapes[0][-1:] or op.offset.shape != shapes[0][-1:]:
                raise InputError(
                    f"{self.path.name}: {name}: {len(op.scale)} factors for {shapes[0][-1]} "
                    "channels: inconsistent file"
                )
            return shapes[0]
        try:
            return output_shape(Node(name, op, inputs), shapes)
        except InputError as error:
            raise type(error)(f"{self.path.name}: {error}") from error


def affine(scale: Any, offset: Any, channels: int) -> Affine:
    """Return the affine step with `scale` and `offset` spread to float64 [channels]."""
    return Affine(
        np.zeros(channels) + np.asarray(scale, np.float64),
        np.zeros(channels) + np.asarray(offset, np.float64),
    )


def average(
    height: int, width: int, channels: int, stride: tuple[int, int], padding: Any = ((0, 0), (0, 0))
) -> DepthwiseConv2D:
    """Return average pooling over height x width as the depthwise convolution that computes it."""
    weights = np.full((channels, height, width), 1 / (height * width), np.float32)
    return DepthwiseConv2D(weights, np.zeros(channels, np.float32), stride, padding)


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after one axis for SAME padding: ceil(length / stride) outputs,
    the odd zero at the end.
    """
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def choose_output(
    path: Path, outputs: Mapping[str, Callable[[], Draft]], options: ImportOptions
) -> Draft:
    """Return the draft of the output that is the policy, out of those the file names (a value head
    often sits beside it).

    Raises:
        InputError: none or several of them could be the policy; names them.
        UnsupportedError: the only output cannot be carried over.
    """
    if not outputs:
        raise InputError(f"{path.name}: the network has no output: save the model again")
    if len(outputs) == 1:
        return next(iter(outputs.values()))()
    drafts: dict[str, Draft] = {}
    errors: dict[str, QuarlError] = {}
    for name, read in outputs.items():
        try:
            drafts[name] = read()
        except QuarlError as error:  # another output may still be the policy
            errors[name] = error
    given = options.action_space
    fitting = {
        name: draft
        for name, draft in drafts.items()
        if given is None or _output_count(draft) == given.count
    }
    if given is None or len(fitting) > 1:  # of several, the one that picks an action is the policy
        fitting = {
            name: draft for name, draft in fitting.items() if isinstance(draft.nodes[-1].op, Head)
        }
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if len(errors) == len(outputs):
        raise next(iter(errors.values()))
    found = ", ".join(
        f"{name} [{_output_count(drafts[name])}]" if name in drafts else f"{name} (not readable)"
        for name in outputs
    )
    if given is None:
        raise InputError(
            f"{path.name}: has several outputs ({found}): add --env ID, whose action space "
            "tells which one is the policy"
        )
    raise InputError(
        f"{path.name}: {len(fitting)} of its outputs ({found}) fit an action of {given.count} "
        "values, exactly one must: "
        "save the model with the policy's output alone"
        + "".join(f". {name}: {error}" for name, error in list(errors.items())[:1])
    )


def finish(path: Path, draft: Draft, options: ImportOptions) -> Policy:
    """Return the policy: head dropped, arithmetic folded, contract completed by `options`.

    Raises:
        InputError: the action or the observation is not known, or contradicts `options`.
        UnsupportedError: a step that has no exact place in the policy; named.
    """
    nodes, action = split_action(path, draft, options)
    observation: Observation | None
    if draft.layout == "vector":
        nodes, normalizer = _split_normalizer(nodes, draft.input_shape[0])
        if normalizer is not None and options.normalizer is not None:
            raise InputError(
                f"{path.name}: the network normalises its input itself, --obs-norm would do "
                "it twice: leave --obs-norm away"
            )
        observation = Observation(draft.input_shape, "float32", "vector", (), normalizer)
    else:
        raw = draft.takes_raw_pixels
        nodes = _pixels_to_unit(nodes, draft.input_shape[-1]) if raw else nodes
        height, width, channels = draft.input_shape
        shape = (channels, height, width) if draft.layout == "chw" else (height, width, channels)
        known = raw or (options.observation is not None and options.observation.is_image)
        observation = Observation(shape, "uint8", draft.layout) if known else None
    nodes = _fold(nodes, draft.input_shape)
    contract = make_contract(path, options, observation, action)
    shapes = _shapes(nodes, draft.input_shape)
    layers = tuple(
        Node(node.name, _layer(path, node, len(shapes[node.name])), node.inputs) for node in nodes
    )
    return Policy(layers, contract, "unknown", draft.framework, draft.source_sha256)


def split_action(path: Path, draft: Draft, options: ImportOptions) -> tuple[Nodes, Action]:
    """Return the nodes without the last steps that the contract's action does, and that action.

    Softmax and argmax go: the largest output stays the largest. So does a clip to the bounds, and
    the stretching of a tanh to the bounds.
    """
    nodes, given = _compose(draft.nodes), options.action_space
    head = nodes[-1].op if isinstance(nodes[-1].op, Head) else None
    while isinstance(nodes[-1].op, Head):
        nodes = nodes[:-1]
        if not nodes:
            raise InputError(
                f"{path.name}: the network is a {head.function if head else 'head'} alone: "
                "there is no policy in it"
            )
    shape = _shapes(nodes, draft.input_shape)[nodes[-1].name]
    if len(shape) != 1:
        raise UnsupportedError(
            f"{path.name}: the network ends with shape {shape}, a policy ends with a vector: "
            "flatten the last layer"
        )
    count = shape[0]
    before = _node(nodes, nodes[-1].inputs[0]) if isinstance(nodes[-1].op, Affine) else None
    is_stretched = before is not None and not isinstance(
        before.op, Weighted
    )  # behind a layer it is that layer's bias
    bounded = (
        is_stretched
        or isinstance(nodes[-1].op, Clip)
        or nodes[-1].op in (Activation("tanh"), Activation("sigmoid"))
    )
    if given is None:
        if head is None and bounded:
            raise InputError(
                f"{path.name}: the network ends in {_describe(nodes[-1])}, so its {count} "
                "outputs look like a continuous action, "
                "and the file does not say its bounds: add --env ID, the environment it was "
                "trained on"
            )
        return nodes, Action("discrete", count)
    if given.count != count or (head is not None and given.kind == "box"):
        ending = f" and ends in {head.function}" if head is not None else ""
        raise InputError(
            f"{path.name}: the network has {count} outputs{ending}, the action space given "
            "with --env is "
            f"{given.kind} with {given.count} values: give the environment it was trained on"
        )
    return _split_bounds(nodes, given) if given.kind == "box" else (nodes, given)


def dropped_nodes(path: Path, draft: Draft, options: ImportOptions) -> list[tuple[DraftNode, bool]]:
    """Return the last steps that the contract's action does, in order, and whether each is a mere
    setting of the layer before it.
    """
    kept = {node.name for node in split_action(path, draft, options)[0]}
    nodes = _compose(draft.nodes)
    sources = {node.name: node.source for node in nodes}
    return [
        (node, sources.get(node.inputs[0]) == node.source)
        for node in nodes
        if node.name not in kept
    ]


def _split_bounds(nodes: Nodes, given: Action) -> tuple[Nodes, Action]:
    """Drop a last step that `Action.decode` does; tanh and a clip to [-1, 1] mean that actions are
    stretched to the bounds.
    """
    last = nodes[-1]
    before = _node(nodes, last.inputs[0])
    low, high = np.array(given.low), np.array(given.high)
    if isinstance(last.op, Clip):
        if np.allclose(last.op.low, low, rtol=SAME) and np.allclose(last.op.high, high, rtol=SAME):
            return nodes[:-1], replace(given, transform="clip")
        if (last.op.low, last.op.high) == (-1, 1):
            return nodes[:-1], replace(given, transform="unscale")
    if isinstance(last.op, Affine) and before is not None and before.op == Activation("tanh"):
        reached = last.op.offset - last.op.scale, last.op.offset + last.op.scale
        if np.allclose(reached[0], low, rtol=SAME) and np.allclose(reached[1], high, rtol=SAME):
            return _ancestors(nodes, before.name), replace(given, transform="unscale")
    if last.op == Activation("tanh"):
        return nodes, replace(given, transform="unscale")
    return nodes, given


def _ancestors(nodes: Nodes, output: str) -> Nodes:
    needed = {output}
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return tuple(node for node in nodes if node.name in needed)


def _compose(nodes: Nodes) -> Nodes:
    """Join affine steps that follow one another, and clips that do."""
    for node in nodes:
        before = _node(nodes, node.inputs[0])
        if before is None or _consumers(nodes, before.name) != [node]:
            continue
        if isinstance(node.op, Affine) and isinstance(before.op, Affine):
            joined: DraftOp = Affine(
                before.op.scale * node.op.scale, before.op.offset * node.op.scale + node.op.offset
            )
        elif (first := _bounds(before.op)) is not None and (second := _bounds(node.op)) is not None:
            low, high = (min(max(bound, second[0]), second[1]) for bound in first)
            joined = Activation(RELU[low, high]) if (low, high) in RELU else Clip(low, high)
        else:
            continue
        # the earlier node goes, so the rest of this pass sees the joined one
        nodes = _swap(_bypass(nodes, before.name), replace(node, op=joined, inputs=before.inputs))
    return nodes


def _bounds(op: DraftOp) -> tuple[float, float] | None:
    """Return the bounds of a step that clips."""
    if isinstance(op, Clip):
        return op.low, op.high
    found = [bounds for bounds, function in RELU.items() if op == Activation(function)]
    return found[0] if found else None


def _leading_affine(nodes: Nodes) -> Affine | None:
    first = _consumers(nodes, INPUT)
    return first[0].op if len(first) == 1 and isinstance(first[0].op, Affine) else None


def _split_normalizer(nodes: Nodes, features: int) -> tuple[Nodes, Normalizer | None]:
    """Take the affine step at the input, and the symmetric clip behind it, out of the graph and
    into the contract.
    """
    step, found, clip_obs = _consumers(nodes, INPUT), affine(1, 0, features), NO_CLIP
    taken: list[DraftNode] = []
    if len(step) == 1 and isinstance(step[0].op, Affine) and step[0].op.scale.min() > 0:
        found = step[0].op
        taken.append(step[0])
        step = _consumers(nodes, step[0].name)
    if len(step) == 1 and isinstance(step[0].op, Clip) and step[0].op.low == -step[0].op.high < 0:
        clip_obs = step[0].op.high
        taken.append(step[0])
    if not taken or len(taken) == len(nodes):
        return nodes, None
    for node in taken:
        nodes = _bypass(nodes, node.name)
    mean, var = -found.offset / found.scale, 1 / found.scale**2
    return nodes, Normalizer(tuple(mean.tolist()), tuple(var.tolist()), 0.0, clip_obs)


def _pixels_to_unit(nodes: Nodes, channels: int) -> Nodes:
    """Rewrite a graph of raw pixels 0..255 as one of pixels / 255."""
    first = _consumers(nodes, INPUT)
    leading = _leading_affine(nodes)
    if leading is None:
        name = "pixels" if all(node.name != "pixels" for node in nodes) else "quarl.pixels"
        renamed = tuple(
            replace(node, inputs=tuple(name if i == INPUT else i for i in node.inputs))
            for node in nodes
        )
        return (DraftNode(name, affine(255, 0, channels), (INPUT,), INPUT), *renamed)
    scaled = Affine(leading.scale * 255, leading.offset)
    if np.abs(scaled.scale - 1).max() <= SAME and not scaled.offset.any():
        return _bypass(nodes, first[0].name) if len(nodes) > 1 else nodes
    return _swap(nodes, replace(first[0], op=scaled))


def _fold(nodes: Nodes, input_shape: tuple[int, ...]) -> Nodes:
    """Fold every affine step into the layer before it, or else into those after it, as far as that
    is exact.
    """
    folded: Nodes | None = nodes
    while folded is not None:
        nodes = _compose(folded)
        shapes = _shapes(nodes, input_shape)
        attempts = (
            _fold_one(shapes[node.name], nodes, node, node.op)
            for node in nodes
            if isinstance(node.op, Affine)
        )
        folded = next((attempt for attempt in attempts if attempt is not None), None)
    return nodes


def _fold_one(shape: tuple[int, ...], nodes: Nodes, node: DraftNode, op: Affine) -> Nodes | None:
    before, after = _node(nodes, node.inputs[0]), _consumers(nodes, node.name)
    if (
        before is not None
        and isinstance(before.op, Weighted)
        and _consumers(nodes, before.name) == [node]
    ):
        return _bypass(_swap(nodes, replace(before, op=_scale_outputs(before.op, op))), node.name)
    if len(after) == 1 and isinstance(after[0].op, Flatten):
        # the two change places: behind the flattening a dense layer may take the step
        repeats = int(np.prod(shape[:-1]))
        behind = Affine(np.tile(op.scale, repeats), np.tile(op.offset, repeats))
        flatten = replace(node, op=after[0].op, source=after[0].source)
        return _swap(_swap(nodes, flatten), replace(after[0], op=behind, source=node.source))
    if after and all(isinstance(n.op, Weighted) and _can_take(n.op, op) for n in after):
        for taker in after:
            assert isinstance(taker.op, Weighted)
            nodes = _swap(nodes, replace(taker, op=_scale_inputs(taker.op, op)))
        return _bypass(nodes, node.name)
    return None


def _can_take(layer: Weighted, op: Affine) -> bool:
    """Whether the layer can do the step on its inputs: an offset cannot pass zero padding, which it
    would have to shift too.
    """
    padded = not isinstance(layer, Dense) and layer.padding != ((0, 0), (0, 0))
    return not padded or not op.offset.any()


def _scale_outputs(layer: Weighted, op: Affine) -> Weighted:
    shape = (-1,) + (1,) * (layer.weights.ndim - 1)
    weights = (layer.weights * op.scale.reshape(shape)).astype(np.float32)
    return replace(
        layer, weights=weights, bias=(layer.bias * op.scale + op.offset).astype(np.float32)
    )


def _scale_inputs(layer: Weighted, op: Affine) -> Weighted:
    if isinstance(layer, DepthwiseConv2D):
        sums = layer.weights.astype(np.float64).sum(axis=(1, 2)) * op.offset
        weights = layer.weights * op.scale[:, None, None]
    else:
        sums = (
            (layer.weights.astype(np.float64) * op.offset)
            .reshape(len(layer.weights), -1)
            .sum(axis=1)
        )
        weights = layer.weights * op.scale
    return replace(
        layer, weights=weights.astype(np.float32), bias=(layer.bias + sums).astype(np.float32)
    )


def _layer(path: Path, node: DraftNode, rank: int) -> Op:
    op = node.op
    if isinstance(op, Clip | Head):
        raise UnsupportedError(
            f"{path.name}: {_describe(node)} inside the network cannot be carried over exactly: "
            "use relu, relu6, tanh, sigmoid or elu and train again"
        )
    if isinstance(op, Affine):  # no neighbour could take it: a layer of its own
        scale, offset = op.scale.astype(np.float32), op.offset.astype(np.float32)
        return (
            Dense(np.diag(scale), offset)
            if rank == 1
            else DepthwiseConv2D(scale.reshape(-1, 1, 1), offset)
        )
    return op


def _describe(node: DraftNode) -> str:
    op = node.op
    kind = (
        op.function
        if isinstance(op, Activation | Head)
        else f"a clip to [{op.low}, {op.high}]"
        if isinstance(op, Clip)
        else "a scaling"
    )
    return f"{kind} ({node.name})"


def _output_count(draft: Draft) -> int:
    shape = _shapes(draft.nodes, draft.input_shape)[draft.nodes[-1].name]
    return shape[0] if len(shape) == 1 else 0


def _shapes(nodes: Nodes, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    builder = DraftBuilder(Path("network"), input_shape)
    for node in nodes:
        builder.add(node.name, node.op, node.inputs, node.source)
    return builder.shapes


def _node(nodes: Nodes, name: str) -> DraftNode | None:
    return next((node for node in nodes if node.name == name), None)


def _consumers(nodes: Nodes, name: str) -> list[DraftNode]:
    return [node for node in nodes if name in node.inputs]


def _swap(nodes: Nodes, new: DraftNode) -> Nodes:
    return tuple(new if node.name == new.name else node for node in nodes)


def _bypass(nodes: Nodes, name: str) -> Nodes:
    """Remove a one-input node; its consumers take its input."""
    before = next(node.inputs[0] for node in nodes if node.name == name)
    rest = (node for node in nodes if node.name != name)
    return tuple(
        replace(node, inputs=tuple(before if i == name else i for i in node.inputs))
        for node in rest
    )
