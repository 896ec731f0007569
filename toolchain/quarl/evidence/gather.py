"""Parity: gathers what the gate judges, from the bundle's own files.

Import proof, equality of every backend with the integer reference, the example played again,
agreement of decisions, paired episodes of source, int8 artifact and float64 control. Nothing is
decided here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.boards.cortex_m import Board
from quarl.bundle.bundle import MANIFEST, PARITY, Bundle
from quarl.errors import InputError
from quarl.evidence.closed_loop import PairedEpisodes, join_episodes
from quarl.evidence.evidence import (
    BackendEquality,
    DisturbedEpisodes,
    Evidence,
    ExampleReplay,
    FirstDifference,
    OwnEpisodes,
    evidence_from_json,
)
from quarl.files.npz import FRAMES_RATIO, npz_bytes, read_npz
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.profiles.board_link import open_link
from quarl.progress import Progress, part_of
from quarl.rollouts.actors import Actor, artifact_actor, float64_actor, source_actor
from quarl.rollouts.clipping import ClipCounter, ClippedInputs
from quarl.rollouts.divergence import ActionLog, first_divergence
from quarl.rollouts.episodes import DEFAULT_LANES, Episodes, run_beside, run_episodes
from quarl.rollouts.robustness import DISTURBANCES, feature_spread, play_disturbed
from quarl.rollouts.vector_env import EnvSpec, check_env
from quarl.runtimes.host import model_inputs, open_runtime
from quarl.seeds import PARITY_SEED
from quarl.stats.sequential import Look

ARTIFACTS = {
    "litert": ("model.tflite", "ai-edge-litert"),
    "onnxruntime": ("model.onnx", "onnxruntime"),
}
EXAMPLE = "example.npz"
DEVICE = "firmware"  # the backend's name in the limits and in the evidence
FRAMES = 100  # an emulated convolution takes a second or so a dozen


def example_bytes(policy: QuantPolicy, obs: NDArray[Any]) -> bytes:
    """Return example.npz: held-out observations [n, *shape] with the outputs and actions every
    target must give for them.
    """
    outputs = integer_outputs(policy, obs)
    return npz_bytes(
        {
            "obs": obs,
            "outputs": outputs,
            "actions": policy.contract.action.decode(real_outputs(policy, outputs)),
        }
    )


def example_observations(bundle: Bundle) -> NDArray[Any]:
    """Return the held-out observations [n, *shape] of the bundle."""
    return _example(bundle)["obs"]


def manifest_digest(bundle: Bundle) -> str:
    """Return the SHA-256 of the manifest as it lies there."""
    return hashlib.sha256(bundle.read(MANIFEST)).hexdigest()


def replay_example(bundle: Bundle) -> ExampleReplay:
    """Return how the integers of the bundle answer its own example, and which files are not those
    of the export.
    """
    example, policy = _example(bundle), bundle.quantized()
    outputs = integer_outputs(policy, example["obs"])
    actions = policy.contract.action.decode(real_outputs(policy, outputs))
    if outputs.shape != example["outputs"].shape or actions.shape != example["actions"].shape:
        raise InputError(
            f"{bundle.folder / EXAMPLE}: its outputs have another shape than the policy's: "
            "export the bundle again"
        )
    return ExampleReplay(
        observations=len(outputs),
        differing_outputs=int((outputs != example["outputs"]).sum()),
        differing_actions=int(
            (actions != example["actions"]).reshape(len(actions), -1).any(axis=1).sum()
        ),
        changed_files=bundle.changed_files(),
    )


def stored_evidence(bundle: Bundle) -> tuple[Evidence, tuple[str, ...]]:
    """Return what parity.json holds, nothing where it speaks of another export, and then why."""
    path = bundle.folder / PARITY
    if not path.is_file():
        return Evidence(), ()
    evidence = evidence_from_json(path.read_text(encoding="utf-8"), str(path))
    if evidence.manifest_sha256 != manifest_digest(bundle):
        return Evidence(), (f"{PARITY}: was gathered on another export than {MANIFEST} describes",)
    return evidence, ()


def compare_backends(bundle: Bundle) -> tuple[BackendEquality, ...]:
    """Return each backend's outputs beside the outputs recorded at export, for the bundle's
    held-out observations.
    """
    example, policy = _example(bundle), bundle.quantized()
    inputs, expected = model_inputs(policy, example["obs"]), example["outputs"]
    return tuple(
        equality_of(
            name, version(package), expected, open_runtime(name, bundle.read(file)).run(inputs)
        )
        for name, (file, package) in ARTIFACTS.items()
    )


def compare_firmware(
    bundle: Bundle, board: Board, cache_dir: Path, link: str | None = None
) -> tuple[BackendEquality, ...]:
    """Return the board's firmware, run in an emulator, beside the outputs recorded at export; of
    images the first FRAMES are asked.

    Args:
        link: "unicorn", "qemu-system" or, for a flashed board, "serial:PORT"; None: unicorn where
            it has the core.
    """
    example, policy = _example(bundle), bundle.quantized()
    count = FRAMES if policy.contract.observation.is_image else len(example["obs"])
    device = open_link(policy, example["obs"], board, cache_dir, link)
    found = device.run(model_inputs(policy, example["obs"][:count]))
    return (equality_of(DEVICE, f"{board.name} {device.place}", example["outputs"][:count], found),)


def play_pairs(
    bundle: Bundle,
    source: Policy,
    env: EnvSpec,
    looks: Sequence[Look],
    is_settled: Callable[[PairedEpisodes], bool] = lambda paired: False,
    progress: Progress | None = None,
    *,
    lanes: int = DEFAULT_LANES,
) -> tuple[PairedEpisodes, ClippedInputs | None]:
    """Return paired episodes of the bundle's source, the int8 `.tflite` and the float64 control,
    and what int8 could not see of them.

    Args:
        looks: after how many episodes to look; the last one is the most that are played.
        is_settled: whether the episodes of a look are enough.
    Raises:
        InputError: the environment is not the one of the contract, or cannot be played.
    """
    actors = (source_actor(source), _artifact_actor(bundle, env), float64_actor(source))
    action, most = source.contract.action, looks[-1].episodes
    counter = ClipCounter(bundle.quantized())
    played: list[tuple[Episodes, ...]] = []
    parted: list[NDArray[np.int32]] = []
    done = 0
    for look in looks:
        seeds = range(PARITY_SEED + done, PARITY_SEED + look.episodes)
        logs = [ActionLog(actor) for actor in actors[:2]]
        logs[1].also(counter.observe)
        steps = [
            part_of(progress, len(actors) * done + turn * len(seeds), len(actors) * most)
            for turn in (0, 2)
        ]
        first, third = run_beside(
            env, logs[0], actors[2], seeds, observe=logs[0].observe, progress=steps[0], lanes=lanes
        )
        second = run_episodes(
            env, logs[1], seeds, observe=logs[1].observe, progress=steps[1], lanes=lanes
        )
        played.append((first, second, third))
        ours, theirs = (log.by_episode(len(seeds)) for log in logs)
        parted.append(first_divergence(ours, theirs, action))
        wanted, made, control = (join_episodes(parts) for parts in zip(*played, strict=True))
        paired = PairedEpisodes(env.id, wanted, made, control, tuple(looks), np.concatenate(parted))
        done = look.episodes
        if is_settled(paired):
            break
    return paired, counter.result()


def play_robustness(
    bundle: Bundle, source: Policy, env: EnvSpec, episodes: int, progress: Progress | None = None
) -> tuple[DisturbedEpisodes, ...]:
    """Return episodes of source and int8 `.tflite` under each disturbance, on the first seeds of
    `play_pairs`.

    Raises:
        InputError: as `play_pairs`.
    """
    actors = (source_actor(source), _artifact_actor(bundle, env))
    spread = feature_spread(example_observations(bundle))
    seeds = range(PARITY_SEED, PARITY_SEED + episodes)
    turns = len(actors) * len(DISTURBANCES) * episodes
    found = []
    for turn, name in enumerate(DISTURBANCES):
        starts = (episodes * (len(actors) * turn + k) for k in range(len(actors)))
        both = [
            play_disturbed(env, actor, seeds, name, spread, part_of(progress, start, turns))
            for actor, start in zip(actors, starts, strict=True)
        ]
        found.append(DisturbedEpisodes(name, *both))
    return tuple(found)


def play_own(
    bundle: Bundle, env: EnvSpec, episodes: int, progress: Progress | None = None
) -> OwnEpisodes:
    """Return episodes of the int8 `.tflite` alone, on the seeds of `play_pairs`.

    Raises:
        InputError: as `play_pairs`.
    """
    seeds = range(PARITY_SEED, PARITY_SEED + episodes)
    return OwnEpisodes(
        env.id, run_episodes(env, _artifact_actor(bundle, env), seeds, progress=progress)
    )


def _artifact_actor(bundle: Bundle, env: EnvSpec) -> Actor:
    """Return what the int8 `.tflite` does, in an environment that is the contract's."""
    quantized = bundle.quantized()
    check_env(env, quantized.contract)
    return artifact_actor(quantized, bundle.read("model.tflite"))


def equality_of(
    backend: str, release: str, expected: NDArray[Any], found: NDArray[Any]
) -> BackendEquality:
    """Return how the outputs [n, count] a backend found differ from those expected.

    Raises:
        InputError: they have another shape or type.
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise InputError(
            f"{backend} answers {found.dtype} {found.shape}, the example says "
            f"{expected.dtype} {expected.shape}: export again"
        )
    differs = found != expected
    first = None
    if differs.any():
        row, column = (int(i) for i in np.argwhere(differs)[0])
        first = FirstDifference(
            row, column, float(expected[row, column]), float(found[row, column])
        )
    return BackendEquality(
        backend, release, len(expected), expected.size, int(differs.sum()), first
    )


def _example(bundle: Bundle) -> dict[str, NDArray[Any]]:
    arrays = read_npz(bundle.folder / EXAMPLE, max_ratio=FRAMES_RATIO)
    missing = {"obs", "outputs", "actions"} - set(arrays)
    if missing:
        raise InputError(
            f"{bundle.folder / EXAMPLE}: lacks {', '.join(sorted(missing))}: export the "
            "bundle again"
        )
    return arrays
