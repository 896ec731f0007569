"""int8 `.tflite` files of any origin become a `QuantPolicy`: the integers, scales and clamps
exactly as LiteRT computes with them.

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
from quarl.graph.quant_policy import (
    ObservationQuantizer,
    QuantPolicy,
    QuantTable,
    QuantTensor,
)
from quarl.importers.options import ImportOptions, box_from_environment, make_contract
from quarl.importers.tflite.file import TfliteGraph, read_graph
from quarl.importers.tflite.operators import OPERATORS
from quarl.importers.tflite.walk import SOURCE_ADVICE, Network, Walk

WHOLE = 1e-6  # steps: an offset this close to a whole number of them is one


def read_tflite(path: Path, options: ImportOptions) -> QuantPolicy:
    """Return the quantised policy in an int8 `.tflite`.

    Raises:
        InputError: damaged or inconsistent, or the action or observation is unknown.
        UnsupportedError: not a full-integer int8 model, or an operator without exact counterpart;
            names it.
        QuantizationError: a layer beyond the limits under which all runtimes agree.
        UntrustedFileError: sizes beyond the limits.
    """
    graph = read_graph(path)
    network = read_network(path, graph, options.action_space)
    contract = make_contract(
        path, options, _observation(path, network), _action(path, network, options)
    )
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


def read_network(path: Path, graph: TfliteGraph, action: Action | None) -> Network:
    """Return the integers of the graph; `action` tells which of several outputs is the policy."""
    if len(graph.inputs) != 1:
        raise UnsupportedError(
            f"{path.name}: has {len(graph.inputs)} inputs, quarl carries one observation: "
            "concatenate them"
        )
    if len(graph.outputs) == 1:
        return Walk(path, graph, graph.outputs[0], OPERATORS).network()
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
        f"{path.name}: {len(fitting)} of its {len(graph.outputs)} outputs fit the action "
        "space given with --env, exactly one must: "
        "convert the model with the policy's output alone"
    )


def _observation(path: Path, network: Network) -> Observation:
    if len(network.shape) == 1:
        return Observation(network.shape, "float32", "vector")
    scale, zero_point = network.tensor.scale, network.tensor.zero_point
    pixels = np.arange(256, dtype=np.float32)
    meant = (
        pixels / np.float32(255),
        pixels,
    )  # what the network was trained on: 0 to 1, or 0 to 255
    if not any(
        np.array_equal(np.rint(values * (np.float32(1) / scale)) + zero_point, pixels - 128)
        for values in meant
    ):
        raise UnsupportedError(
            f"{path.name}: its image has scale {scale} and zero point {zero_point}, so its "
            "integers are not the pixels: "
            "convert it with pixels divided by 255, and with black and white among the "
            "representative images"
        )
    return Observation(network.shape, "uint8", "hwc")


def _action(path: Path, network: Network, options: ImportOptions) -> Action:
    """Return the action: a softmax or argmax at the end means a choice, a tanh values that are
    spread over the bounds.
    """
    given, last = options.action_space, network.nodes[-1].op
    function = last.function if isinstance(last, QuantTable) else None
    if given is None:
        if not network.head and function in ("tanh", "sigmoid"):
            raise InputError(
                f"{path.name}: ends in {function}, so its {network.count} outputs look like a "
                "continuous action, "
                "and the file does not say its bounds: add --env ID, the environment it was "
                "trained on"
            )
        return Action("discrete", network.count)
    if given.kind == "box" and not network.head:
        return box_from_environment(
            path.name, network.count, "unscale" if function == "tanh" else "clip", options
        )
    if given.kind == "box" or given.count != network.count:
        ending = f" and ends in {network.head}" if network.head else ""
        raise InputError(
            f"{path.name}: has {network.count} outputs{ending}, the action space given with "
            f"--env is {given.kind} with "
            f"{given.count} values: give the environment it was trained on"
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
