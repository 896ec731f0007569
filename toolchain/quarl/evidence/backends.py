"""Equality of every backend with the integers recorded at export, on the bundle's own example."""

from __future__ import annotations

import io
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.bundle.manifest import ARTIFACTS
from quarl.bundle.release import Release
from quarl.emitters.artifact import open_artifact
from quarl.errors import InputError
from quarl.evidence.evidence import BackendEquality, ExampleReplay, FirstDifference
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.links.target import Target
from quarl.profiles.platforms import platform_of
from quarl.profiles.workload import Workload
from quarl.runtimes.host import model_inputs
from quarl.workers.copies import side_by_side


def replay_example(release: Release) -> ExampleReplay:
    """Return how the integers of the bundle answer its own example, and which files are not those
    of the export.
    """
    example, policy = release.example, release.quantized
    outputs = integer_outputs(policy, example.obs)
    actions = policy.contract.action.decode(real_outputs(policy, outputs))
    differs = (actions != example.actions).reshape(len(actions), -1).any(axis=1)
    return ExampleReplay(
        observations=len(outputs),
        differing_outputs=int((outputs != example.outputs).sum()),
        differing_actions=int(differs.sum()),
        changed_files=release.changed_files,
    )


def compare_backends(release: Release) -> tuple[BackendEquality, ...]:
    """Return each backend of this host beside the outputs recorded at export."""
    inputs = model_inputs(release.quantized, release.example.obs)

    def answers(name: str) -> bytes:
        """Return the outputs as `.npy`: what has met a stranger's model is not unpickled."""
        model, out = release.file(ARTIFACTS[name][0]), io.BytesIO()
        outputs = open_artifact(release.quantized, name, model).run(inputs)
        np.save(out, outputs, allow_pickle=False)
        return out.getvalue()

    found = side_by_side(answers, [(name,) for name in ARTIFACTS])
    return tuple(
        equality_of(name, version(package), release.example.outputs, np.load(io.BytesIO(outputs)))
        for (name, (_, package)), outputs in zip(ARTIFACTS.items(), found, strict=True)
    )


def compare_on_board(
    workload: Workload, target: Target, expected: NDArray[Any]
) -> tuple[BackendEquality, ...]:
    """Return each runtime of a board beside the outputs expected of the workload's observations.

    Raises:
        QuarlError: see the platform's `answers`.
    """
    answers = platform_of(target.board).answers(workload, target)
    return tuple(
        equality_of(answer.backend, answer.where, expected[: len(answer.outputs)], answer.outputs)
        for answer in answers
    )


def equality_of(
    backend: str, release: str, expected: NDArray[Any], outputs: NDArray[Any]
) -> BackendEquality:
    """Return how the outputs [n, count] of a backend differ from those expected.

    Args:
        release: the backend's version, or where it ran.
    Raises:
        InputError: they have another shape or type.
    """
    if outputs.shape != expected.shape or outputs.dtype != expected.dtype:
        raise InputError(
            f"{backend} answers {outputs.dtype} {outputs.shape}, the example says "
            f"{expected.dtype} {expected.shape}: export again"
        )
    differs = outputs != expected
    first = None
    if differs.any():
        row, column = (int(i) for i in np.argwhere(differs)[0])
        first = FirstDifference(
            row, column, float(expected[row, column]), float(outputs[row, column])
        )
    return BackendEquality(
        backend, release, len(expected), expected.size, int(differs.sum()), first
    )
