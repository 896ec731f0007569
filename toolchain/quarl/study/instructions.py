"""Instructions of one inference of a policy's firmware on a board, counted by an emulator."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from quarl.boards.microcontroller import find_board
from quarl.firmware.names import DEFAULT_PREFIX
from quarl.firmware.source_tree import write_source_tree
from quarl.graph.quant_policy import QuantPolicy
from quarl.profiles.emulated import profile_emulated
from quarl.profiles.workload import Workload
from quarl.resources import default_cache_dir, targets_dir


def count_instructions(policy: QuantPolicy, board: str, obs: NDArray[Any]) -> int:
    """Return the instructions of the first observation's inference.

    Raises:
        InputError: there is no such board.
        ToolMissingError: no compiler or emulator.
    """
    target = find_board(board, targets_dir())
    few = obs[:2]
    tree = write_source_tree(policy, target, few, DEFAULT_PREFIX)
    workload = Workload(policy, None, few, {}, tree)
    return profile_emulated(workload, target, default_cache_dir()).instructions
