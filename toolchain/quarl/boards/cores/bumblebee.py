"""The Bumblebee core of a GD32VF103: RV32IMAC. Nuclei publishes no timing table of it."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.cores.riscv32_imac import CORE as ANY

CORE = replace(ANY, name="bumblebee")
