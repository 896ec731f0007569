"""The high-power core of an ESP32-C6: RV32IMAC. Espressif publishes no timing table of it."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.cores.riscv32_imac import CORE as ANY

CORE = replace(ANY, name="esp32-c6")
