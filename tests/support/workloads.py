"""Workloads of policies that were never exported, and subjects of profiles that were never made."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from quarl.boards.linux import AnyBoard
from quarl.bundle.manifest import ARITHMETIC
from quarl.bundle.release import Release
from quarl.emitters import EMITTERS
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.profiles.platforms import platform_of
from quarl.profiles.workload import Subject, Workload


def workload_for(
    policy: QuantPolicy, obs: NDArray[Any], board: AnyBoard | None, source: Policy | None = None
) -> Workload:
    """Return the workload of files that an export would write."""
    files = {f"model.{name}": emit(policy) for name, emit in EMITTERS.items()}
    tree = None if board is None else platform_of(board).write(policy, obs)
    return Workload(policy, source, obs, files, tree)


def subject_of(release: Release | None, board: str | None) -> Subject:
    """Return what a profile of all files of a release says; of no files where there is none."""
    files = {} if release is None else release.manifest.files
    return Subject(board, ARITHMETIC, "0", files)
