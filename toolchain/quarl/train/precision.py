"""Learning in half precision: matrix products of the updates in bfloat16, all else in float32.

Weights, optimiser and losses stay float32 (mixed precision, Micikevicius et al., arXiv 1710.03740);
bfloat16 has float32's range, so no loss needs scaling. Acting stays float32: its batches are small.
Only a processor with bfloat16 units gains (AVX512_BF16 or AMX on x86, BF16 on Arm).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

CPU_FLAGS = Path("/proc/cpuinfo")
UNITS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16", "bf16": "Arm BF16"}


def in_bf16(algorithm: type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """Return the algorithm with bfloat16 matrix products in its updates."""
    return type(algorithm.__name__, (_Half, algorithm), {})


class _Half:
    def train(self, *arguments: Any, **options: Any) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            super().train(*arguments, **options)  # type: ignore[misc]


def bf16_units(flags: str | None = None) -> str | None:
    """Return what multiplies bfloat16 on this processor; None where nothing does.

    Args:
        flags: /proc/cpuinfo; None: this machine's, none where it has no such file.
    """
    if flags is None:
        flags = CPU_FLAGS.read_text() if CPU_FLAGS.is_file() else ""
    words = set(flags.split())
    return next((name for flag, name in UNITS.items() if flag in words), None)
