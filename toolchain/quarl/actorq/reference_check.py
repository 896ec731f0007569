"""Comparing what a player makes of a policy with the NumPy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.block import Block
from quarl.actorq.contents import reference_of
from quarl.actorq.players import Runtime, open_player


def compare(block: Block, obs: NDArray[Any], runtime: Runtime) -> tuple[int, int]:
    """Return how many outputs of an int8 block were compared with the reference, and how many
    differ.
    """
    player, wanted = open_player(runtime, block), reference_of(block)(obs)
    made = np.concatenate([player(row[None]).copy() for row in obs])
    return wanted.size, int((made != wanted).sum())
