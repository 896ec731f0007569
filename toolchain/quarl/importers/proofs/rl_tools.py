"""Proof of an rl_tools checkpoint by the examples that it holds: rl_tools itself is C++."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarl.errors import ToolMissingError
from quarl.importers.rl_tools import examples


def examples_of(path: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return observations [steps, features] and outputs [steps, count] of each example episode.

    Raises:
        ToolMissingError: the file holds none.
    """
    found = examples(path)
    if found is None:
        raise ToolMissingError("the file holds no examples, and rl_tools is not called from Python")
    return [(found[0][:, n], found[1][:, n]) for n in range(found[0].shape[1])]
