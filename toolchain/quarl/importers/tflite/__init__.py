"""int8 `.tflite` files of any origin become a `QuantPolicy`: the integers, scales and clamps
exactly as LiteRT computes with them. Files that compute in floats become a `Policy`
(`quarl.importers.tflite.floats`).

In: a file made by TFLiteConverter or any tool that writes full-integer models (int8 activations and
weights, int32 biases).
Out: a `QuantPolicy` whose outputs equal LiteRT's on that file, integer for integer (`proof_tflite`
shows it on every import).
What has no exact counterpart is refused by name: floats inside, other widths, unknown operators.
Where LiteRT computes an operator in an arithmetic of its own (average pooling, means, sums and
other
scales), the node computes the same (`quarl.graph.litert_ops`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from quarl.errors import InputError, QuarlError, UnsupportedError
from quarl.files.open import source_digest
from quarl.graph.contract import Action, Observation
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import (
    INT8_MIN,
    ObservationQuantizer,
    QuantPolicy,
    QuantTable,
    QuantTensor,
)
from quarl.importers.options import (
    ImportOptions,
    box_from_environment,
    describe_action,
    make_contract,
    missing_action,
)
from quarl.importers.tflite.file import TfliteGraph, read_graph
from quarl.importers.tflite.floats import computes_in_floats, read_floats
from quarl.importers.tflite.operators import OPERATORS
from quarl.importers.tflite.walk import SOURCE_ADVICE, Network, Walk

WHOLE = 1e-6  # steps: an offset this close to a whole number of them is one


def read_tflite(path: Path, options: ImportOptions) -> QuantPolicy | Policy:
    """Return the quantised policy in an int8 `.tflite`, or the float one in any other.

    Raises:
        InputError: damaged or inconsistent, or the action or observation is unknown.
        UnsupportedError: an operator without exact counterpart; names it.
        QuantizationError: a layer beyond the limits under which all runtimes agree.
        UntrustedFileError: sizes beyond the limits.
    """
    graph = read_graph(path)
    if computes_in_floats(graph):
        return read_floats(path, graph, options)
    network = read_network(path, graph, options)
    found = _observation(network)
    contract = make_contract(path, options, found, _action(path, network, options), _notes(found))
    if graph.is_made_by_quarl and not contract.observation.is_image:
        raise InputError(
            f"{path.name}: was written by quarl, and its observation scales are in the bundle "
            "beside it, not in this file: "
            "use the bundle, or export its source again"
        )
    observation = _observation_quantizer(path, contract.observation, network.tensor)
    return QuantPolicy(
        observation, network.nodes, contract, None, source_digest(path), network.softmax_beta
    )


def read_network(path: Path, graph: TfliteGraph, options: ImportOptions) -> Network:
    """Return the integers of the graph; the options tell which of several outputs is the policy."""
    action = options.action_space
    if len(graph.inputs) != 1:
        raise UnsupportedError(
            f"{path.name}: has {len(graph.inputs)} inputs, quarl carries one observation: "
            "concatenate them"
        )
    outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
    if options.output is not None and options.output not in outputs:
        raise InputError(
            f"{path.name}: --output {options.output}: the network has no such output, it has "
            f"{', '.join(outputs)}"
        )
    if len(graph.outputs) == 1 or options.output is not None:
        index = outputs[options.output] if options.output else graph.outputs[0]
        return Walk(path, graph, index, OPERATORS).network()
    found: list[Network] = []
    errors: list[QuarlError] = []
    for output in graph.outputs:
        try:
            found.append(Walk(path, graph, output, OPERATORS).network())
        except QuarlError as error:  # another output may be the policy
            errors.append(error)
    fitting = [network for network in found if action is not None and network.count == action.count]
    if len(fitting) == 1:
        return fitting[0]
    if not found:
        raise errors[0]
    raise InputError(
        f"{path.name}: {len(fitting)} of its {len(graph.outputs)} outputs "
        f"({', '.join(outputs)}) fit the action, exactly one must: add --output NAME"
    )


def _observation(network: Network) -> Observation:
    if len(network.shape) == 1:
        return Observation(network.shape, "float32", "vector")
    scale, zero_point = network.tensor.scale, network.tensor.zero_point
    pixels = np.arange(256, dtype=np.float32)
    # what the network was trained on: 0 to 1, or 0 to 255
    meant = (pixels / np.float32(255), pixels)
    if any(
        np.array_equal(np.rint(values * (np.float32(1) / scale)) + zero_point, pixels - 128)
        for values in meant
    ):
        return Observation(network.shape, "uint8", "hwc")
    return Observation(
        network.shape,
        "uint8",
        "hwc",
        pixel_scale=float(scale),
        pixel_zero=zero_point - INT8_MIN,
    )


def _notes(observation: Observation) -> tuple[str, ...]:
    """Return what a byte of the observation means, where it is not a pixel."""
    if observation.is_image and observation.pixel_scale != 1 / 255:
        scale, zero = observation.pixel_scale, observation.pixel_zero
        return (f"observation: a byte p stands for {scale:.9g} * (p - {zero}), as the file says",)
    return ()


def _action(path: Path, network: Network, options: ImportOptions) -> Action:
    """Return the action: a softmax or argmax at the end means a choice, a tanh values that are
    spread over the bounds.
    """
    given, last = options.action_space, network.nodes[-1].op
    function = last.function if isinstance(last, QuantTable) else None
    if given is None:
        if not network.head:
            ending = f"the network ends in {function or 'a linear layer'}"
            raise missing_action(path.name, ending, network.count)
        return Action("discrete", network.count)
    if given.kind == "box" and not network.head:
        return box_from_environment(
            path.name, network.count, "unscale" if function == "tanh" else "clip", options
        )
    if given.kind == "box" or given.count != network.count:
        ending = f" and ends in {network.head}" if network.head else ""
        raise InputError(
            f"{path.name}: has {network.count} outputs{ending}, {options.action_by} says "
            f"{describe_action(given)}: give the environment it was trained on, or the space as it "
            "was trained"
        )
    return given


def _observation_quantizer(
    path: Path, observation: Observation, tensor: QuantTensor
) -> ObservationQuantizer:
    """Return what makes the file's input integers; a normaliser is folded where its offsets are
    whole steps, which leaves no rest.
    """
    if observation.is_image:
        return ObservationQuantizer(np.zeros(0, np.float32), np.zeros(0, np.int32), tensor)
    count, normalizer = observation.shape[0], observation.normalizer
    if normalizer is None:
        inv_scale = np.full(
            count, np.float32(1) / tensor.scale, np.float32
        )  # the reciprocal, as LiteRT's QUANTIZE takes it
        return ObservationQuantizer(inv_scale, np.full(count, tensor.zero_point, np.int32), tensor)
    step = normalizer.std * np.float64(tensor.scale)
    offset = np.array(normalizer.mean) / step
    rest = np.abs(offset - np.rint(offset))
    if rest.max() > WHOLE:
        worst = int(rest.argmax())
        raise UnsupportedError(
            f"{path.name}: the normaliser's mean of feature {worst} is {offset[worst]:.6g} "
            "steps of the input's integers, only whole steps "
            "can be folded exactly: normalise inside the network before converting, or "
            f"{SOURCE_ADVICE}"
        )
    reach = float(np.rint(np.float64(normalizer.clip_obs) / np.float64(tensor.scale)))
    low, high = (
        max(tensor.qmin, int(tensor.zero_point - min(reach, 512))),
        min(tensor.qmax, int(tensor.zero_point + min(reach, 512))),
    )
    zero_point = (np.int64(tensor.zero_point) - np.rint(offset).astype(np.int64)).astype(np.int32)
    return ObservationQuantizer(
        (1 / step).astype(np.float32), zero_point, replace(tensor, qmin=low, qmax=high)
    )
