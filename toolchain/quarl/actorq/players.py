"""Players: whatever turns observations into outputs while an actor acts.

In: a block of the policy. Out: float32 outputs, in real units, for the observations of the moment.
The kernels play every precision. Where no compiler is installed, NumPy plays the same integers.
The frameworks are baselines that a comparison is honest with: torch as the paper used it.
"""

from __future__ import annotations

import ctypes
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.block import Block, check_block, header_of
from quarl.actorq.kernel import load_kernel
from quarl.errors import InputError, ToolMissingError

Runtime: TypeAlias = Literal["kernel", "numpy", "torch"]
RUNTIMES: tuple[Runtime, ...] = ("kernel", "numpy", "torch")
MOST_ROWS = 256


class Player(Protocol):
    """Plays one policy at a time, on one thread."""

    def load(self, block: Block) -> None:
        """Take another policy; the block may be read-only and is kept, not copied.

        Raises:
            DeviceError: not a policy.
        """

    def __call__(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs [n, count] for observations [n, obs_len]; the next call overwrites
        them.
        """


def open_player(runtime: Runtime, block: Block) -> Player:
    """Return a player of that runtime with the block loaded.

    Raises:
        ToolMissingError: its package is not installed.
    """
    player: Player
    match runtime:
        case "kernel":
            player = KernelPlayer(block)
        case "numpy":
            from quarl.actorq.numpy_player import NumpyPlayer

            player = NumpyPlayer()
        case "torch":
            from quarl.actorq.torch_player import TorchPlayer

            player = TorchPlayer()
    player.load(block)
    return player


def best_runtime() -> Runtime:
    """Return the kernels where they can be built, otherwise NumPy, which plays the same
    integers.
    """
    try:
        load_kernel()
    except ToolMissingError:
        return "numpy"
    return "kernel"


class KernelPlayer:
    """The C kernels of this processor; the outputs of int8 are those of the board."""

    def __init__(self, block: Block, variant: str | None = None) -> None:
        header = header_of(block)[0]
        self._lengths = int(header["obs_len"]), int(header["out_len"])
        self._run = load_kernel(variant).ql_actor_run
        self._obs = np.zeros((MOST_ROWS, self._lengths[0]), np.float32)
        self._out = np.zeros((MOST_ROWS, self._lengths[1]), np.float32)
        self._from = ctypes.c_void_p(self._obs.ctypes.data)
        self._to = ctypes.c_void_p(self._out.ctypes.data)
        self.load(block)

    def load(self, block: Block) -> None:
        """Take another policy of the same observations and outputs."""
        check_block(block)
        header = header_of(block)[0]
        if (int(header["obs_len"]), int(header["out_len"])) != self._lengths:
            raise InputError(f"a policy for other spaces than {self._lengths}")
        self._block, self._at = block, ctypes.c_void_p(block.ctypes.data)

    def __call__(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs for at most MOST_ROWS observations."""
        count = len(obs)
        self._obs[:count] = obs
        self._run(self._at, self._from, count, self._to)
        return self._out[:count]
