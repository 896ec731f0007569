"""Learning in half precision: matrix products of the updates in bfloat16, all else in float32.

Weights, optimiser and losses stay float32 (mixed precision, Micikevicius et al., arXiv 1710.03740);
bfloat16 has float32's range, so no loss needs scaling. Acting stays float32: its batches are small.
Only a processor with bfloat16 units gains (`bf16_units`).
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

A = TypeVar("A", bound=BaseAlgorithm)


def in_bf16(algorithm: type[A]) -> type[A]:
    """Return the algorithm with bfloat16 matrix products in its updates."""
    return type(algorithm.__name__, (_Half, algorithm), {})


class _Half:
    def train(self, *arguments: Any, **options: Any) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            super().train(*arguments, **options)  # type: ignore[misc]
