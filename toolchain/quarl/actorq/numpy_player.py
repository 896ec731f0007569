"""The player without a compiler: NumPy's integers, and plain float32 for the other precisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.block import Block, check_block, label_of
from quarl.actorq.contents import float_reference_of, reference_of


class NumpyPlayer:
    """The integer reference, and plain float32 for the other precisions."""

    def load(self, block: Block) -> None:
        """Take another policy."""
        check_block(block)
        is_int8 = label_of(block).precision == "int8"
        self._outputs: Callable[[NDArray[Any]], NDArray[np.float32]] = (
            reference_of(block) if is_int8 else float_reference_of(block)
        )

    def __call__(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs."""
        return self._outputs(obs)
