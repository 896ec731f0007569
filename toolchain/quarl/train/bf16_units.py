"""What multiplies bfloat16 on this processor: read from its flags, without torch."""

from __future__ import annotations

from pathlib import Path

CPU_FLAGS = Path("/proc/cpuinfo")
UNITS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16", "bf16": "Arm BF16"}


def bf16_units(flags: str | None = None) -> str | None:
    """Return the name of the units; None where there are none.

    Args:
        flags: /proc/cpuinfo; None: this machine's, none where it has no such file.
    """
    if flags is None:
        flags = CPU_FLAGS.read_text() if CPU_FLAGS.is_file() else ""
    words = set(flags.split())
    return next((name for flag, name in UNITS.items() if flag in words), None)


def bf16_sentence(units: str | None) -> str:
    """Return for people what half precision gains with these units."""
    if units is None:
        return (
            'precision = "bf16": this processor has no bfloat16 units, so training gets slower, '
            'not faster: use "fp32" here'
        )
    return f'precision = "bf16": matrix products by {units}'
