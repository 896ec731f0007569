"""Readers that answer the importers' questions: a linear head is a choice of the largest, and
observations were not normalised.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from quarl.errors import InputError
from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions

Read = TypeVar("Read")


def answering(read: Callable[[Path, ImportOptions], Read]) -> Callable[..., Read]:
    """Return the reader, which is told `discrete` where it asks what the outputs mean, and no
    normaliser where it asks for one that nothing in the file hints at.
    """

    def answered(path: Path, options: ImportOptions | None = None) -> Read:
        options = options or ImportOptions()
        try:
            return read(path, options)
        except InputError as error:
            if "were normalised in training" in str(error):
                return answered(path, replace(options, no_normalizer=True))
            asked = re.search(r"what its (\d+) outputs mean", str(error))
            if asked is None:
                raise
            action = Action("discrete", int(asked[1]))
            return read(path, replace(options, action_space=action))

    return answered


def options_of(policy: Policy, output: str | None = None) -> ImportOptions:
    """Return what a proof is told: the contract of the imported policy."""
    return ImportOptions(
        action_space=policy.contract.action,
        observation=policy.contract.observation,
        output=output,
    )
