"""Policies that quarl wrote itself: float layers or integers as `.npz`, with their contract.

In: `policy.npz` or `integers.npz` of a policy's folder, or the files of a bundle. Out: what they
hold, as it is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from quarl.bundle.policy_file import read_any_policy
from quarl.errors import InputError
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers.options import ImportOptions


def read_quarl(path: Path, options: ImportOptions) -> Policy | QuantPolicy:
    """Return the policy; its contract wins over the environment's spaces, which must fit it.

    Raises:
        InputError: not such a file, or a normaliser is given, which these policies have inside.
    """
    if options.normalizer is not None:
        raise InputError(f"{path}: the contract is inside the file: omit --obs-norm")
    policy = read_any_policy(path)
    if options.step_hz is None or policy.contract.step_hz is not None:
        return policy
    return replace(policy, contract=replace(policy.contract, step_hz=options.step_hz))
