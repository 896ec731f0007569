"""Proof of an import: the policy's outputs beside those of the framework that wrote the file, on
the same observations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, ToolMissingError
from quarl.graph.contract import Observation
from quarl.graph.policy import Policy, run_graph
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.rows import start_of, state_parts
from quarl.importers.detect import detect_format
from quarl.importers.options import ImportOptions
from quarl.runtimes.host import NumpyRuntime

MAX_ERROR = 1e-5  # float32 sums in another order differ by about 1e-6 of the largest value
OBSERVATIONS = 256

Prover: TypeAlias = Callable[
    [Path, Policy, NDArray[Any], ImportOptions], tuple[NDArray[np.floating[Any]], str]
]
"""Returns the framework's raw outputs float [n, count] for observations [n, *shape], and what
computed them. The options say what the contract says.
"""

PROVERS: dict[str, tuple[str, str]] = {
    "sb3": ("quarl.importers.proofs.torch", "outputs_of_sb3"),
    "cleanrl": ("quarl.importers.proofs.torch", "outputs_of_cleanrl"),
    "safetensors": ("quarl.importers.proofs.torch", "outputs_of_cleanrl"),
    "chainer": ("quarl.importers.proofs.torch", "outputs_of_cleanrl"),
    "keras": ("quarl.importers.proofs.keras", "outputs_of_keras"),
    "onnx": ("quarl.importers.proofs.onnx", "outputs_of_onnx"),
    "savedmodel": ("quarl.importers.proofs.savedmodel", "outputs_of_savedmodel"),
    "torchscript": ("quarl.importers.proofs.programs", "outputs_of_program"),
    "pt2": ("quarl.importers.proofs.programs", "outputs_of_program"),
    "tflite": ("quarl.importers.proofs.tflite", "outputs_of_floats"),
    "quarl": ("quarl.importers.proofs.quarl", "outputs_of_quarl"),
}
UNSAFE = {  # frameworks that may run code from the file
    "sb3": "Stable-Baselines3, which unpickles",
    "savedmodel": "TensorFlow, which runs its graph",
    "torchscript": "torch, which runs its program",
    "pt2": "torch, which runs its graph",
}


@dataclass(frozen=True, slots=True)
class ImportProof:
    """How far the imported policy is from its source."""

    max_abs_error: float  # over all outputs, before the action transform
    largest_output: float
    differing_actions: int  # of a discrete policy; 0 for a box
    observations: int
    against: str

    @property
    def holds(self) -> bool:
        """Whether the error is within float32 rounding: `MAX_ERROR`, relative to the largest output
        where that is above 1.
        """
        return self.max_abs_error <= MAX_ERROR * max(1.0, self.largest_output)


@dataclass(frozen=True, slots=True)
class NotProven:
    """Why the source framework computed nothing, and how to let it."""

    reason: str


def prove_integers(
    path: Path, policy: QuantPolicy, count: int = OBSERVATIONS, output: str | None = None
) -> ImportProof | NotProven:
    """Return the proof that an int8 file's integers were read right: LiteRT and the reference give
    the same for random ones.
    """
    from quarl.importers.proofs.tflite import outputs_of_tflite

    shape = policy.contract.observation.graph_shape
    integers = np.random.default_rng(0).integers(-128, 128, (count, *shape), np.int32)
    try:
        found, against = outputs_of_tflite(path, policy, integers, output)
    except InputError as error:
        return NotProven(str(error))
    ours = NumpyRuntime(policy).run(integers).astype(np.int32)
    if found.shape != ours.shape:
        return NotProven(f"LiteRT gives outputs of shape {found.shape}, the import {ours.shape}")
    differing = (
        int((ours.argmax(axis=1) != found.argmax(axis=1)).sum())
        if policy.contract.action.kind == "discrete"
        else 0
    )
    return ImportProof(float(np.abs(ours - found).max()), 1.0, differing, len(integers), against)


def prove_import(
    path: Path, policy: Policy, trust: bool = False, output: str | None = None
) -> ImportProof | NotProven:
    """Return the proof, computed by the framework that wrote the file where it is installed.

    Args:
        trust: the user's word that the file may run code; needed where the framework unpickles.
        output: the output that the user chose, where there are several.
    """
    found = detect_format(path)
    if found == "rl_tools":
        return _proof_by_examples(path, policy)
    if found not in PROVERS:
        return NotProven(f"no proof for {found} files")
    if found in UNSAFE and not trust:
        return NotProven(f"add --trust to load the file with {UNSAFE[found]}")
    module, function = PROVERS[found]
    obs = sample_observations(policy.contract.observation, OBSERVATIONS, np.random.default_rng(0))
    try:
        options = ImportOptions(
            action_space=policy.contract.action,
            observation=policy.contract.observation,
            output=output,
        )
        prover = cast(Prover, getattr(import_module(module), function))
        outputs, against = prover(path, policy, obs, options)
    except (ToolMissingError, ImportError) as error:
        return NotProven(str(error))
    ours = _precise_outputs(policy, obs)
    differing = (
        int((ours.argmax(axis=1) != outputs.argmax(axis=1)).sum())
        if policy.contract.action.kind == "discrete"
        else 0
    )
    max_error = float(np.abs(ours.astype(np.float64) - outputs.astype(np.float64)).max())
    return ImportProof(max_error, float(np.abs(outputs).max()), differing, len(obs), against)


def _proof_by_examples(path: Path, policy: Policy) -> ImportProof | NotProven:
    """Return the proof that the policy gives the outputs that the file holds for its examples."""
    from quarl.importers.proofs.rl_tools import examples_of

    try:
        episodes = examples_of(path)
    except ToolMissingError as error:
        return NotProven(str(error))
    outputs = np.concatenate([made for _, made in episodes])
    ours = np.concatenate([_precise_outputs(policy, seen) for seen, _ in episodes])
    if ours.shape != outputs.shape:
        return NotProven(
            f"the file's examples have outputs of shape {outputs.shape}, the import {ours.shape}"
        )
    difference = float(np.abs(ours - outputs).max())
    largest = float(np.abs(outputs).max())
    differing = int((ours.argmax(axis=1) != outputs.argmax(axis=1)).sum())
    is_choice = policy.contract.action.kind == "discrete"
    against = "rl_tools, by the file's own examples"
    return ImportProof(difference, largest, differing if is_choice else 0, len(ours), against)


def _precise_outputs(policy: Policy, obs: NDArray[Any]) -> NDArray[Any]:
    """Return the graph's outputs [n, count], of vectors in float64: what is proven is the graph,
    not the order of our own sums.
    """
    if policy.contract.state:
        return episode_outputs(policy, obs)
    graph_input = policy.graph_input(obs)
    precise = (
        graph_input if policy.contract.observation.is_image else graph_input.astype(np.float64)
    )
    return run_graph(policy.nodes, precise)[policy.nodes[-1].name]


def episode_outputs(policy: Policy, obs: NDArray[Any]) -> NDArray[np.float64]:
    """Return float64 [n, count]: the outputs of a recurrent policy on one episode of observations
    [n, features], its state carried from row to row.
    """
    graph_input = policy.graph_input(obs).astype(np.float64)
    state = start_of(policy.contract)[None].astype(np.float64)
    rows = []
    for place in range(len(obs)):
        parts = state_parts(policy.contract, state)
        results = run_graph(policy.nodes, graph_input[place : place + 1], parts)
        state = policy.next_of(results, 1)
        rows.append(results[policy.nodes[-1].name])
    return np.concatenate(rows)


def sample_observations(
    observation: Observation, count: int, generator: np.random.Generator
) -> NDArray[Any]:
    """Return [count, *shape] observations that reach every weight: pictures of all brightnesses,
    vectors of sizes 0.03 to 10.
    """
    if observation.is_image:
        brightness = generator.integers(1, 257, (count, *[1] * len(observation.shape)))
        return (generator.integers(0, 256, (count, *observation.shape)) * brightness // 256).astype(
            np.uint8
        )
    spread = 10 ** generator.uniform(-1.5, 1, (count, 1))
    values = generator.normal(size=(count, *observation.shape)) * spread
    if observation.normalizer is not None:
        values = values * observation.normalizer.std + np.array(observation.normalizer.mean)
    for picture in observation.pictures:
        pixels = Observation(picture.shape, "uint8", "hwc")
        values[:, picture.place] = sample_observations(pixels, count, generator).reshape(count, -1)
    return values.astype(np.float32)
